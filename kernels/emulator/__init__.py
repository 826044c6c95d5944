"""Device "cuda-emu": the CUDA C of kernels/cuda, unchanged, run by the CPU.

    build.py      compiles a .cu file with g++ against cudaemu.h, which gives CUDA's words a meaning on the CPU
    cudaemu.h     blocks run one after the other; the threads of a block are fibers that switch at barriers and warp ops
    device.py     stands in for CuPy: arrays in guarded memory, launches counted, host and device kept apart

It finds what a GPU would not tell: a barrier that not all threads reach, a read or write outside an array, memory read
before it was written (it starts as NaN), a scalar of the wrong type, an order of threads that changes the result.
"""
