"""Every kernel, once, in plain array code.  Read this folder to learn what a kernel computes; a faster backend
offers the same names and signatures and agrees with it to rounding.  `__all__` is the interface table.

Letters: N images, C in-channels, O out-channels, G groups, H x W input, KH x KW kernel, OH x OW output.
"""
from . import activation, conv, gates, index, loss, math, norm, optim, pool, random
from .activation import *
from .conv import *
from .gates import *
from .index import *
from .loss import *
from .math import *
from .norm import *
from .optim import *
from .pool import *
from .random import *

__all__ = [*conv.__all__, *pool.__all__, *norm.__all__, *activation.__all__, *gates.__all__, *loss.__all__,
           *random.__all__, *math.__all__, *optim.__all__, *index.__all__]
