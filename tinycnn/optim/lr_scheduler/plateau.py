"""The schedule that watches a metric."""
from __future__ import annotations

from math import inf
from typing import Any, Mapping, Sequence

from .base import check_optimizer


class ReduceLROnPlateau:
    """Times factor when a metric has not improved for more than `patience` steps.

    mode             "min": smaller is better; "max": larger
    threshold        what counts as better: by this part of the best value ("rel") or by this much ("abs")
    cooldown         steps after a reduction in which nothing is counted
    min_lr           not below this; a list gives every group its own
    eps              a change smaller than this is not made

    Raises ValueError for options that do not fit.  As torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    def __init__(self, optimizer: Any, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | Sequence[float] = 0, eps: float = 1e-8):
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        self.optimizer = check_optimizer("ReduceLROnPlateau", optimizer)
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"ReduceLROnPlateau: expected one min_lr for each of the {groups} parameter groups, got "
                             f"{len(self.min_lrs)}")
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.best, self.num_bad_epochs, self.cooldown_counter = inf if mode == "min" else -inf, 0, 0
        self.last_epoch = 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether a is an improvement on best."""
        sign = 1 if self.mode == "max" else -1
        margin = sign * self.threshold
        return sign * a > sign * (best * (1 + margin) if self.threshold_mode == "rel" else best + margin)

    def step(self, metrics: float) -> None:
        """Tell the schedule the metric of another epoch."""
        current = float(metrics)
        self.last_epoch += 1
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _reduce(self):
        for group, least in zip(self.optimizer.param_groups, self.min_lrs):
            lr = max(group["lr"] * self.factor, least)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """The rates now in force, one per group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer: numbers, strings and lists."""
        return {name: v for name, v in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from state_dict().  The rates themselves are in the optimizer's state."""
        vars(self).update(state_dict)
