// Softmax and cross-entropy over the rows of (M, C) (kernels/reference/loss.py has the formulas).
//
// Layout      rows in C order
// Parallel    a team of threads per row, a warp for up to 1024 classes, a block for more: each takes every 32nd (256th)
//             class; sums and maxima of the team in a fixed order
#include "common.cuh"

// The row of this thread's team and its place in it; what is left over when M does not divide has none (row = -1).
struct Team {
  int lane, size;
  long long row;
  __device__ Team(int team, int M) : lane(threadIdx.x % team), size(team) {
    row = blockIdx.x * (long long)(256 / team) + threadIdx.x / team;
    if (row >= M) row = -1;
  }
};

template <typename T>
__device__ T team_max(T v, T *s, int team) {
  if (team == 32) {
    for (int d = 16; d > 0; d /= 2) {
      T other = __shfl_xor_sync(0xffffffffu, v, d);
      v = other > v ? other : v;
    }
    return v;
  }
  __syncthreads();
  s[threadIdx.x] = v;
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (threadIdx.x < half && s[threadIdx.x + half] > s[threadIdx.x]) s[threadIdx.x] = s[threadIdx.x + half];
    __syncthreads();
  }
  return s[0];
}

// The largest of a row and the sum of exp(x - largest), in every thread, reading the row once: whenever a thread meets
// a larger number than before, its sum so far shrinks by exp(before - now) (Milakov & Gimelshein 2018, algorithm 3).
template <typename T>
__device__ void extent(const T *p, int C, Team t, T *s, T &top, T &sum) {
  T own = -INFINITY, part = 0;
  for (int c = t.lane; c < C; c += t.size) {
    T v = p[c];
    if (v > own) part = part * exp(own - v) + 1, own = v;
    else part += v == own ? T(1) : exp(v - own);                 // -inf - -inf would be NaN
  }
  top = team_max(own, s, t.size);
  if (own != top) part *= exp(own - top);
  sum = team_sum(part, s, t.size);
  sum += top - top;                                              // NaN where the largest is infinite
}

template <typename T>
__global__ void softmax(const T *x, T *y, int M, int C, int team) {
  __shared__ T s[256];
  Team t(team, M);
  if (t.row < 0) return;
  T top, sum;
  extent(x + t.row * C, C, t, s, top, sum);
  for (long long i = t.row * C + t.lane; i < (t.row + 1) * C; i += team) y[i] = exp(x[i] - top) / sum;
}

template <typename T>
__global__ void softmax_backward(const T *g, const T *y, T *gx, int M, int C, int team) {
  __shared__ T s[256];
  Team t(team, M);
  if (t.row < 0) return;
  T v = 0;
  for (long long i = t.row * C + t.lane; i < (t.row + 1) * C; i += team) v += g[i] * y[i];
  T sum = team_sum(v, s, team);
  for (long long i = t.row * C + t.lane; i < (t.row + 1) * C; i += team) gx[i] = y[i] * (g[i] - sum);
}

template <typename T>
__global__ void log_softmax(const T *x, T *y, int M, int C, int team) {
  __shared__ T s[256];
  Team t(team, M);
  if (t.row < 0) return;
  T top, sum;
  extent(x + t.row * C, C, t, s, top, sum);
  for (long long i = t.row * C + t.lane; i < (t.row + 1) * C; i += team) y[i] = x[i] - top - log(sum);
}

template <typename T>
__global__ void log_softmax_backward(const T *g, const T *y, T *gx, int M, int C, int team) {
  __shared__ T s[256];
  Team t(team, M);
  if (t.row < 0) return;
  T v = 0;
  for (long long i = t.row * C + t.lane; i < (t.row + 1) * C; i += team) v += g[i];
  T sum = team_sum(v, s, team);
  for (long long i = t.row * C + t.lane; i < (t.row + 1) * C; i += team) gx[i] = g[i] - exp(y[i]) * sum;
}

// Whether a label is one: the host does not look, it would have to wait.  If not, the loss and its gradient are NaN.
__device__ bool is_class(long long target, int C) { return target >= 0 && target < C; }

// Log-softmax, and losses[row] = -(1 - e) w_t logp_t - e/C sum w_c logp_c; 0 where the target is to be ignored.
template <typename T>
__global__ void cross_entropy(const T *x, const long long *targets, const T *weight, T *logp, T *losses,
                              long long ignore_index, T smoothing, int M, int C, int team) {
  __shared__ T s[256];
  Team t(team, M);
  if (t.row < 0) return;
  const T *p = x + t.row * C;
  T top, sum, v = 0;
  extent(p, C, t, s, top, sum);
  for (int c = t.lane; c < C; c += team) {
    T own = p[c] - top - log(sum);
    logp[t.row * C + c] = own;
    if (smoothing > 0) v += (weight ? weight[c] : T(1)) * own;   // else 0 * inf, where a class is impossible
  }
  T all = team_sum(v, s, team);
  if (t.lane) return;
  long long target = targets[t.row];
  T loss = 0;
  if (target != ignore_index && !is_class(target, C)) {
    loss = nan("");
  } else if (target != ignore_index) {
    loss = -(weight ? weight[target] : T(1)) * (p[target] - top - log(sum));
    if (smoothing > 0) loss = loss * (1 - smoothing) - all * (smoothing / C);
  }
  losses[t.row] = loss;
}

// gx = g * (softmax * sum(share) - share), share = how much of each -logp counts.
template <typename T>
__global__ void cross_entropy_backward(const T *g, const T *logp, const long long *targets, const T *weight, T *gx,
                                       long long ignore_index, T smoothing, int M, int C, int team) {
  __shared__ T s[256];
  Team t(team, M);
  if (t.row < 0) return;
  long long row = t.row * C, target = targets[t.row];
  T v = is_class(target, C) ? T(0) : T(nan(""));
  for (int c = t.lane; c < C; c += team) {
    T w = weight ? weight[c] : T(1);
    v += w * (smoothing / C) + (c == target ? (1 - smoothing) * w : T(0));
  }
  T sum = team_sum(v, s, team);
  for (int c = t.lane; c < C; c += team) {
    T w = weight ? weight[c] : T(1), share = w * (smoothing / C) + (c == target ? (1 - smoothing) * w : T(0));
    gx[row + c] = target == ignore_index ? T(0) : g[t.row] * (exp(logp[row + c]) * sum - share);
  }
}
