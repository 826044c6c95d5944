"""The methods of Tensor: each is a function of the engine, looked up by name when it is called.

So autograd.py needs no import of the ops.  FUNCTIONS is filled by @op (autograd.py) and by @function, for
compositions of ops; a test holds that every method named here has its function.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .autocast import casting
from .backend import device_of, to_numpy

FUNCTIONS: dict[str, Callable[..., Any]] = {}        # public name -> function of tensors


def function(f: Callable) -> Callable:
    """Make `f`, composed of ops, known by its name: as a method of Tensor and at the top level of tinycnn."""
    if f.__name__ in FUNCTIONS:
        raise ValueError(f"function {f.__name__!r} is defined twice")
    FUNCTIONS[f.__name__] = f = casting(f.__name__, f)
    return f


def _method(name: str, doc: str = "") -> Any:
    def call(self, *args, **kwargs):
        return FUNCTIONS[name](self, *args, **kwargs)
    call.__name__, call.__doc__ = name, doc or f"See tinycnn.{name}; as torch.Tensor.{name}."
    return call


def _swapped(name: str) -> Any:
    def call(self, other):
        return FUNCTIONS[name](other, self)
    call.__name__, call.__doc__ = name, f"See tinycnn.{name}, operands swapped."
    return call


class TensorMethods:
    """Operators, and the methods torch.Tensor has, in one place."""

    __slots__ = ()
    _data: Any
    _node: Any
    requires_grad: bool

    # ------------------------------------------------------------------ what the array knows
    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, a tuple of ints."""
        return self._data.shape

    @property
    def dtype(self) -> Any:
        """The NumPy dtype of the elements."""
        return self._data.dtype

    @property
    def device(self) -> str:
        """"cpu" or "cuda": where the array lives."""
        return device_of(self._data)

    @property
    def T(self) -> Any:
        """The matrix transposed; all dimensions reversed for others."""
        return FUNCTIONS["permute"](self, tuple(range(self._data.ndim))[::-1])

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return self._data.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self._data.shape if dim is None else self._data.shape[dim]

    def dim(self) -> int:
        """How many dimensions there are."""
        return self._data.ndim

    def numel(self) -> int:
        """How many elements there are."""
        return self._data.size

    def __len__(self) -> int:
        if not self._data.shape:
            raise TypeError("len() of a tensor without dimensions")
        return self._data.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous: use (x > 0).any() or .all()")
        return bool(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(to_numpy(self._data), dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iub":
            raise TypeError(f"only integer tensors of one element can be an index, this one is {self._data.dtype}")
        return int(self.item())

    def item(self) -> Any:
        """The only element, as a Python number.  Raises ValueError for any other size."""
        if self._data.size != 1:
            raise ValueError(f"item(): a tensor of shape {self.shape} has {self._data.size} elements, not one")
        return to_numpy(self._data).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return to_numpy(self._data).tolist()

    def __repr__(self) -> str:
        text = np.array2string(to_numpy(self._data), separator=", ", prefix="Tensor(")
        notes = [f"dtype={self.dtype}"] if self.dtype != np.int64 else []
        notes += [f"device={self.device!r}"] if self.device != "cpu" else []
        if self._node is not None:
            notes.append(f"from={self._node.name}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"Tensor({', '.join([text, *notes])})"

    __hash__ = object.__hash__

    # ------------------------------------------------------------------ operators
    __add__, __radd__ = _method("add"), _swapped("add")
    __sub__, __rsub__ = _method("sub"), _swapped("sub")
    __mul__, __rmul__ = _method("mul"), _swapped("mul")
    __truediv__, __rtruediv__ = _method("div"), _swapped("div")
    __floordiv__, __rfloordiv__ = _method("floor_divide"), _swapped("floor_divide")
    __mod__, __rmod__ = _method("remainder"), _swapped("remainder")
    __pow__, __rpow__ = _method("pow"), _swapped("pow")
    __matmul__, __rmatmul__ = _method("matmul"), _swapped("matmul")
    __neg__, __abs__ = _method("neg"), _method("abs")
    __eq__, __ne__ = _method("eq"), _method("ne")    # type: ignore[assignment]
    __lt__, __le__ = _method("lt"), _method("le")
    __gt__, __ge__ = _method("gt"), _method("ge")
    __and__, __rand__ = _method("bitwise_and"), _swapped("bitwise_and")
    __or__, __ror__ = _method("bitwise_or"), _swapped("bitwise_or")
    __xor__, __rxor__ = _method("bitwise_xor"), _swapped("bitwise_xor")
    __invert__ = _method("bitwise_not")
    __getitem__ = _method("getitem")
    __setitem__ = _method("setitem_")
    __iadd__, __isub__ = _method("iadd"), _method("isub")
    __imul__, __itruediv__ = _method("imul"), _method("itruediv")


_NAMES = """
    abs add sub subtract mul multiply div divide floor_divide remainder pow neg exp log log2 log10 log1p expm1
    sqrt rsqrt square reciprocal sin cos tan tanh sigmoid erf sign floor ceil round trunc clamp clip maximum minimum
    where lerp isnan isinf isfinite nan_to_num
    eq ne lt le gt ge logical_and logical_or logical_xor logical_not
    bitwise_and bitwise_or bitwise_xor bitwise_not isclose allclose equal
    sum mean prod var std amax amin max min argmax argmin logsumexp norm cumsum cumprod any all
    softmax log_softmax relu topk sort argsort count_nonzero
    matmul mm bmm mv dot outer t
    reshape view view_as reshape_as permute transpose swapaxes movedim flatten unflatten squeeze unsqueeze expand
    expand_as broadcast_to split chunk unbind flip roll tile repeat repeat_interleave narrow select index_select gather
    scatter scatter_add take_along_dim masked_fill masked_select tril triu diagonal diag contiguous clone nonzero
    to type float double half int long bool cpu cuda numpy
    add_ sub_ mul_ div_ zero_ fill_ copy_ clamp_ uniform_ normal_ masked_fill_
    new_zeros new_ones new_full new_tensor explain graph
""".split()
for _name in _NAMES:
    setattr(TensorMethods, _name, _method(_name))
