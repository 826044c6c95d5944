"""The engine's random numbers: one generator, set by manual_seed.

Layers draw their first weights from it, dropout draws a seed for each call.  It is Philox (Salmon et al. 2011),
whose state is small and can be stored; every draw holds a lock, so that threads may share it.
"""
from __future__ import annotations

import threading
from typing import Any

import numpy as np

_lock = threading.Lock()
_generator = None                                    # made when first needed: numpy.random takes a while to load


def manual_seed(seed: int) -> None:
    """Start the random numbers of the engine anew from `seed`, any integer.  As torch.manual_seed."""
    global _generator
    with _lock:
        _generator = np.random.Generator(np.random.Philox(int(seed) % (1 << 64)))


def _current():
    global _generator
    if _generator is None:
        _generator = np.random.Generator(np.random.Philox())
    return _generator


def draw(method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of the generator, one caller at a time: draw("standard_normal", (2, 3))."""
    with _lock:
        return getattr(_current(), method)(*args, **kwargs)


def next_seed() -> int:
    """A 63-bit seed for a counter-based kernel."""
    return int(draw("integers", 0, (1 << 63) - 1))


def get_rng_state() -> dict:
    """The generator's state: nested dicts of integers and arrays, which tc.save can store."""
    with _lock:
        return _current().bit_generator.state


def set_rng_state(state: dict) -> None:
    """Continue from a state that get_rng_state returned.  Raises ValueError if it is none."""
    try:
        with _lock:
            _current().bit_generator.state = state
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"set_rng_state: this is no state of the engine's generator: {error}") from None
