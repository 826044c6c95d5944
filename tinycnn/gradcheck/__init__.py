"""Gradients against differences, for the engine's ops and for yours.

    core.py    gradcheck, gradgradcheck: a function of tensors, every element or random projections
    kinks.py   is a disagreement a wrong gradient, or a corner of the function?  What is wrong about a gradient?
    model.py   gradcheck_model: the first layer of a network whose gradient is wrong
"""
from .core import (  # noqa: F401  (for all)
    GradcheckError,
    Jacobian,
    Report,
    gradcheck,
    gradgradcheck,
    gradient_function,
    jacobians,
    projections,
    worst_error,
)
from .model import ModelReport, gradcheck_model  # noqa: F401
