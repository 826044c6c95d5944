"""Training: `fit` is the loop, `evaluate` its half without learning; read loop.py first.

    from tinycnn.train import Config, fit
    history = fit(model, train_set, test_set, Config(epochs=5, lr=0.1), run="runs/mine")
    history.last["test_accuracy"]
"""
from .config import Config
from .history import History
from .loop import Evaluation, NonFiniteLoss, Trainer, evaluate, fit
from .progress import Silent, progress
from .run import Run

__all__ = ["Config", "Evaluation", "History", "NonFiniteLoss", "Run", "Silent", "Trainer", "evaluate", "fit",
           "progress"]
