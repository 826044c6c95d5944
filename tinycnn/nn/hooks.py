"""Hooks on a module's backward pass, made of hooks on its forward pass and on two tensors.

        x --alias--> x' --forward--> y' --alias--> y
                     |                            |
        hook gets:   gradient of x'               gradient of y

The aliases are this call's own: what other uses of the same tensors contribute stays out.
"""
from __future__ import annotations

from typing import Any, Callable

from ..autograd import Tensor, alias


class Handles:
    """Several hooks taken off as one."""

    def __init__(self, *handles: Any):
        self._handles = handles

    def remove(self) -> None:
        """Take all of them off."""
        for h in self._handles:
            h.remove()


def watch_backward(module: Any, hook: Callable) -> Handles:
    """See Module.register_full_backward_hook."""
    entered = []

    def before(module, inputs):
        x = inputs[0]
        x = alias(x) if isinstance(x, Tensor) and x.requires_grad else x
        entered[:] = [x]                         # this call's own view of its input: others' gradients stay out
        return (x, *inputs[1:])

    def after(module, inputs, output):
        x, y, arrived = entered.pop(), alias(output), []
        if not y.requires_grad:
            return None
        if isinstance(x, Tensor) and x.requires_grad:
            y.register_hook(arrived.append)
            x.register_hook(lambda g: _first(hook(module, (g,), (arrived.pop(),))))
        else:
            y.register_hook(lambda g: hook(module, (None,), (g,)) and None)
        return y
    return Handles(module.register_forward_pre_hook(before), module.register_forward_hook(after))


def _first(returned):
    return returned[0] if isinstance(returned, tuple) else returned
