"""Ctrl-C without loss: the step in hand is finished and saved before the process ends."""
from __future__ import annotations

import signal
import threading
from types import FrameType


class StopSignals:
    """Catches SIGINT and SIGTERM inside a `with` block, once; the second one ends the process at once.

    requested  None, or the number of the signal that came: for the loop to look at after each step

    Outside the main thread, where Python allows no handlers, it does nothing.  The handlers that were there before
    are put back at the end of the block.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested: int | None = None
        self._before: dict = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        for each in self.SIGNALS:
            signal.signal(each, _at_once)

    def leave(self) -> None:
        """End as the signal asked: KeyboardInterrupt for SIGINT, SystemExit(143) for SIGTERM."""
        _at_once(self.requested or signal.SIGINT, None)


def _at_once(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
