"""What a ladder is made of."""
from collections.abc import Callable
from typing import NamedTuple


def everywhere(*args):
    """The limits of a rung that has none."""
    return ""


class Rung(NamedTuple):
    """One implementation of an operation.

    memory  "NCHW" or "NHWC": the order in memory in which it likes its images; it takes any
    limits  a function of the operation's arguments: "" where the rung is defined for them, else the reason it is not
    """
    name: str
    function: Callable
    memory: str
    limits: Callable = everywhere
