"""NumPy float32 and float64 arrays: what is listed here is written by hand in Numba, the rest is the reference."""
from ..reference import *  # noqa: F401, F403
