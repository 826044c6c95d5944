"""Dropout without a stored mask: whether element i is kept is a function of (seed, i) alone.

A counter-based generator (Salmon et al. 2011) hashes seed + i * golden ratio with the finaliser of splitmix64
(Steele et al. 2014, figure 17) and keeps the element if the top 24 bits, as a fraction of 2^24, are at least p.  So
backward makes the same mask again from the seed, and the mask does not depend on memory layout, threads or device.
"""
from ._xp import array_module

__all__ = ["dropout"]

GOLDEN, MIX1, MIX2, MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, (1 << 64) - 1


def uniform(xp, seed, shape):
    """float64 fractions k / 2^24 in [0, 1), element i (in C order) from the hash of (seed, i)."""
    n = 1
    for size in shape:
        n *= size
    z = xp.arange(n, dtype="uint64") * xp.uint64(GOLDEN) + xp.uint64(int(seed) & MASK)
    z = (z ^ (z >> xp.uint64(30))) * xp.uint64(MIX1)
    z = (z ^ (z >> xp.uint64(27))) * xp.uint64(MIX2)
    z = z ^ (z >> xp.uint64(31))
    return ((z >> xp.uint64(40)).astype("float64") * 2.0 ** -24).reshape(shape)


def dropout(x, p, seed):
    """Zero each element with probability p and divide the others by 1 - p.  Linear in x for a given seed.

    seed   an integer, or a Varying of one (kernels/capture.py)
    """
    if p == 0:
        return x.copy()
    xp = array_module(x)
    if p == 1:
        return xp.zeros_like(x)
    return xp.where(uniform(xp, seed, x.shape) >= p, x * x.dtype.type(1 / (1 - p)), x.dtype.type(0))
