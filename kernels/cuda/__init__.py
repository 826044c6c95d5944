"""Every kernel in CUDA C, for CuPy's arrays and, through the emulator, on the CPU.  Same names as kernels/reference.

    kernels/cuda/pool.cu    the kernels, templated on float and double: the ones to read and to gradient-check
    kernels/cuda/pool.py    what calls them: shapes, memory, one launch or two
    kernels/cuda/launch.py  how a kernel is compiled and started

Names in SIXTEEN_BITS have kernels for float16 and bfloat16, too; kernels/half.py widens for the others.  Other dtypes
are served by the reference, whose array code runs on CuPy as it is.
"""
from . import conv, elementwise, gates, index, loss, norm, optim, pool
from .conv import *
from .elementwise import *
from .gates import *
from .index import *
from .loss import *
from .norm import *
from .optim import *
from .pool import *

__all__ = [*conv.__all__, *pool.__all__, *norm.__all__, *loss.__all__, *elementwise.__all__, *gates.__all__,
           *optim.__all__, *index.__all__]
SIXTEEN_BITS = frozenset(("relu", "relu_backward", "conv2d", "conv2d_input", "conv2d_weight", "matmul", *pool.__all__,
                           *(n for n in norm.__all__ if n.startswith("batch"))))
