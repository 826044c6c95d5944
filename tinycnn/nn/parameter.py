"""Tensors that a Module owns and an optimizer changes."""
from __future__ import annotations

from typing import Any

from ..autograd import Tensor


class Parameter(Tensor):
    """A Tensor that is found by Module.parameters() when it is an attribute.  As torch.nn.Parameter."""

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad)

    def __deepcopy__(self, memo):
        out = memo[id(self)] = type(self)(self._data.copy(), self.requires_grad)
        return out

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class UninitializedParameter(Parameter):
    """A Parameter of a lazy layer, without a shape until the layer's first call; any use of its values says so."""

    def __init__(self, name: str):
        self._name = name
        self.requires_grad, self.grad, self._node, self._hooks, self._version = True, None, None, None, 0

    @property
    def _data(self):
        raise ValueError(f"{self._name} has no shape yet: call the model once, with a batch or zeros of its shape, "
                         "before its parameters are used")

    def materialize(self, ready: Parameter) -> None:
        """Become an ordinary Parameter with the array of `ready`."""
        self.__class__ = Parameter                   # type: ignore[assignment]
        del self._name
        self._data = ready.data

    def __deepcopy__(self, memo):
        out = memo[id(self)] = type(self)(self._name)
        return out

    def __repr__(self) -> str:
        return f"UninitializedParameter({self._name})"
