// Normalisation (kernels/reference/norm.py has the formulas): a mean and a variance, and what follows from them.
//
// Layout      x (M, C, R): images, channels, pixels.  In channels-last memory every pixel is an image: (N*H*W, C, 1).
// Parallel    a block of 256 threads takes `lanes` channels, and of each the same `step` of its elements, a part:
//
//                 C order, lanes = 1                channels-last, lanes = 4
//                        element -->                   c  0 1 2 3   4 5 6 7
//                 c = 0  | part | part |           part  |         |         |    neighbouring threads read
//                 c = 1  | part | part |           part  |         |         |    neighbouring addresses
//
//             Every part's sums are written to memory, and added up in their order by a second kernel: no atomics,
//             the same bits always.  Rows (layer norm, groups) have a team of threads each, a warp or a block.  Sums
//             and all that is between loading and storing are in float64.
#include "common.cuh"

// What a thread does of its block's work: the elements e = first, first + stride, ... < last of channel c.
struct Work {
  int c, part, first, last, stride;
  __device__ Work(int C, int count, int lanes, int step) {
    int tiles = (C + lanes - 1) / lanes;
    c = blockIdx.x % tiles * lanes + threadIdx.x % lanes;
    part = blockIdx.x / tiles;
    stride = 256 / lanes;
    first = part * step + threadIdx.x / lanes;
    last = c >= C ? 0 : min(count, part * step + step);
  }
};

// Where element e of channel c is.
__device__ inline long long place(int e, int c, int C, int R) {
  return R == 1 ? (long long)e * C + c : ((long long)(e / R) * C + c) * R + e % R;
}

// ------------------------------------------------------------------------------------- batch norm

// Mean and sum (x - mean)^2 of every part, (C, parts) each.  Squares are summed around the part's first element: they
// are of the size of the spread, not of the mean, and no digits are lost (Chan, Golub & LeVeque 1983, sections 2-3).
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void batch_parts(const T *x, double *means, double *squares, int C, int R, int count, int lanes, int step,
                            int parts) {
  __shared__ double s[256];
  Work w(C, count, lanes, step);
  double origin = w.c < C ? x[place(w.part * step, w.c, C, R)] : T(0), sum = 0, square = 0;
#pragma unroll 4
  for (int e = w.first; e < w.last; e += w.stride) {
    double d = x[place(e, w.c, C, R)] - origin;
    sum += d, square += d * d;
  }
  sum = block_sum(sum, s, lanes), square = block_sum(square, s, lanes);
  if (threadIdx.x >= lanes || w.c >= C) return;
  int n = w.last - w.part * step;
  means[(long long)w.c * parts + w.part] = origin + sum / n;
  squares[(long long)w.c * parts + w.part] = square - sum * (sum / n);
}

// The parts joined: mean and variance of each channel, (C,), and both in float64, exact (2, C).  A team per channel.
template <typename T>
__global__ void batch_statistics(const double *means, const double *squares, double *exact, T *mean, T *var, int C,
                                 int count, int step, int parts, int team) {
  __shared__ double s[256];
  int c = blockIdx.x * (256 / team) + threadIdx.x / team, lane = threadIdx.x % team;
  if (c >= C) return;
  long long row = (long long)c * parts;
  double sum = 0;
  for (int p = lane; p < parts; p += team) sum += means[row + p] * min(step, count - p * step);
  double m = team_sum(sum, s, team) / count;
  sum = 0;
  for (int p = lane; p < parts; p += team) {
    double d = means[row + p] - m;
    sum += squares[row + p] + d * d * min(step, count - p * step);
  }
  double v = team_sum(sum, s, team) / count;
  if (lane == 0) mean[c] = exact[c] = m, var[c] = exact[C + c] = v;
}

// __restrict__: what is stored is not read, so the loads of the next elements need not wait for it.

// y = (x - mean) / std * weight + bias, + residual if given, and relu of that if wanted; by `exact` if given.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void batch_norm(const T *__restrict__ x, const double *exact, const Wide<T> *mean, const Wide<T> *var,
                           const Wide<T> *weight, const Wide<T> *bias, const T *__restrict__ residual, bool relu,
                           T *__restrict__ y, double eps, int C, int R, int count, int lanes, int step) {
  Work w(C, count, lanes, step);
  if (w.c >= C) return;
  double m = exact ? exact[w.c] : mean[w.c], v = exact ? exact[C + w.c] : var[w.c];
  double scale = 1 / sqrt(v + eps) * (weight ? (double)weight[w.c] : 1.0), shift = bias ? (double)bias[w.c] : 0.0;
#pragma unroll 4
  for (int e = w.first; e < w.last; e += w.stride) {
    long long i = place(e, w.c, C, R);
    Wide<T> out = (x[i] - m) * scale + shift;
    if (residual) out += residual[i];
    y[i] = !relu || out > 0 || out != out ? T(out) : T(0);       // NaN stays NaN
  }
}

