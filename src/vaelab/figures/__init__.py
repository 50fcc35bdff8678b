"""Figures of numbers and of images.

`image_tiles` needs only NumPy; the other files return `matplotlib.figure.Figure` objects, drawn by
Agg, without pyplot and without changing global state.
"""
