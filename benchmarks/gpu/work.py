"""A stage's side: items are measured one after the other, each a row or several, whatever happens to the others."""
from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from .stages import Settings, read_rows, write_row

SPOILED = 3                                          # exit code: the device answers no more


class Work:
    """What a stage is given: the settings, until when it may start items, and where rows go."""

    def __init__(self, settings: Settings, stage: str, until: float):
        self.settings, self.stage, self.until = settings, stage, until
        self.done = {row["item"] for row in read_rows(settings.out) if row["stage"] == stage}

    def row(self, item: str, **values: Any) -> None:
        """Write a row."""
        write_row(self.settings.out, {"stage": self.stage, "item": item, **values})

    def share(self, items: int, least: float = 0.05, most: float = 0.5) -> float:
        """Seconds to time one of so many items that are still to come."""
        return min(most, max(least, (self.until - time.time()) / (3 * max(1, items))))

    def each(self, items: Iterable[tuple[str, Callable[[], dict | list[dict]]]],
             alive: Callable[[], Any] = lambda: None) -> None:
        """Measure every item, a name and a function that returns its rows, while there is time.

        alive   raises if the device answers no more: the process ends, and another one does the rest
        """
        left = 0
        for name, measure in items:
            if name in self.done:
                continue
            if time.time() > self.until:
                left += 1
                continue
            self._current(name)
            try:
                found = measure()
                for values in found if isinstance(found, list) else [found]:
                    self.row(name, **values)
            except Exception as error:
                traceback.print_exc()
                self.row(name, error=said(error))
                self._check(alive)
            self._current("")
        if left:
            self.row("time", left_out=f"{left} items: no time was left")

    def _current(self, name):
        """Say what is being measured: who ends this process, or sees it end, knows what it was."""
        (self.settings.out / "current").write_text(name, encoding="utf-8")

    def _check(self, alive):
        try:
            alive()
        except Exception as error:
            print("the device is lost:", error, file=sys.stderr)
            sys.exit(SPOILED)


def said(error: BaseException) -> str:
    """An error in one line, with the file and line it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text[:300]} ({Path(last.filename).name}:{last.lineno})"


def main() -> None:
    """Do one stage, as the request in the command line says."""
    request = json.loads(sys.argv[1])
    settings = Settings(Path(request["out"]), request["device"], request["tiny"], request["seed"])
    import_module(request["module"]).run(Work(settings, request["stage"], request["until"]))


if __name__ == "__main__":
    main()
