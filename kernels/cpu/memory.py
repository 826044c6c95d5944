"""Keep the memory of large temporaries, instead of giving each back to the system.

By default glibc maps every array of 32 MiB or more anew and unmaps it afterwards: its pages are then zeroed one by one
at first touch, which takes longer than the work of a memory-bound kernel (80 us per MiB).  Two settings change that for
this process.  Other C libraries do not have them; there nothing is done.
"""
import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3          # <malloc.h>


def keep_freed_memory():
    """Let freed arrays stay in the heap: up to 1 GiB each, 2 GiB in all before any is given back."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def empty_cache():
    """Give the memory of freed arrays back to the system (glibc; elsewhere it was given back when they were freed)."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
