"""Layers: the functions of functional.py with the parameters and options they keep.  Names and arguments: torch.nn."""
from . import activation, base, conv, dropout, lazy, linear, loss, norm, pool, shape
from .activation import *
from .conv import *
from .dropout import *
from .lazy import *
from .linear import *
from .loss import *
from .norm import *
from .pool import *
from .shape import *

__all__ = [name for part in (activation, conv, dropout, lazy, linear, loss, norm, pool, shape) for name in part.__all__]
