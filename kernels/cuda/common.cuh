// What all kernels share: 16-bit floats, the sizes of a sliding window, the loop over elements, sums over warps and
// blocks.
#pragma once
#include "tc.cuh"

#ifndef INFINITY                               // NVRTC has no <math.h>
#define INFINITY __int_as_float(0x7f800000)
#endif

// Elements of float16 and bfloat16 arrays: 16 bits in memory, computed with as float, rounded when stored.  `code` is
// NumPy's letter, by which the emulator knows their arrays.
struct Half {
  static constexpr char code = 'e';
  unsigned short bits;
  Half() = default;
  __device__ Half(float v) : bits(to_half(v)) {}
  __device__ operator float() const { return from_half(bits); }
};
struct Bfloat {
  static constexpr char code = 'E';
  unsigned short bits;
  Bfloat() = default;
  __device__ Bfloat(float v) : bits(to_bf16(v, 0) & 0xffff) {}
  __device__ operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

// What sums, statistics and parameters of T are in: float for 16 bits, T itself otherwise.
template <typename T> struct wide_of { typedef T type; };
template <> struct wide_of<Half> { typedef float type; };
template <> struct wide_of<Bfloat> { typedef float type; };
template <typename T> using Wide = typename wide_of<T>::type;

// Heights and widths of input, kernel, stride, padding before the input, dilation, output: as kernels/geometry.py.
struct Window {
  int H, W, KH, KW, SH, SW, PH, PW, DH, DW, OH, OW;
};

// The elements i < n of one thread: a grid of any size covers them all.
#define each(i, n) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (n); i += (long long)gridDim.x * blockDim.x)

// i % d, and i becomes i / d: the last of i's coordinates.  Division of 64 bits is slow, and seldom needed.
__device__ inline int split(long long &i, int d) {
  long long quotient = i >> 32 ? i / d : (unsigned)i / (unsigned)d;
  int rest = i - quotient * d;
  i = quotient;
  return rest;
}

// The sum of v over the threads of a block of 256 whose number modulo `columns` (a power of 2) is the same, in each of
// them; in a fixed order, so the same bits always.
//
//     thread   0   1  ...  127 128 ... 255
//     step 1   +-----------------+           s[t] += s[t + 128]
//     step 2   +--------+                    s[t] += s[t + 64], ... until s[0 .. columns-1] have all
template <typename V>
__device__ V block_sum(V v, V *s, int columns = 1) {
  __syncthreads();                             // s may still be read from the last sum
  s[threadIdx.x] = v;
  __syncthreads();
  for (int half = 128; half >= columns; half /= 2) {
    if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
    __syncthreads();
  }
  return s[threadIdx.x % columns];
}

// The sum over a team, the 32 threads of a warp or the 256 of a block, in each of them: a short row's or a long one's.
template <typename V>
__device__ V team_sum(V v, V *s, int team) {
  if (team == 256) return block_sum(v, s);
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}
