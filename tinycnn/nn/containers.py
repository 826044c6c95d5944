"""Modules that hold other modules."""
from __future__ import annotations

from typing import Any, Iterable, Iterator

from ..autograd import Tensor
from .module import Module, Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterList", "Sequential"]


class _Listed(Module):
    """Parts named "0", "1", ... that can be indexed, sliced and extended."""

    def _parts(self):
        return [v for name, v in vars(self).items() if isinstance(v, (Module, Parameter))]

    def _rebuild(self, parts):
        for name in [n for n, v in vars(self).items() if isinstance(v, (Module, Parameter))]:
            delattr(self, name)
        for i, part in enumerate(parts):
            setattr(self, str(i), part)

    def __len__(self) -> int:
        return len(self._parts())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            out = type(self)()
            for name, v in [(n, v) for n, v in vars(self).items() if isinstance(v, (Module, Parameter))][index]:
                setattr(out, name, v)
            return out
        return self._parts()[self._position(index)]

    def __setitem__(self, index: int, part: Any) -> None:
        names = [n for n, v in vars(self).items() if isinstance(v, (Module, Parameter))]
        setattr(self, names[self._position(index)], part)

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
        setattr(self, str(len(self)), part)
        return self

    def extend(self, parts: Iterable[Any]) -> Any:
        """Add several parts at the end; returns the container."""
        for part in parts:
            self.append(part)
        return self

    def insert(self, index: int, part: Any) -> Any:
        """Put a part before position index; returns the container."""
        parts = self._parts()
        parts.insert(index, part)
        self._rebuild(parts)
        return self


class Sequential(_Listed):
    """Layers applied one after the other: Sequential(a, b) or Sequential({"first": a, "second": b}).

    As torch.nn.Sequential.
    """

    def __init__(self, *layers: Any):
        if len(layers) == 1 and isinstance(layers[0], dict):
            for name, layer in layers[0].items():
                self.add_module(name, layer)
        else:
            for i, layer in enumerate(layers):
                if not isinstance(layer, Module):
                    raise TypeError(f"Sequential: part {i} is a {type(layer).__name__}, not a Module")
                setattr(self, str(i), layer)

    def forward(self, x: Any) -> Any:
        """The layers in order."""
        for layer in self._parts():
            x = layer(x)
        return x


class ModuleList(_Listed):
    """A list of modules whose parameters are found.  As torch.nn.ModuleList."""

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)


class ParameterList(_Listed):
    """A list of parameters that are found.  As torch.nn.ParameterList."""

    def __init__(self, values: Iterable[Any] = ()):
        self.extend(values)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.isdigit() and not isinstance(value, Parameter):
            value = Parameter(value.data if isinstance(value, Tensor) else value)
        super().__setattr__(name, value)


class ModuleDict(Module):
    """Modules by name, whose parameters are found.  As torch.nn.ModuleDict."""

    def __init__(self, modules: Any = ()):
        self.update(modules)

    def update(self, modules: Any) -> None:
        """Add modules from a mapping or from pairs."""
        for name, module in modules.items() if isinstance(modules, dict) else modules:
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if name not in self:
            self._check_new(name)
        setattr(self, name, module)

    def __getitem__(self, name: str) -> Module:
        return dict(self.items())[name]

    def __delitem__(self, name: str) -> None:
        delattr(self, name)

    def __len__(self) -> int:
        return len(dict(self.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.items()))

    def __contains__(self, name: str) -> bool:
        return isinstance(vars(self).get(name), Module)

    def keys(self) -> Iterable[str]:
        """The names."""
        return dict(self.items()).keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return dict(self.items()).values()

    def items(self) -> list[tuple[str, Module]]:
        """(name, module) pairs."""
        return [(n, v) for n, v in vars(self).items() if isinstance(v, Module)]
