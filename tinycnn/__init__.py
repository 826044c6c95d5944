"""tinycnn: a deep-learning engine small enough to read.

    import tinycnn as tc
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                           # Tensor([2., 4.], dtype=float32)

Names, arguments and defaults are PyTorch's.  tc.nn, tc.optim, tc.models, tc.data, tc.train and the rest are loaded
when they are first used; kernels are compiled when they are first called.
"""
from __future__ import annotations

from importlib import import_module as _import_module

import numpy as _np

from . import _checkout
from . import ops as _ops
from .autograd import Tensor, enable_grad, grad, is_grad_enabled, no_grad, op, set_grad_enabled
from .gradcheck import gradcheck, gradgradcheck
from .methods import FUNCTIONS as _FUNCTIONS
from .random import get_rng_state, manual_seed, set_rng_state

__version__ = "0.1.0"

float16, float32, float64 = _np.float16, _np.float32, _np.float64
int8, int16, int32, int64, uint8, bool_ = _np.int8, _np.int16, _np.int32, _np.int64, _np.uint8, _np.bool_

_SUBMODULES = ("autograd", "backend", "cases", "cli", "data", "io", "kernels", "models", "nn", "ops", "optim", "random",
               "summary", "train")
_FROM = {"save": "io", "load": "io"}                 # name -> the submodule that has it
# What torch has in torch.nn.functional, or as a method only, and not at its top level.
_NOT_HERE = {"getitem", "iadd", "isub", "imul", "itruediv", "to", "type", "float", "double", "half", "int", "long",
             "bool", "cpu", "cuda", "numpy", "view", "view_as", "reshape_as", "expand", "expand_as", "repeat",
             "contiguous", "alias", "sum_to", "matrix_product", "to_dtype", "new_tensor", "new_zeros", "new_ones",
             "new_full"}


def __getattr__(name: str):
    if name in _SUBMODULES:
        return _import_module(f"{__name__}.{name}")
    if name in _FROM:
        return getattr(_import_module(f"{__name__}.{_FROM[name]}"), name)
    raise AttributeError(f"module 'tinycnn' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_SUBMODULES, *_FROM})


for _name, _f in _FUNCTIONS.items():
    if not _name.startswith("_") and not _name.endswith("_") and _name not in _NOT_HERE:
        globals().setdefault(_name, _f)