// Of every part sum g and sum g * (x - mean), (C, parts) each; g does not count where y <= 0, if y is given.  Mean and
// rstd: one of each channel (rstd is left to channel_gradients), or of each group of channels of `pixels` elements.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void channel_sums(const T *g, const T *y, const T *x, const Wide<T> *mean, const Wide<T> *rstd,
                             double *sums, double *products, int pixels, int groups, int C, int R, int count, int lanes,
                             int step, int parts) {
  __shared__ double s[256];
  Work w(C, count, lanes, step);
  const T *gate = y ? y : g;                                     // loaded in any case: loads in branches come late
  double sum = 0, product = 0;
#pragma unroll 4
  for (int e = w.first; e < w.last; e += w.stride) {
    long long i = place(e, w.c, C, R);
    int k = rstd ? e / pixels * groups + w.c / (C / groups) : w.c;
    double own = g[i], sign = gate[i], d = (double)(Wide<T>)x[i] - mean[k];
    if (y && sign <= 0) own = 0;
    sum += own, product += own * (rstd ? d * rstd[k] : d);
  }
  sum = block_sum(sum, s, lanes), product = block_sum(product, s, lanes);
  if (threadIdx.x >= lanes || w.c >= C) return;
  sums[(long long)w.c * parts + w.part] = sum, products[(long long)w.c * parts + w.part] = product;
}

// The parts joined: gbias = sum g, gweight = sum g * xhat, and both in float64, exact (2, C).  A team per channel.
template <typename T>
__global__ void channel_gradients(const double *sums, const double *products, const T *var, T *gweight, T *gbias,
                                  double *exact, double eps, int C, int parts, int team) {
  __shared__ double s[256];
  int c = blockIdx.x * (256 / team) + threadIdx.x / team, lane = threadIdx.x % team;
  if (c >= C) return;
  long long row = (long long)c * parts;
  double sum = 0, product = 0;
  for (int p = lane; p < parts; p += team) sum += sums[row + p], product += products[row + p];
  sum = team_sum(sum, s, team), product = team_sum(product, s, team);
  if (var) product /= sqrt(var[c] + eps);
  if (lane == 0) gbias[c] = exact[c] = sum, gweight[c] = exact[C + c] = product;
}

// gx, from the sums of channel_gradients if the statistics follow x (its gradient is centred then); gresidual, if
// wanted, is what of g counts.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void batch_norm_backward(const T *__restrict__ g, const T *__restrict__ y, const T *__restrict__ x,
                                    const Wide<T> *mean, const Wide<T> *var, const Wide<T> *weight,
                                    const double *exact, T *__restrict__ gx, T *__restrict__ gresidual, double eps,
                                    int C, int R, int count, int lanes, int step) {
  Work w(C, count, lanes, step);
  if (w.c >= C) return;
  double m = mean[w.c], rstd = 1 / sqrt(var[w.c] + eps), scale = rstd * (weight ? (double)weight[w.c] : 1.0);
  double mean_g = exact ? exact[w.c] / count : 0.0, mean_gx = exact ? exact[C + w.c] / count : 0.0;
  const T *gate = y ? y : g;
#pragma unroll 4
  for (int e = w.first; e < w.last; e += w.stride) {
    long long i = place(e, w.c, C, R);
    Wide<T> own = g[i], sign = gate[i];
    double d = x[i] - m;
    if (y && sign <= 0) own = 0;
    Wide<T> value = (exact ? own - mean_g - d * rstd * mean_gx : (double)own) * scale;
    gx[i] = T(value);
    if (gresidual) gresidual[i] = T(own);
  }
}

// ------------------------------------------------------------------------------------- rows: layer and group norm

