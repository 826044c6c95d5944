"""Every kernel, once, in plain array code.  Read this folder to learn what a kernel computes; a faster backend
offers the same names and signatures and agrees with it to rounding.  `__all__` is the interface table.

Letters: N images, C in-channels, O out-channels, G groups, H x W input, KH x KW kernel, OH x OW output.
"""
from . import conv
from .conv import *

__all__ = [*conv.__all__]
