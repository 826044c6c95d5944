"""Adam and AdamW."""
from __future__ import annotations

from typing import Any, Iterable

from ..backend import Varying, kernels
from .optimizer import Optimizer, zeros_like


class Adam(Optimizer):
    """Steps by the running mean of the gradient over the root of that of its square, both corrected for their start.

    betas          how much of the two means is kept in a step
    eps            added to the root
    weight_decay   added to the gradient, times the parameter; with decoupled_weight_decay as AdamW does it
    amsgrad        divide by the largest mean square so far (Reddi et al. 2018)
    maximize       climb instead

    Raises ValueError for options out of range.  As torch.optim.Adam.  Kingma and Ba (2015), algorithm 1.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
                 decoupled_weight_decay: bool = False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "maximize": maximize,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def _check_options(self, group):
        super()._check_options(group)
        self._check(group, "eps")
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{self._name}: betas must be two numbers, each at least 0 and below 1, got "
                             f"{group['betas']!r}")

    def _phase(self, state):
        return state.get("step", 0)

    def _update(self, params, grads, states, group):
        for param, state in zip(params, states):
            if "step" not in state:
                state.update(step=0, exp_avg=zeros_like(param), exp_avg_sq=zeros_like(param))
            if group["amsgrad"] and "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = zeros_like(param)

        def numbers():
            for state in states:
                state["step"] += 1
            return group["lr"], *group["betas"], group["eps"], group["weight_decay"], states[0]["step"]
        kernels(params[0]).adam_update(
            params, grads, [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else None, Varying(numbers),
            group["decoupled_weight_decay"], group["maximize"])


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter by lr * weight_decay instead of adding to the gradient.

    Arguments as Adam.  As torch.optim.AdamW.  Loshchilov and Hutter (2019), algorithm 2.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
