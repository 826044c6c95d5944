"""Schedules that multiply the rate at some or all steps."""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Callable, Sequence

from .base import LRScheduler

Factor = Callable[[int], float]


class LambdaLR(LRScheduler):
    """The first rate times lr_lambda(step); a list gives every group its own function."""

    def __init__(self, optimizer: Any, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1):
        groups = len(optimizer.param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"{self._name}: expected one function for each of the {groups} parameter groups, got "
                             f"{len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """initial * lr_lambda(step)"""
        return [lr * f(self.last_epoch) for lr, f in zip(self.base_lrs, self.lr_lambdas)]


class MultiplicativeLR(LambdaLR):
    """The present rate times lr_lambda(step), from step 1 on."""

    def get_lr(self) -> list[float]:
        """lr * lr_lambda(step)"""
        if self.last_epoch == 0:
            return self._lrs
        return [lr * f(self.last_epoch) for lr, f in zip(self._lrs, self.lr_lambdas)]


class StepLR(LRScheduler):
    """Times gamma every step_size steps."""

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        if step_size < 1:
            raise ValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * gamma where step_size divides the step"""
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._lrs
        return [lr * self.gamma for lr in self._lrs]


class MultiStepLR(LRScheduler):
    """Times gamma at each of the milestones."""

    def __init__(self, optimizer: Any, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * gamma for every milestone equal to the step"""
        now = bisect_right(self.milestones, self.last_epoch) - bisect_left(self.milestones, self.last_epoch)
        return [lr * self.gamma ** now for lr in self._lrs]


class ExponentialLR(LRScheduler):
    """Times gamma at every step."""

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * gamma"""
        return self._lrs if self.last_epoch == 0 else [lr * self.gamma for lr in self._lrs]


class ConstantLR(LRScheduler):
    """Times factor until step total_iters."""

    def __init__(self, optimizer: Any, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1):
        if not 0 < factor <= 1:
            raise ValueError(f"ConstantLR: factor must be above 0 and at most 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * factor at step 0, lr / factor at total_iters"""
        factor = {0: self.factor, self.total_iters: 1 / self.factor}.get(self.last_epoch, 1.0)
        return [lr * (1.0 if self.total_iters == 0 else factor) for lr in self._lrs]


class LinearLR(LRScheduler):
    """Times a factor that goes from start_factor to end_factor in total_iters steps: a warm-up.

    Goyal et al. (2017), arXiv:1706.02677, section 2.2.
    """

    def __init__(self, optimizer: Any, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
                 last_epoch: int = -1):
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be above 0 and at most 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must lie in 0..1, got {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * factor(step) / factor(step - 1)"""
        if self.last_epoch > self.total_iters:
            return self._lrs
        before = self._factor(self.last_epoch - 1) if self.last_epoch else 1.0
        return [lr * self._factor(self.last_epoch) / before for lr in self._lrs]

    def _factor(self, step):
        part = step / self.total_iters if self.total_iters else 0.0
        return self.start_factor + (self.end_factor - self.start_factor) * part


class PolynomialLR(LRScheduler):
    """Times (1 - step/total_iters)^power, down to 0 at total_iters."""

    def __init__(self, optimizer: Any, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """lr * (rest / rest before)^power"""
        if self.last_epoch == 0 or self.last_epoch > self.total_iters:
            return self._lrs
        rest = self.total_iters - self.last_epoch
        return [lr * (rest / (rest + 1)) ** self.power for lr in self._lrs]
