"""Schedules made of schedules."""
from __future__ import annotations

from bisect import bisect_right
from typing import Any, Mapping, Sequence

from .base import LRScheduler, check_optimizer


def _checked(name, optimizer, schedulers):
    """The schedules as a list.  Raises unless they are schedules of this optimizer."""
    schedulers = list(schedulers)
    if not schedulers:
        raise ValueError(f"{name}: expected at least one schedule, got none")
    check_optimizer(name, optimizer)
    for i, s in enumerate(schedulers):
        if not hasattr(s, "optimizer") or not hasattr(s, "get_last_lr"):
            raise TypeError(f"{name}: schedule {i} is a {type(s).__name__}")
        if s.optimizer is not optimizer:
            raise ValueError(f"{name}: schedule {i} ({type(s).__name__}) belongs to another optimizer: all must be for "
                             "the same one")
    return schedulers


class SequentialLR:
    """Several schedules one after the other, each beginning at its own step 0: a warm-up, then a decay.

    milestones   the steps at which the second, third, ... schedule begins

    Raises ValueError unless there is one milestone fewer than schedules, in rising order, and all are of this
    optimizer.  As torch.optim.lr_scheduler.SequentialLR.
    """

    def __init__(self, optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
                 last_epoch: int = -1):
        self.optimizer, self._schedulers = optimizer, _checked("SequentialLR", optimizer, schedulers)
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        for i, s in enumerate(self._schedulers):
            if not isinstance(s, LRScheduler):
                raise TypeError(f"SequentialLR: schedule {i} is a {type(s).__name__}, which steps by a metric and not "
                                "by count")
        if len(self._milestones) != len(self._schedulers) - 1 or self._milestones != sorted(set(self._milestones)):
            raise ValueError(f"SequentialLR: {len(self._schedulers)} schedules need {len(self._schedulers) - 1} "
                             f"milestones in rising order, got {self._milestones}")
        if last_epoch == -1:                         # making the schedules applied every one of them
            self._schedulers[0].restart()

    def step(self) -> None:
        """Go to the next step and set the rates; at a milestone the next schedule begins."""
        self.last_epoch += 1
        current = self._schedulers[bisect_right(self._milestones, self.last_epoch)]
        if self.last_epoch in self._milestones:
            current.restart()
        else:
            current.step()

    def get_last_lr(self) -> list[float]:
        """The rates now in force, one per group."""
        return self._schedulers[0].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions: numbers, strings, lists and dicts."""
        return {"last_epoch": self.last_epoch, "milestones": self._milestones,
                "schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from state_dict().  Raises ValueError for a state of another number of schedules."""
        _load_parts("SequentialLR", self._schedulers, state_dict["schedulers"])
        self.last_epoch, self._milestones = state_dict["last_epoch"], list(state_dict["milestones"])


class ChainedScheduler:
    """Several schedules at once: their factors multiply.  As torch.optim.lr_scheduler.ChainedScheduler."""

    def __init__(self, schedulers: Sequence[Any], optimizer: Any = None):
        schedulers = list(schedulers)
        if optimizer is None and schedulers:
            optimizer = schedulers[0].optimizer
        self.optimizer, self._schedulers = optimizer, _checked("ChainedScheduler", optimizer, schedulers)

    def step(self) -> None:
        """Step every schedule, in order."""
        for s in self._schedulers:
            s.step()

    def get_last_lr(self) -> list[float]:
        """The rates now in force, one per group."""
        return self._schedulers[-1].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The schedules' states."""
        return {"schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from state_dict().  Raises ValueError for a state of another number of schedules."""
        _load_parts("ChainedScheduler", self._schedulers, state_dict["schedulers"])


def _load_parts(name, schedulers, states):
    if len(states) != len(schedulers):
        raise ValueError(f"{name}.load_state_dict: the state is of {len(states)} schedules, there are "
                         f"{len(schedulers)}")
    for s, state in zip(schedulers, states):
        s.load_state_dict(state)
