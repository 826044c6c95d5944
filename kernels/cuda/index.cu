// Rows of a matrix added to the rows of another that indices name.  Atomic additions would add in any order; sorting
// brings together what one row gets, in the order it came, so that the same bits come out always.
//
//     rows         2     0     2     5     0
//     keys       (2,0) (0,1) (2,2) (5,3) (0,4)         row << 32 | number: no two are the same
//     sorted     (0,1) (0,4)|(2,0) (2,2)|(5,3)         runs:  out[0] = g1 + g4,  out[2] = g0 + g2,  out[5] = g3
//
// Layout      g (M, D), rows (M), out (R, D) in C order, out all zeros; keys (P): P is a power of two, those behind the
//             M keys are the largest there is
// Parallel    sorting is a network (Batcher, Sorting Networks and their Applications, 1968): sorted runs, up and down
//             in turn, are merged to twice their length by comparing all pairs that are `apart` at once, then all that
//             are half as far, ... 1 apart.  Pairs inside a chunk of keys are compared in shared memory.
//             sums: a thread per element of the sorted g; the first of a run adds it up.  So that a long run does not
//             take long, the keys are cut into parts, and how much of its first row each one has is added before.
//
//                 keys     |  a a b b b | b b b b b | b b c c d |
//                 parts         a           b           b            b's first thread: b b b, then two parts
#include "common.cuh"

constexpr int CHUNK = 2048, PART = 64;

// instances: <float>
template <typename T>
__global__ void make_keys(const long long *rows, long long *keys, long long M, long long P) {
  each(i, P) keys[i] = i < M ? rows[i] << 32 | i : 0x7fffffffffffffffll;
}

__device__ inline void compare(long long &a, long long &b, bool up) {
  if ((a > b) == up) {
    long long other = a;
    a = b, b = other;
  }
}

// The first key of pair number t of those that are `apart`, a power of two.
__device__ inline long long first_of(long long t, long long apart) { return 2 * t - (t & (apart - 1)); }

// Merge to runs of `first`, 2 * first, ... `last` keys, as far as pairs lie inside a block's chunk.
// instances: <float>
template <typename T>
__global__ void sort_chunks(long long *keys, int chunk, long long first, long long last) {
  __shared__ long long s[CHUNK];
  const long long base = blockIdx.x * (long long)chunk;
  for (int i = threadIdx.x; i < chunk; i += blockDim.x) s[i] = keys[base + i];
  for (long long run = first; run <= last; run *= 2)
    for (int apart = (run < chunk ? run : chunk) / 2; apart > 0; apart /= 2) {
      __syncthreads();
      for (int t = threadIdx.x; t < chunk / 2; t += blockDim.x) {
        const int i = first_of(t, apart);
        compare(s[i], s[i + apart], ((base + i) & run) == 0);
      }
    }
  __syncthreads();
  for (int i = threadIdx.x; i < chunk; i += blockDim.x) keys[base + i] = s[i];
}

// One step of a merge to runs of `run` keys, for pairs that no chunk holds.
// instances: <float>
template <typename T>
__global__ void sort_step(long long *keys, long long run, long long apart, long long pairs) {
  each(t, pairs) {
    const long long i = first_of(t, apart);
    compare(keys[i], keys[i + apart], (i & run) == 0);
  }
}

// Column d of what belongs to the row of key k, from there to the end of the run or of k's part.
template <typename T>
__device__ T sum_from(const T *g, const long long *keys, long long k, long long M, int D, int d) {
  const long long row = keys[k] >> 32, part = (k / PART + 1) * PART, end = part < M ? part : M;
  T sum = 0;
  for (; k < end && keys[k] >> 32 == row; k++) sum += g[(keys[k] & 0xffffffff) * D + d];
  return sum;
}

// parts (ceil(M / PART), D), n elements
template <typename T>
__global__ void sum_parts(const T *g, const long long *keys, T *parts, long long M, int D, long long n) {
  each(i, n) {
    long long part = i;
    const int d = split(part, D);
    parts[i] = sum_from(g, keys, part * PART, M, D, d);
  }
}

template <typename T>
__global__ void add_runs(const T *g, const long long *keys, const T *parts, T *out, long long M, int D, long long n) {
  each(i, n) {
    long long k = i;
    const int d = split(k, D);
    const long long row = keys[k] >> 32;
    if (k && keys[k - 1] >> 32 == row) continue;                 // not the first of its run
    T sum = sum_from(g, keys, k, M, D, d);
    for (long long p = k / PART + 1; p * PART < M && keys[p * PART] >> 32 == row; p++) sum += parts[p * D + d];
    out[row * D + d] = sum;
  }
}
