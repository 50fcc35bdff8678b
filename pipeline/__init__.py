"""What happens, in which order: one thin script a stage, and what they share."""

import gc
import sys

# The million objects that PyTorch and MLflow make when they are imported all stay: to look for
# garbage among them is a fifth of a start. `cli.run_command` turns it on again. While Python
# looks for the module that `python -m` names, and only then, argv[0] is "-m".
if sys.argv[0] == "-m":
    gc.disable()
