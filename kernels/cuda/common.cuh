// What all kernels share: the sizes of a sliding window, the loop over elements, sums over a block.
#pragma once

// Heights and widths of input, kernel, stride, padding before the input, dilation, output: as kernels/geometry.py.
struct Window {
  int H, W, KH, KW, SH, SW, PH, PW, DH, DW, OH, OW;
};

// The elements i < n of one thread: a grid of any size covers them all.
#define each(i, n) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n); i += (long long)gridDim.x * blockDim.x)

// The sum of v over the threads of a block of 256, the same in every thread; in a fixed order, so the same bits always.
//
//     thread   0   1  ...  127 128 ... 255
//     step 1   +-----------------+           s[t] += s[t + 128]
//     step 2   +--------+                    s[t] += s[t + 64], ... until s[0] has all
template <typename V>
__device__ V block_sum(V v, V *s) {
  __syncthreads();                             // s may still be read from the last sum
  s[threadIdx.x] = v;
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
    __syncthreads();
  }
  return s[0];
}
