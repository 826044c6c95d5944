"""A layer without parameters is a function of functional.py with some of its arguments given in advance."""
from __future__ import annotations

from dataclasses import dataclass, fields
from inspect import get_annotations
from math import sqrt
from typing import Any, Callable, ClassVar, dataclass_transform

import numpy as np

from ...backend import module_of
from .. import init
from ..module import Module
from ..parameter import Parameter


@dataclass_transform(eq_default=False)
@dataclass(eq=False, repr=False)
class Layer(Module):
    """forward(x) = function(x, **options), where the options are the class's annotated fields.

    They are the constructor's arguments, in their order, and what repr() shows:

        class ELU(Layer):
            function = staticmethod(F.elu)
            alpha: float = 1.0
            inplace: bool = False

    shown   the fields that repr() shows; None: all, `inplace` only where it is set
    """

    function: ClassVar[Callable[..., Any]]
    shown: ClassVar[tuple[str, ...] | None] = None

    def __init_subclass__(cls) -> None:
        if any("ClassVar" not in str(kind) for kind in get_annotations(cls).values()):
            dataclass(eq=False, repr=False)(cls)

    def options(self) -> dict[str, Any]:
        """The function's options by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def forward(self, *inputs: Any) -> Any:
        """The function of the inputs."""
        return self.function(*inputs, **self.options())

    def extra_repr(self) -> str:
        """The options as name=value."""
        options = self.options()
        shown = self.shown if self.shown is not None else [n for n in options if n != "inplace" or options[n]]
        return ", ".join(f"{name}={options[name]!r}" for name in shown)


def parameter(shape: tuple[int, ...], draw: Callable[[Parameter], Any], dtype: Any, device: str | None) -> Parameter:
    """A Parameter of `shape`, filled by `draw`.  Raises TypeError for a dtype that is not floating point."""
    p = Parameter(module_of(device).empty(shape, np.float32 if dtype is None else dtype))
    draw(p)
    return p


def uniform_parameter(shape: tuple[int, ...], fan_in: int, dtype: Any, device: str | None) -> Parameter:
    """A Parameter uniform in +-1/sqrt(fan_in): what torch's kaiming_uniform_(a=sqrt(5)) comes to."""
    bound = 1 / sqrt(fan_in)
    return parameter(shape, lambda p: init.uniform_(p, -bound, bound), dtype, device)


def positive_sizes(layer: str, **sizes: int) -> None:
    """Raise ValueError for a size that is not a positive integer."""
    for name, n in sizes.items():
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"{layer}: {name} must be a positive integer, got {n!r}")


def size_tuple(v: Any, n: int, layer: str, name: str, least: int | None = None) -> tuple[int, ...]:
    """One int or n of them -> n ints.  Raises TypeError for anything else, ValueError for one below `least`."""
    values = (v,) * n if isinstance(v, (int, np.integer)) else tuple(v) if isinstance(v, (tuple, list)) else ()
    if len(values) == 1:
        values *= n
    if len(values) != n or not all(isinstance(k, (int, np.integer)) for k in values):
        raise TypeError(f"{layer}: {name} must be an int{'' if n == 1 else f' or a tuple of {n} ints'}, got {v!r}")
    if least is not None and min(values) < least:
        raise ValueError(f"{layer}: {name} must be at least {least}, got {v!r}")
    return tuple(map(int, values))
