"""A layer without parameters is a function with some of its arguments given in advance."""
from __future__ import annotations

from inspect import Parameter as Argument
from inspect import Signature, signature
from typing import Any, Callable

import numpy as np

from ...autograd import Tensor
from ...methods import FUNCTIONS
from ..module import Module, Parameter


class FunctionLayer(Module):
    """forward(x) = function(x, **arguments).

    A subclass names its function and which of the function's arguments the constructor `takes`, in torch's order;
    their names and defaults are the function's, unless `defaults` says otherwise.
    """

    function: str = ""
    takes: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}

    def __init_subclass__(cls) -> None:
        if not cls.function:
            return
        known = signature(FUNCTIONS[cls.function]).parameters
        arguments = [known[name].replace(kind=Argument.POSITIONAL_OR_KEYWORD) for name in cls.takes]
        cls.__signature__ = Signature([a.replace(default=cls.defaults[a.name]) if a.name in cls.defaults else a
                                       for a in arguments])

    def __init__(self, *args: Any, **kwargs: Any):
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}{self.__signature__}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def options(self) -> dict[str, Any]:
        """The arguments in force."""
        return {name: getattr(self, name) for name in self.takes}

    def forward(self, *inputs: Tensor) -> Any:
        """The function of the inputs."""
        return FUNCTIONS[self.function](*inputs, **self.options())

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        arguments = self.__signature__.parameters
        shown = [(n, v) for n, v in self.options().items()
                 if isinstance(v, Tensor) or arguments[n].default is Argument.empty or v != arguments[n].default]
        return ", ".join(f"{n}={'...' if isinstance(v, Tensor) else repr(v)}" for n, v in shown)


def layers(namespace: dict, base: type, rows: dict[str, tuple]) -> list[str]:
    """Define a class per row, name: (function, arguments[, defaults]), in `namespace`; returns the names."""
    for name, (function, takes, *defaults) in rows.items():
        members = {"function": function, "takes": tuple(takes.split()), "__module__": namespace["__name__"],
                   "__doc__": f"See functional.{function}.  As torch.nn.{name}."}
        if defaults:
            members["defaults"] = defaults[0]
        namespace[name] = type(name, (base,), members)
    return list(rows)


def parameter(shape: tuple[int, ...], draw: Callable[[Parameter], Any], dtype: Any, device: str | None) -> Parameter:
    """A Parameter of `shape`, filled by `draw`."""
    p = Parameter(np.empty(shape, np.float32 if dtype is None else dtype))
    draw(p)
    if device is not None:
        p.data = p.detach().to(device=device).data
    return p


def positive_sizes(layer: str, **sizes: int) -> None:
    """Raise ValueError for a size that is not a positive integer."""
    for name, n in sizes.items():
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"{layer}: {name} must be a positive integer, got {n!r}")
