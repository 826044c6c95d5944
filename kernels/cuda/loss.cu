// Softmax and cross-entropy over the rows of (M, C) (kernels/reference/loss.py has the formulas).
//
// Layout      rows in C order
// Parallel    a block per row: 256 threads take every 256th class, sums and maxima of the block in a fixed order
#include "common.cuh"

template <typename T>
__device__ T block_max(T v, T *s) {
  __syncthreads();
  s[threadIdx.x] = v;
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      T a = s[threadIdx.x], b = s[threadIdx.x + half];
      s[threadIdx.x] = a != a ? a : b != b ? b : a > b ? a : b;  // NaN stays
    }
    __syncthreads();
  }
  return s[0];
}

// The largest of a row and the sum of exp(x - largest), in every thread.
template <typename T>
__device__ void extent(const T *p, int C, T *s, T &top, T &sum) {
  T v = -INFINITY;
  for (int c = threadIdx.x; c < C; c += 256) v = p[c] != p[c] || p[c] > v ? p[c] : v;
  top = block_max(v, s);
  v = 0;
  for (int c = threadIdx.x; c < C; c += 256) v += exp(p[c] - top);
  sum = block_sum(v, s);
}

template <typename T>
__global__ void softmax(const T *x, T *y, int C) {
  __shared__ T s[256];
  T top, sum;
  const T *p = x + (long long)blockIdx.x * C;
  extent(p, C, s, top, sum);
  for (int c = threadIdx.x; c < C; c += 256) y[(long long)blockIdx.x * C + c] = exp(p[c] - top) / sum;
}

template <typename T>
__global__ void softmax_backward(const T *g, const T *y, T *gx, int C) {
  __shared__ T s[256];
  long long row = (long long)blockIdx.x * C;
  T v = 0;
  for (int c = threadIdx.x; c < C; c += 256) v += g[row + c] * y[row + c];
  T sum = block_sum(v, s);
  for (int c = threadIdx.x; c < C; c += 256) gx[row + c] = y[row + c] * (g[row + c] - sum);
}

template <typename T>
__global__ void log_softmax(const T *x, T *y, int C) {
  __shared__ T s[256];
  T top, sum;
  const T *p = x + (long long)blockIdx.x * C;
  extent(p, C, s, top, sum);
  for (int c = threadIdx.x; c < C; c += 256) y[(long long)blockIdx.x * C + c] = p[c] - top - log(sum);
}

template <typename T>
__global__ void log_softmax_backward(const T *g, const T *y, T *gx, int C) {
  __shared__ T s[256];
  long long row = (long long)blockIdx.x * C;
  T v = 0;
  for (int c = threadIdx.x; c < C; c += 256) v += g[row + c];
  T sum = block_sum(v, s);
  for (int c = threadIdx.x; c < C; c += 256) gx[row + c] = g[row + c] - exp(y[row + c]) * sum;
}

// losses[row] from log-softmax: -(1 - e) w_t logp_t - e/C sum w_c logp_c; 0 where the target is to be ignored.
template <typename T>
__global__ void row_losses(const T *logp, const long long *target, const T *weight, T *losses, int C,
                           long long ignore_index, T smoothing) {
  __shared__ T s[256];
  const T *p = logp + (long long)blockIdx.x * C;
  long long t = target[blockIdx.x];
  T v = 0;
  if (smoothing > 0)                                             // else 0 * inf, where a class is impossible
    for (int c = threadIdx.x; c < C; c += 256) v += (weight ? weight[c] : T(1)) * p[c];
  T all = block_sum(v, s);
  if (threadIdx.x) return;
  T loss = 0;
  if (t != ignore_index) {
    loss = -(weight ? weight[t] : T(1)) * p[t];
    if (smoothing > 0) loss = loss * (1 - smoothing) - all * (smoothing / C);
  }
  losses[blockIdx.x] = loss;
}

// gx = g * (softmax * sum(share) - share), share = how much of each -logp counts.
template <typename T>
__global__ void cross_entropy_backward(const T *g, const T *logp, const long long *target, const T *weight, T *gx,
                                       int C, long long ignore_index, T smoothing) {
  __shared__ T s[256];
  long long row = (long long)blockIdx.x * C, t = target[blockIdx.x];
  T v = 0;
  for (int c = threadIdx.x; c < C; c += 256) {
    T w = weight ? weight[c] : T(1);
    v += w * (smoothing / C) + (c == t ? (1 - smoothing) * w : T(0));
  }
  T sum = block_sum(v, s);
  for (int c = threadIdx.x; c < C; c += 256) {
    T w = weight ? weight[c] : T(1), share = w * (smoothing / C) + (c == t ? (1 - smoothing) * w : T(0));
    gx[row + c] = t == ignore_index ? T(0) : g[blockIdx.x] * (exp(logp[row + c]) * sum - share);
  }
}
