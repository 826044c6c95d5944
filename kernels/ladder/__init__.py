"""The same operations several times over, each time one idea faster: to be read in order, and raced by `tinycnn race`.

conv.py   conv2d(x, weight, bias, win, groups)     seven loops, im2col, tiled, register-tiled, Winograd
pool.py   max_pool2d(x, win)                       loops, channels last, shared out to threads
norm.py   batch_norm(x, weight, bias, eps)         three passes, two fused passes, blocks of channels-last memory
peak.py   what the machine can do at best: the yardstick of the race

All rungs of an operation have the signature, and give the results, of kernels/reference; the last is the kernel that
the engine uses (where it is the best; kernels/cpu/choose.py).  docs/ladder.md walks up the first of them.
"""
from ..cpu.cache import kept_machine_code

with kept_machine_code():
    from .conv import RUNGS as CONV2D
    from .norm import RUNGS as BATCH_NORM
    from .peak import copy_rate, product_rate  # noqa: F401
    from .pool import RUNGS as MAX_POOL2D

LADDERS = {"conv2d": CONV2D, "max_pool2d": MAX_POOL2D, "batch_norm": BATCH_NORM}
