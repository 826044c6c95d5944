"""Optimizers and learning-rate schedules.  Names and arguments: torch.optim."""
from . import lr_scheduler
from .optimizer import *