// A row has D elements: a row of a matrix (layer norm: R = G = 1), or one of G groups of D / R channels of an image of
// R pixels.  This is element d's place in memory, which may be channels-last, and the channel whose weight it has.
struct Row {
  int row, D, R, G, per;
  bool last;
  __device__ Row(int row, int D, int R, int G, bool last) : row(row), D(D), R(R), G(G), per(D / R), last(last) {}
  __device__ int channel(int d) const { return row % G * per + (R == 1 ? d : last ? d % per : d / R); }
  __device__ long long at(int d) const {
    return last ? ((long long)(row / G) * R + d / per) * per * G + channel(d) : (long long)row * D + d;
  }
};

template <typename T>
__global__ void row_norm(const T *x, const T *weight, const T *bias, T *y, T *mean, T *rstd, double eps, int M, int D,
                         int R, int G, bool last, int team) {
  __shared__ double s[256];
  Row row(blockIdx.x * (256 / team) + threadIdx.x / team, D, R, G, last);
  if (row.row >= M) return;
  int lane = threadIdx.x % team;
  double sum = 0;
  for (int d = lane; d < D; d += team) sum += x[row.at(d)];
  double m = team_sum(sum, s, team) / D;
  sum = 0;
  for (int d = lane; d < D; d += team) {
    double v = x[row.at(d)] - m;
    sum += v * v;
  }
  double inverse = 1 / sqrt(team_sum(sum, s, team) / D + eps);
  for (int d = lane; d < D; d += team) {
    int c = row.channel(d);
    y[row.at(d)] = (x[row.at(d)] - m) * inverse * (weight ? (double)weight[c] : 1.0) + (bias ? (double)bias[c] : 0.0);
  }
  if (lane == 0) mean[row.row] = m, rstd[row.row] = inverse;
}

template <typename T>
__global__ void row_norm_backward(const T *g, const T *x, const T *mean, const T *rstd, const T *weight, T *gx, int M,
                                  int D, int R, int G, bool last, int team) {
  __shared__ double s[256];
  Row row(blockIdx.x * (256 / team) + threadIdx.x / team, D, R, G, last);
  if (row.row >= M) return;
  int lane = threadIdx.x % team;
  double m = mean[row.row], inverse = rstd[row.row], sum_g = 0, sum_gx = 0;
  for (int d = lane; d < D; d += team) {
    double v = g[row.at(d)] * (weight ? (double)weight[row.channel(d)] : 1.0);
    sum_g += v, sum_gx += v * ((x[row.at(d)] - m) * inverse);
  }
  sum_g = team_sum(sum_g, s, team) / D, sum_gx = team_sum(sum_gx, s, team) / D;
  for (int d = lane; d < D; d += team) {
    long long i = row.at(d);
    double v = g[i] * (weight ? (double)weight[row.channel(d)] : 1.0);
    gx[i] = inverse * (v - sum_g - (x[i] - m) * inverse * sum_gx);
  }
}

// ------------------------------------------------------------------------------------- response norm

// k + alpha/size * the sum of x^2 over the channels c-before .. c+after of one pixel; x (M, C, R) as above.
template <typename T>
__device__ T response(const T *x, long long i, int c, int C, int R, int before, int after, T share, T k) {
  T sum = 0;
  for (int d = -before; d <= after; d++)
    if (0 <= c + d && c + d < C) sum += x[i + d * R] * x[i + d * R];
  return k + share * sum;
}

template <typename T>
__global__ void response_norm(const T *x, T *y, int C, int R, int size, T alpha, T beta, T k, long long n) {
  each(i, n) {
    long long rest = i;
    split(rest, R);
    int c = split(rest, C);
    y[i] = x[i] * pow(response(x, i, c, C, R, size / 2, (size - 1) / 2, alpha / size, k), -beta);
  }
}

template <typename T>
__global__ void response_norm_backward(const T *g, const T *x, T *gx, int C, int R, int size, T alpha, T beta, T k,
                                       long long n) {
  each(i, n) {
    long long rest = i;
    split(rest, R);
    int c = split(rest, C), before = size / 2, after = (size - 1) / 2;
    T own = g[i] * pow(response(x, i, c, C, R, before, after, alpha / size, k), -beta), others = 0;
    for (int d = -after; d <= before; d++)                       // the channels that see this one
      if (0 <= c + d && c + d < C) {
        long long j = i + (long long)d * R;
        others += g[j] * x[j] * pow(response(x, j, c + d, C, R, before, after, alpha / size, k), -beta - 1);
      }
    gx[i] = own - 2 * alpha * beta / size * x[i] * others;
  }
}
