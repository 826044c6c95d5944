"""The folder of a training run.

    config.json          the settings, as Config has them, and the library's version
    metrics.csv, .json   one row per epoch
    confusion.csv        test images by true class (down) and predicted class (across), after the latest epoch
    curves.png, confusion.png    the same as pictures, where matplotlib is installed
    checkpoint.tc        everything a resumed run needs; checkpoint.tc.prev is the one before
    weights.safetensors  the parameters and buffers alone, for other programs
"""
from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..io import CheckpointError, load, save, save_safetensors, write_atomically
from .config import Config
from .history import History

ROOT = "runs"


class Run:
    """The folder `path` of a run that was begun with `config`."""

    def __init__(self, path: str | Path, config: Config):
        self.path, self.config = Path(path), config

    @classmethod
    def fresh(cls, config: Config, root: str | Path = ROOT) -> Run:
        """A new folder root/MODEL-DATA-N with the first free N."""
        n = 1
        while True:
            path = Path(root) / f"{config.model}-{config.data}-{n}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                n += 1
            else:
                return cls._begin(path, config)

    @classmethod
    def at(cls, path: str | Path, config: Config, resume: bool = False) -> Run:
        """The folder `path`: begun with `config`, or with resume the run it holds already, if any.

        Raises ValueError if it holds a run and resume is not set, or one of another config.
        """
        path = Path(path)
        if not (path / "config.json").exists():
            path.mkdir(parents=True, exist_ok=True)
            return cls._begin(path, config)
        if not resume:
            raise ValueError(f"{path} holds a run already: go on with it (--resume), or choose another folder (--out)")
        run = cls.open(path)
        run.check(config)
        return run

    def check(self, config: Config) -> None:
        """Raise ValueError, naming the setting, unless the run was begun with `config`."""
        for name, value in self.config.to_dict().items():
            if getattr(config, name) != value:
                raise ValueError(f"{self.path} was begun with {name}={value!r}, not {getattr(config, name)!r}: "
                                 "resuming goes on with the same settings (the schedule is laid out over all epochs); "
                                 "begin a new run for other ones")

    @classmethod
    def _begin(cls, path: Path, config: Config) -> Run:
        from .. import __version__
        settings = {**config.to_dict(), "version": __version__}
        write_atomically(path / "config.json", (json.dumps(settings, indent=1) + "\n").encode())
        return cls(path, config)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run that the folder `path` holds.

        Raises FileNotFoundError if there is none, ValueError for a config.json that is damaged.
        """
        file = Path(path) / "config.json"
        if not file.is_file():
            raise FileNotFoundError(f"{path} holds no run (no config.json): give the folder that `tinycnn train` named")
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            settings.pop("version")
            return cls(path, Config.from_dict(settings))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"{file} is damaged: {error}") from error

    # ------------------------------------------------------------------------------------ checkpoints

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint is."""
        return self.path / "checkpoint.tc"

    @property
    def previous(self) -> Path:
        """Where the one before is."""
        return self.path / "checkpoint.tc.prev"

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return self.checkpoint.exists() or self.previous.exists()

    def load_checkpoint(self) -> dict[str, Any]:
        """The newest state that can be read: with a warning the previous one, if the newest is damaged.

        Raises FileNotFoundError if nothing was saved yet, CheckpointError if none can be read.
        """
        if not self.has_checkpoint():
            raise FileNotFoundError(f"{self.path} has no checkpoint yet: nothing was trained there")
        try:
            return load(self.checkpoint)
        except (OSError, CheckpointError) as error:
            if not self.previous.exists():
                raise
            warnings.warn(f"{error}; going on from the one before, {self.previous}", stacklevel=2)
            return load(self.previous)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the newest state and keep the one before; at every moment one of them can be read."""
        save(state, self.checkpoint, keep_previous=True)
        save_safetensors(state["model"], self.path / "weights.safetensors")

    def tidy(self) -> None:
        """Remove what a killed process left half written."""
        for stale in self.path.glob(".*.tmp"):
            stale.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------ results

    def write_metrics(self, history: History) -> None:
        """metrics.csv and metrics.json."""
        write_atomically(self.path / "metrics.csv", history.csv().encode())
        write_atomically(self.path / "metrics.json", history.json().encode())

    def write_confusion(self, matrix: np.ndarray, classes: Sequence[str]) -> None:
        """confusion.csv: a header of predicted classes, then one line per true class."""
        lines = [",".join(["true\\predicted", *classes])]
        lines += [",".join([name, *map(str, row)]) for name, row in zip(classes, matrix.tolist())]
        write_atomically(self.path / "confusion.csv", ("\n".join(lines) + "\n").encode())

    def draw(self, history: History, matrix: np.ndarray | None, classes: Sequence[str]) -> None:
        """curves.png and confusion.png.  Raises ImportError without matplotlib."""
        from . import plots
        plots.curves(history, self.path / "curves.png")
        if matrix is not None:
            plots.confusion(matrix, classes, self.path / "confusion.png")
