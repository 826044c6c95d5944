"""Writing into a tensor, and converting it.

A change in place may not hide from a graph.  While recording, a tensor that requires grad (or a change by one that
does) is refused by the methods that end in _ and by x[i] = v; x += y then means x = x + y.  Every change counts up
the tensor's version, by which backward() notices that a saved array is not what it was.
"""
from __future__ import annotations

import numpy as np

from .. import random
from ..autograd import Tensor, is_grad_enabled, mixed_devices, op
from ..backend import array_module, beside, is_writeable, module_of, to_device, to_numpy
from ..dtypes import is_floating
from ..methods import function
from .arguments import destination
from .basic import add, div, mul, sub, to_dtype


def _recorded(*values):
    return is_grad_enabled() and any(isinstance(v, Tensor) and v.requires_grad for v in values)


def _value(v):
    return v.data if isinstance(v, Tensor) else v


def _operand(x, v):
    """What is combined with the array x: a number, an array, or the scalar in an array without dimensions."""
    return beside(x, _value(v))


def _write(name, input, compute, *others):
    """input.data[...] = compute(array), with the checks and the version counted up."""
    if _recorded(input, *others):
        raise RuntimeError(f"{name}: a tensor that requires grad cannot be changed in place while a graph is recorded: "
                           "wrap it in `with no_grad():`, or make a new tensor instead")
    x = input.data
    if not is_writeable(x):
        raise ValueError(f"{name}: the tensor's array is read-only (an expanded or shared view): use clone() first")
    try:
        value = compute(x)
    except Exception as error:
        if mixed := mixed_devices(name, [input, *others]):
            raise mixed from error
        raise
    shape = getattr(value, "shape", ())
    if np.broadcast_shapes(x.shape, shape) != x.shape:
        raise ValueError(f"{name}: a value of shape {shape} does not fit into a tensor of shape {x.shape}")
    if is_floating(getattr(value, "dtype", x.dtype)) and not is_floating(x.dtype):
        raise TypeError(f"{name}: floats cannot be written into a tensor of {x.dtype}: convert it first, x.float()")
    x[...] = value
    input._version += 1
    return input


@function
def add_(input, other, alpha=1):
    """input += alpha * other.  As torch.Tensor.add_."""
    return _write("add_", input, lambda x: x + _operand(x, other) * alpha, other)


@function
def sub_(input, other, alpha=1):
    """input -= alpha * other.  As torch.Tensor.sub_."""
    return _write("sub_", input, lambda x: x - _operand(x, other) * alpha, other)


@function
def mul_(input, other):
    """input *= other.  As torch.Tensor.mul_."""
    return _write("mul_", input, lambda x: x * _operand(x, other), other)


@function
def div_(input, other):
    """input /= other.  As torch.Tensor.div_."""
    return _write("div_", input, lambda x: x / _operand(x, other), other)


@function
def zero_(input):
    """Zeros everywhere.  As torch.Tensor.zero_."""
    return _write("zero_", input, lambda x: 0)


@function
def fill_(input, value):
    """One value everywhere.  As torch.Tensor.fill_."""
    return _write("fill_", input, lambda x: _value(value), value)


@function
def copy_(input, src):
    """The elements of src, in input's dtype.  As torch.Tensor.copy_."""
    def compute(x):
        array = _value(src if hasattr(src, "dtype") else Tensor(src))
        return to_device(array, input.device).astype(x.dtype, copy=False)
    return _write("copy_", input, compute, src)


@function
def clamp_(input, min=None, max=None):
    """clamp in place.  As torch.Tensor.clamp_."""
    def compute(x):
        xp = array_module(x)
        x = x if min is None else xp.maximum(x, _operand(x, min))
        return x if max is None else xp.minimum(x, _operand(x, max))
    return _write("clamp_", input, compute, min, max)


@function
def masked_fill_(input, mask, value):
    """value where the boolean mask holds.  As torch.Tensor.masked_fill_."""
    def compute(x):
        xp = array_module(x)
        return xp.where(_value(mask), xp.asarray(_value(value), x.dtype), x)
    return _write("masked_fill_", input, compute, value)


@function
def uniform_(input, a=0.0, b=1.0):
    """Draws from the uniform distribution over [a, b).  As torch.Tensor.uniform_."""
    return copy_(input, random.draw("uniform", a, b, input.shape))


@function
def normal_(input, mean=0.0, std=1.0):
    """Draws from the normal distribution.  As torch.Tensor.normal_."""
    return copy_(input, random.draw("normal", mean, std, input.shape))


@function
def setitem_(input, index, value):
    """input[index] = value, with the indices getitem takes."""
    from .index import _Index
    if _recorded(input, value):
        raise RuntimeError("setitem: a tensor that requires grad cannot be changed in place while a graph is recorded: "
                           "use where, masked_fill or scatter, or wrap it in `with no_grad():`")
    try:
        *first, last = _Index(index).stages()
        target = input.data[first[0].parts] if first else input.data      # a view: the first stage has no arrays
        target[last.parts] = _value(value)
    except (IndexError, ValueError) as error:
        raise error.__class__(f"setitem: {error} (shape {input.shape})") from None
    input._version += 1


def _augmented(name, write, fresh):
    def call(input, other):
        return fresh(input, other) if _recorded(input, other) else write(input, other)
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = f"The operator of {write.__name__}: in place, unless a graph needs the old values."
    return function(call)


iadd, isub = _augmented("iadd", add_, add), _augmented("isub", sub_, sub)
imul, itruediv = _augmented("imul", mul_, mul), _augmented("itruediv", div_, div)


# ---------------------------------------------------------------------------------------- conversions

@op
def _to_device(input, device):
    """input on another device; the gradient comes back to input's own."""
    home = input.device
    return to_device(input.data, device), (lambda g: _to_device(g, home),)


@function
def to(input, *targets, device=None, dtype=None):
    """input as another dtype, on another device, or like another tensor: x.to("cpu"), x.to(np.float64), x.to(y).

    As torch.Tensor.to; input itself where nothing changes.
    """
    device, dtype = destination(targets, device, dtype)
    if device is not None and device != input.device:
        module_of(device)
        input = _to_device(input, device)
    return input if dtype is None or input.dtype == dtype else to_dtype(input, dtype)


@function
def type(input, dtype):
    """input as another dtype.  As torch.Tensor.type."""
    return to(input, dtype=np.dtype(dtype))


def _converter(name, dtype):
    def call(input):
        return to(input, dtype=np.dtype(dtype))
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = f"input as {dtype}.  As torch.Tensor.{name}."
    return function(call)


float, double, half = _converter("float", "float32"), _converter("double", "float64"), _converter("half", "float16")
int, long, bool = _converter("int", "int32"), _converter("long", "int64"), _converter("bool", "bool")


@function
def cpu(input):
    """input on the CPU.  As torch.Tensor.cpu."""
    return to(input, device="cpu")


@function
def cuda(input):
    """input on the GPU.  As torch.Tensor.cuda."""
    return to(input, device="cuda")


@function
def numpy(input):
    """The elements as a NumPy array: the tensor's own on the CPU, a copy from a GPU.  As torch.Tensor.numpy."""
    return to_numpy(input.data)
