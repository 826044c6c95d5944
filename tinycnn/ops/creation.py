"""New tensors: from data, filled, counted, or drawn at random.  dtypes are NumPy's; the default float is float32."""
from __future__ import annotations

import numpy as np

from .. import random
from ..autograd import Tensor, as_array
from ..backend import device_of, module_of, to_device
from ..methods import function
from .arguments import sizes_of


def _made(array, dtype, device, requires_grad):
    module_of(device)
    array = np.asarray(array, np.float32 if dtype is None else dtype)
    return Tensor(to_device(array, device or "cpu"), requires_grad)


@function
def tensor(data, dtype=None, device=None, requires_grad=False):
    """A tensor with a copy of `data`: numbers, nested lists, arrays or tensors.

    Arrays keep their dtype; Python floats become float32, integers int64, booleans bool.  Raises TypeError for data
    that is not numbers, ValueError for ragged lists or an unknown device.  As torch.tensor.
    """
    array = as_array(data, dtype)
    array = array.astype(array.dtype)                # always a copy
    module_of(device)
    return Tensor(to_device(array, device or device_of(array)), requires_grad)


@function
def as_tensor(data, dtype=None, device=None):
    """A tensor that shares the memory of `data` where it can.  As torch.as_tensor."""
    if isinstance(data, Tensor) and dtype in (None, data.dtype) and device in (None, data.device):
        return data
    array = as_array(data, dtype)
    module_of(device)
    return Tensor(to_device(array, device or device_of(array)))


@function
def from_numpy(ndarray):
    """A tensor that shares the memory of a NumPy array.  As torch.from_numpy."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(ndarray).__name__}: use tensor()")
    return Tensor(ndarray)


@function
def zeros(*size, dtype=None, device=None, requires_grad=False):
    """Zeros, zeros(2, 3) or zeros((2, 3)).  As torch.zeros."""
    return _made(np.zeros(sizes_of(size), dtype or np.float32), dtype, device, requires_grad)


@function
def ones(*size, dtype=None, device=None, requires_grad=False):
    """Ones.  As torch.ones."""
    return _made(np.ones(sizes_of(size), dtype or np.float32), dtype, device, requires_grad)


@function
def empty(*size, dtype=None, device=None, requires_grad=False):
    """Whatever is in memory.  As torch.empty."""
    return _made(np.empty(sizes_of(size), dtype or np.float32), dtype, device, requires_grad)


@function
def full(size, fill_value, dtype=None, device=None, requires_grad=False):
    """One value everywhere; its kind decides the dtype.  As torch.full."""
    value = as_array(fill_value, dtype)
    return _made(np.full(sizes_of((size,)), value, value.dtype), value.dtype, device, requires_grad)


@function
def arange(start, end=None, step=1, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... below end; int64 for integers.

    Raises ValueError if step is 0 or leads away from end.  As torch.arange.
    """
    start, end = (0, start) if end is None else (start, end)
    if not step or (end - start) * step < 0:
        raise ValueError(f"arange: steps of {step} never get from {start} to {end}")
    whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    return _made(np.arange(start, end, step), dtype or (np.int64 if whole else np.float32), device, requires_grad)


@function
def linspace(start, end, steps, dtype=None, device=None, requires_grad=False):
    """`steps` values from start to end, both included: numbers, or tensors without dimensions.  As torch.linspace."""
    for v in (start, end):
        if getattr(v, "shape", ()) != ():
            raise ValueError(f"linspace: start and end must be single numbers, got a tensor of shape {v.shape}")
    start, end = (v.item() if hasattr(v, "item") else v for v in (start, end))
    return _made(np.linspace(start, end, steps), dtype, device, requires_grad)


@function
def eye(n, m=None, dtype=None, device=None, requires_grad=False):
    """The identity matrix, n x m.  As torch.eye."""
    return _made(np.eye(n, m), dtype, device, requires_grad)


@function
def rand(*size, dtype=None, device=None, requires_grad=False):
    """Uniform in [0, 1), from the engine's generator.  As torch.rand."""
    return _made(random.draw("random", sizes_of(size)), dtype, device, requires_grad)


@function
def randn(*size, dtype=None, device=None, requires_grad=False):
    """Standard normal, from the engine's generator.  As torch.randn."""
    return _made(random.draw("standard_normal", sizes_of(size)), dtype, device, requires_grad)


@function
def randint(low, high=None, size=None, dtype=None, device=None):
    """Integers in low..high-1, from the engine's generator: randint(10, size=(2,)), randint(3, 10, (2,)).

    As torch.randint.
    """
    if isinstance(high, (tuple, list)):
        high, size = None, high
    low, high = (0, low) if high is None else (low, high)
    return _made(random.draw("integers", low, high, sizes_of((size,))), dtype or np.int64, device, False)


@function
def randperm(n, dtype=None, device=None):
    """The numbers 0..n-1 in random order.  As torch.randperm."""
    return _made(random.draw("permutation", n), dtype or np.int64, device, False)


def _like(make):
    def call(input, *args, dtype=None, device=None, requires_grad=False):
        return make(input.shape, *args, dtype=dtype or input.dtype, device=device or input.device,
                    requires_grad=requires_grad)
    call.__name__ = call.__qualname__ = f"{make.__name__}_like"
    call.__module__ = __name__
    call.__doc__ = f"`{make.__name__}` with the shape, dtype and device of input.  As torch.{make.__name__}_like."
    return function(call)


zeros_like, ones_like, empty_like, full_like = map(_like, (zeros, ones, empty, full))
rand_like, randn_like = map(_like, (rand, randn))


@function
def new_tensor(input, data, dtype=None, device=None, requires_grad=False):
    """tensor(data) with input's dtype and device.  As torch.Tensor.new_tensor."""
    return tensor(data, dtype or input.dtype, device or input.device, requires_grad)


@function
def new_zeros(input, *size, dtype=None, device=None, requires_grad=False):
    """Zeros with input's dtype and device.  As torch.Tensor.new_zeros."""
    return zeros(*size, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@function
def new_ones(input, *size, dtype=None, device=None, requires_grad=False):
    """Ones with input's dtype and device.  As torch.Tensor.new_ones."""
    return ones(*size, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


@function
def new_full(input, size, fill_value, dtype=None, device=None, requires_grad=False):
    """One value everywhere, with input's dtype and device.  As torch.Tensor.new_full."""
    return full(size, fill_value, dtype or input.dtype, device or input.device, requires_grad)
