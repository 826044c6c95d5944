"""What the schedules share: stepping, and a state of plain values."""
from __future__ import annotations

import warnings
from typing import Any, Mapping

from ...backend import each_run
from ..optimizer import Optimizer


def check_optimizer(name: str, optimizer: Any) -> Optimizer:
    """Raise TypeError for anything that is no optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: the first argument must be an optimizer, got a {type(optimizer).__name__}")
    return optimizer


class LRScheduler:
    """Base class of schedules: a subclass computes the rates of step `last_epoch` in get_lr().

    last_epoch   the step to go on from; -1 begins anew.  Other values need groups with "initial_lr", as a loaded
                 optimizer state has them.

    Raises ValueError where that is missing, TypeError for anything that is no optimizer.
    As torch.optim.lr_scheduler.LRScheduler.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        self.optimizer = check_optimizer(self._name, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(f"{self._name}: last_epoch={last_epoch} goes on with a schedule, but parameter group "
                                 f"{i} has no 'initial_lr': load the optimizer's state first, or leave last_epoch=-1")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._steps = -1                             # step() calls by the user
        self._advance()

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The rates of step self.last_epoch, one per group; group["lr"] still are those of the step before."""
        raise NotImplementedError(f"{self._name} does not define get_lr()")

    def step(self) -> None:
        """Go to the next step and set the rates; to be called after optimizer.step()."""
        if self._steps == 0 and not self.optimizer._steps:
            warnings.warn(f"{self._name}.step() was called before optimizer.step(): the first rate is never used; call "
                          "optimizer.step() first", stacklevel=2)
        each_run(self._advance)

    def _advance(self):
        self._steps += 1
        self.last_epoch += 1
        self._apply()

    def _apply(self):
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = lr

    def restart(self) -> None:
        """Go to step 0, from the rates the schedule began with."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = lr
        self.last_epoch = 0
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The rates now in force, one per group."""
        return self._lrs

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions: numbers, strings, lists and dicts."""
        return {name: v for name, v in vars(self).items() if name != "optimizer" and not _holds_functions(v)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from state_dict().  The rates themselves are in the optimizer's state."""
        vars(self).update(state_dict)


def _holds_functions(v):
    return callable(v) or isinstance(v, list) and any(map(callable, v))
