"""What a training run reports: one row of numbers per epoch, as CSV, JSON and curves."""
from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

COLUMNS = ("epoch", "step", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr", "seconds",
           "images_per_second")


@dataclass
class History:
    """The epochs of a run, in order: each a dict with the keys COLUMNS (accuracies are fractions).

    test_loss and test_accuracy are None where there was no test set.

    >>> history = History([{"epoch": 1, "test_accuracy": 0.9}, {"epoch": 2, "test_accuracy": 0.95}])
    >>> history.column("test_accuracy"), history.last["epoch"], len(history)
    ([0.9, 0.95], 2, 2)
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    @property
    def last(self) -> dict[str, Any]:
        """The latest epoch; an empty dict before the first."""
        return self.rows[-1] if self.rows else {}

    def column(self, name: str) -> list:
        """One number of every epoch.  Raises KeyError for a name that is not in COLUMNS."""
        return [row[name] for row in self.rows]

    def csv(self) -> str:
        """The rows as CSV with a header line; an absent number is an empty field."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def json(self) -> str:
        """The rows as a JSON array of objects."""
        return json.dumps(self.rows, indent=1) + "\n"

    def plot(self, path: str | Path) -> None:
        """Draw loss and accuracy over the epochs into an image file.  Raises ImportError without matplotlib."""
        from .plots import curves
        curves(self, path)
