"""How far a run is: a bar on a terminal, plain lines anywhere else.  Everything goes to one stream, stderr."""
from __future__ import annotations

import shutil
import sys
from time import monotonic
from typing import Any, TextIO

REDRAW = 0.1                                         # seconds between two drawings of the bar


class Silent:
    """Shows nothing; what Progress has in common with it is all that the training loop uses."""

    def step(self, epoch: int, epochs: int, done: int, total: int, loss: float) -> None:
        """After each step: `done` of the `total` batches of an epoch, with the mean loss so far."""

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        """After each epoch: its row of the history."""

    def part(self, name: str, done: int, total: int) -> None:
        """Of other work: before each part its name and how many are done; at the end done == total."""

    def note(self, text: str) -> None:
        """Anything else worth saying."""


class Lines(Silent):
    """One plain line per epoch, or part of other work: for files, pipes and CI logs."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        self.note(_line(row, epochs))

    def part(self, name: str, done: int, total: int) -> None:
        if done < total:
            self.note(f"{done + 1}/{total} {name}")

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bar(Lines):
    """A bar that is drawn over itself, and one line per epoch that stays.  Needs a terminal."""

    def __init__(self, stream: TextIO | None = None):
        super().__init__(stream)
        self._drawn = 0.0

    def step(self, epoch: int, epochs: int, done: int, total: int, loss: float) -> None:
        now = monotonic()
        if now - self._drawn < REDRAW and done < total:
            return
        self._drawn = now
        self._write(f"epoch {epoch}/{epochs} {_bar(done, total)} loss {loss:.4f}")

    def part(self, name: str, done: int, total: int) -> None:
        self._write(f"{_bar(done, total)} {name}" if done < total else "")

    def note(self, text: str) -> None:
        self._write("")
        super().note(text)

    def _write(self, text: str) -> None:
        self.stream.write("\r\x1b[K" + text)
        self.stream.flush()


class Tqdm(Lines):
    """tqdm's bar, one per epoch, for those who have it installed."""

    def __init__(self, tqdm: Any, stream: TextIO | None = None):
        super().__init__(stream)
        self._tqdm, self._bar = tqdm, None

    def step(self, epoch: int, epochs: int, done: int, total: int, loss: float) -> None:
        if self._bar is None:
            self._bar = self._tqdm(total=total, desc=f"epoch {epoch}/{epochs}", file=self.stream, leave=False,
                                   unit="batch", mininterval=REDRAW)
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update(done - self._bar.n)

    def part(self, name: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = self._tqdm(total=total, file=self.stream, leave=False, mininterval=0)
        self._bar.set_description_str(name, refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()
        if done == total:
            self._close()

    def note(self, text: str) -> None:
        self._close()
        super().note(text)

    def _close(self):
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def progress(stream: TextIO | None = None) -> Silent:
    """The best way to show progress on `stream` (stderr): a bar on a terminal, tqdm's if installed; lines elsewhere."""
    stream = stream or sys.stderr
    if not stream.isatty():
        return Lines(stream)
    try:
        from tqdm import tqdm
    except ImportError:
        return Bar(stream)
    return Tqdm(tqdm, stream)


def _bar(done: int, total: int) -> str:
    width = max(10, min(40, shutil.get_terminal_size().columns - 50))
    filled = width * done // total
    return f"|{'#' * filled}{'-' * (width - filled)}| {done}/{total}"


def _line(row: dict[str, Any], epochs: int) -> str:
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}",
             f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.4f}"]
    if row["test_accuracy"] is not None:
        parts.append(f"test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:.4f}")
    parts.append(f"lr {row['lr']:.2e}")
    parts.append(f"{row['seconds']:.1f} s ({row['images_per_second']:.0f} images/s)")
    return "  ".join(parts)
