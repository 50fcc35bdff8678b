"""Pictures of numbers and of images.

`tiles` needs NumPy alone; the other files give `matplotlib.figure.Figure` objects, drawn by
Agg, without pyplot and without a change of global state.
"""
