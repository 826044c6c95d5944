"""Array kernels.  Arrays in, arrays out: nothing here knows of Tensor, autograd or layers.

geometry.py   the sizes of a sliding window, worked out once for every backend
reference/    every kernel once, in plain array code: the specification and the interface table
cpu/          the same names again, by hand in Numba, where that is faster
"""

if __name__ != "tinycnn.kernels":
    raise ImportError(f"this folder is tinycnn.kernels, not {__name__!r}: import it by that name")
