"""Stochastic gradient descent."""
from __future__ import annotations

from typing import Any, Iterable

from ..backend import Varying, kernels
from .optimizer import Optimizer, zeros_like


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v = momentum * v + (1 - dampening) * g;  p -= lr * v.

    weight_decay   added to the gradient, times the parameter
    nesterov       look ahead: p -= lr * (g + momentum * v); needs momentum and no dampening
    maximize       climb instead

    Raises ValueError for options out of range.  As torch.optim.SGD.  Sutskever et al. (2013), section 2.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening,
                                  "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize})

    def _check_options(self, group):
        super()._check_options(group)
        self._check(group, "momentum")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(f"SGD: nesterov=True needs momentum > 0 and dampening = 0, got momentum="
                             f"{group['momentum']!r}, dampening={group['dampening']!r}")

    def _phase(self, state):
        return "momentum_buffer" in state

    def _update(self, params, grads, states, group):
        first = not self._phase(states[0])
        bufs = None
        if group["momentum"]:
            if first:
                for param, state in zip(params, states):
                    state["momentum_buffer"] = zeros_like(param)
            bufs = [state["momentum_buffer"] for state in states]
        numbers = Varying(lambda: tuple(group[name] for name in ("lr", "momentum", "dampening", "weight_decay")))
        kernels(params[0]).sgd_update(params, grads, bufs, numbers, group["nesterov"], group["maximize"], first)
