"""RMSprop."""
from __future__ import annotations

from typing import Any, Iterable

from ..backend import Varying, kernels
from .optimizer import Optimizer, zeros_like


class RMSprop(Optimizer):
    """Steps by the gradient over the root of the running mean of its square.

    alpha      how much of that mean is kept in a step
    eps        added to the root
    centered   subtract the squared running mean of the gradient first (Graves 2013, equation 40)
    Others as SGD's.

    Raises ValueError for options out of range.  As torch.optim.RMSprop.  Hinton, lecture 6e (2012).
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, *, maximize: bool = False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
                                  "momentum": momentum, "centered": centered, "maximize": maximize})

    def _check_options(self, group):
        super()._check_options(group)
        self._check(group, "alpha", "eps", "momentum")

    def _update(self, params, grads, states, group):
        kept = {"square_avg": True, "momentum_buffer": group["momentum"], "grad_avg": group["centered"]}
        for param, state in zip(params, states):
            for name, wanted in kept.items():
                if wanted and name not in state:
                    state[name] = zeros_like(param)

        def numbers():
            for state in states:
                state["step"] = state.get("step", 0) + 1
            return tuple(group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum"))
        lists = ([state[name] for state in states] if wanted else None for name, wanted in kept.items())
        kernels(params[0]).rmsprop_update(params, grads, *lists, Varying(numbers), group["maximize"])
