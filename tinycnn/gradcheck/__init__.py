"""Gradients against derivatives that need none, for the engine's ops, for yours, and for other engines'.

    core.py      gradcheck, gradgradcheck
    subject.py   what can be checked: functions of Tensors, plain functions, PyTorch's, JAX's; bound.py: at its inputs
    numeric.py   differences at two steps; complex steps
    jacobian.py  the Jacobian twice, every element or random projections
    compare.py   where the two differ: a wrong gradient, or a kink (kinks.py, steps.py), which is moved
    explain.py   what is wrong, in words; narrow.py: from a random projection to the element
    model.py     gradcheck_model: the first layer of a network whose gradient is wrong
"""
from .core import Check, Report, gradcheck, gradgradcheck, gradient_function  # noqa: F401  (for all)
from .explain import GradcheckError  # noqa: F401
from .jacobian import Jacobian, jacobians, projections, worst_error  # noqa: F401
from .model import ModelFunction, ModelReport, gradcheck_model  # noqa: F401
from .subject import Subject, torch_function, vjp_function, with_backward  # noqa: F401
