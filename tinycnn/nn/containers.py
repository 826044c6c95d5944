"""Modules that hold other modules."""
from __future__ import annotations

from itertools import count, groupby
from typing import Any, Iterable, Iterator, Mapping

from ..autograd import Tensor
from .fused import run
from .module import Module
from .parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


class _Container(Module):
    """Parts of one kind, found among the attributes."""

    kind: type = Module

    def _named_parts(self):
        return [(name, v) for name, v in vars(self).items() if isinstance(v, self.kind)]

    def _parts(self):
        return [v for _, v in self._named_parts()]

    def _set_part(self, name, part):
        if not isinstance(part, self.kind):
            raise TypeError(f"{type(self).__name__}: part {name!r} is a {type(part).__name__}, expected a "
                            f"{self.kind.__name__}" + (": create it first, name()" if isinstance(part, type) else ""))
        if name not in vars(self):
            self._check_new(name)
        setattr(self, name, part)

    def __len__(self) -> int:
        return len(self._parts())


class _Listed(_Container):
    """Parts named "0", "1", ... that can be indexed, sliced and extended."""

    def _rebuild(self, parts):
        for name, _ in self._named_parts():
            delattr(self, name)
        for i, part in enumerate(parts):
            self._set_part(str(i), part)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            out = type(self)()
            for name, part in self._named_parts()[index]:
                out._set_part(name, part)
            return out
        return self._parts()[self._position(index)]

    def __setitem__(self, index: int, part: Any) -> None:
        self._set_part(self._named_parts()[self._position(index)][0], part)

    def __delitem__(self, index: int | slice) -> None:
        parts = self._parts()
        del parts[index]
        self._rebuild(parts)

    def _position(self, index):
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {n} parts")
        return index % n

    def append(self, part: Any) -> Any:
        """Add a part at the end; returns the container."""
        self._set_part(next(str(i) for i in count(len(self)) if str(i) not in vars(self)), part)
        return self

    def extend(self, parts: Iterable[Any]) -> Any:
        """Add several parts at the end; returns the container."""
        for part in list(parts):
            self.append(part)
        return self

    def insert(self, index: int, part: Any) -> Any:
        """Put a part before position index; returns the container."""
        parts = self._parts()
        parts.insert(index, part)
        self._rebuild(parts)
        return self

    def pop(self, index: int = -1) -> Any:
        """Take a part out; returns it."""
        part = self[index]
        del self[self._position(index)]
        return part

    def __iadd__(self, parts: Iterable[Any]) -> Any:
        return self.extend(parts)

    def __add__(self, parts: Iterable[Any]) -> Any:
        return type(self)().extend(self).extend(parts)


class Sequential(_Listed):
    """Layers applied one after the other: Sequential(a, b) or Sequential({"first": a, "second": b}).

    Raises TypeError for a part that is no Module.  As torch.nn.Sequential.
    """

    def __init__(self, *layers: Any):
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            for name, layer in layers[0].items():
                self._set_part(name, layer)
        else:
            self.extend(layers)

    def forward(self, input: Any) -> Any:
        """The layers in order."""
        return run(self._parts(), input)


class ModuleList(_Listed):
    """A list of modules whose parameters are found.  As torch.nn.ModuleList."""

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)

    def _repr_lines(self):
        """Equal neighbours are counted: (0-2): 3 x ReLU()."""
        lines, i = [], 0
        for text, equal in groupby(map(repr, self)):
            n = len(list(equal))
            text = text.replace("\n", "\n  ")
            lines.append(f"({i}): {text}" if n == 1 else f"({i}-{i + n - 1}): {n} x {text}")
            i += n
        return lines


class ParameterList(_Listed):
    """A list of parameters that are found; tensors and arrays become Parameters.  As torch.nn.ParameterList."""

    kind = Parameter

    def __init__(self, values: Iterable[Any] = ()):
        self.extend(values)

    def _set_part(self, name, part):
        super()._set_part(name, _as_parameter(part))

    def _repr_lines(self):
        return [f"({name}): Parameter of {p.dtype} {p.shape}" for name, p in self._named_parts()]


class _Keyed(_Container):
    """Parts by name."""

    def __init__(self, parts: Any = ()):
        self.update(parts)

    def update(self, parts: Any) -> None:
        """Add parts from a mapping or from pairs (name, part)."""
        for name, part in parts.items() if hasattr(parts, "items") else parts:
            self[name] = part

    def __setitem__(self, name: str, part: Any) -> None:
        self._set_part(name, part)

    def __getitem__(self, name: str) -> Any:
        return dict(self._named_parts())[name]

    def __delitem__(self, name: str) -> None:
        del vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: str) -> bool:
        return isinstance(vars(self).get(name), self.kind)

    def pop(self, name: str) -> Any:
        """Take a part out; returns it."""
        part = self[name]
        del self[name]
        return part

    def clear(self) -> None:
        """Take all parts out."""
        for name in list(self):
            del self[name]

    def keys(self) -> Iterable[str]:
        """The names."""
        return dict(self._named_parts()).keys()

    def values(self) -> Iterable[Any]:
        """The parts."""
        return dict(self._named_parts()).values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """(name, part) pairs."""
        return dict(self._named_parts()).items()


class ModuleDict(_Keyed):
    """Modules by name, whose parameters are found.  As torch.nn.ModuleDict."""


class ParameterDict(_Keyed):
    """Parameters by name; tensors and arrays become Parameters.  As torch.nn.ParameterDict."""

    kind = Parameter

    def _set_part(self, name, part):
        super()._set_part(name, _as_parameter(part))


def _as_parameter(v):
    return v if isinstance(v, Parameter) else Parameter(v.data if isinstance(v, Tensor) else v)
