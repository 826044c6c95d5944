// Normalisation (kernels/reference/norm.py has the formulas): a mean and a variance, and what follows from them.
//
// Layout      batch norm: x (N, C, R) with R = all further dimensions, one block per channel c, whose elements are
//             n*C*R + c*R + r.  Rows (layer and group norm): x (M, D), one block per row; a weight belongs to element d
//             of a row (layer norm), or to channel (row % G) * (D / R) + d / R (group norm, rows are image and group).
// Parallel    256 threads of a block sum every 256th element in float64, block_sum adds the 256 sums in a fixed order.
#include "common.cuh"

// ------------------------------------------------------------------------------------- batch norm

// The e-th element of channel c, e = n*R + r.
__device__ inline long long in_channel(long long e, int c, int C, long long R) { return (e / R * C + c) * R + e % R; }

template <typename T>
__global__ void batch_norm(const T *x, const T *weight, const T *bias, T *y, T *mean, T *var, int C, long long R,
                           long long count, double eps) {
  __shared__ double s[256];
  int c = blockIdx.x;
  double sum = 0;
  for (long long e = threadIdx.x; e < count; e += 256) sum += x[in_channel(e, c, C, R)];
  double m = block_sum(sum, s) / count;
  sum = 0;
  for (long long e = threadIdx.x; e < count; e += 256) {
    double d = x[in_channel(e, c, C, R)] - m;
    sum += d * d;
  }
  double v = block_sum(sum, s) / count, rstd = 1 / sqrt(v + eps);
  for (long long e = threadIdx.x; e < count; e += 256) {
    long long i = in_channel(e, c, C, R);
    double xhat = (x[i] - m) * rstd;
    y[i] = (weight ? xhat * weight[c] : xhat) + (bias ? (double)bias[c] : 0.0);
  }
  if (threadIdx.x == 0) mean[c] = m, var[c] = v;
}

template <typename T>
__global__ void batch_norm_eval(const T *x, const T *mean, const T *var, const T *weight, const T *bias, T *y, int C,
                                long long R, double eps, long long n) {
  each(i, n) {
    int c = i / R % C;
    double xhat = ((double)x[i] - mean[c]) / sqrt((double)var[c] + eps);
    y[i] = (weight ? xhat * weight[c] : xhat) + (bias ? (double)bias[c] : 0.0);
  }
}

// training: the statistics follow x (its gradient is centred); otherwise they are constants.
template <typename T>
__global__ void batch_norm_backward(const T *g, const T *x, const T *mean, const T *var, const T *weight, T *gx,
                                    T *gweight, T *gbias, int C, long long R, long long count, double eps,
                                    bool training) {
  __shared__ double s[256];
  int c = blockIdx.x;
  double m = mean[c], rstd = 1 / sqrt((double)var[c] + eps), sum_g = 0, sum_gx = 0;
  for (long long e = threadIdx.x; e < count; e += 256) {
    long long i = in_channel(e, c, C, R);
    sum_g += g[i], sum_gx += g[i] * ((x[i] - m) * rstd);
  }
  sum_g = block_sum(sum_g, s), sum_gx = block_sum(sum_gx, s);
  for (long long e = threadIdx.x; e < count; e += 256) {
    long long i = in_channel(e, c, C, R);
    double d = g[i];
    if (training) d -= sum_g / count + (x[i] - m) * rstd * (sum_gx / count);
    gx[i] = d * rstd * (weight ? (double)weight[c] : 1.0);
  }
  if (threadIdx.x == 0) gweight[c] = sum_gx, gbias[c] = sum_g;
}

// ------------------------------------------------------------------------------------- rows: layer and group norm

// The channel of element d of a row: layer norm (R = 1, G = 1) d itself, group norm the image's channel.
__device__ inline long long channel(long long row, long long d, long long D, long long R, long long G) {
  return row % G * (D / R) + d / R;
}

template <typename T>
__global__ void row_norm(const T *x, const T *weight, const T *bias, T *y, T *mean, T *rstd, long long D, long long R,
                         long long G, double eps) {
  __shared__ double s[256];
  long long row = blockIdx.x;
  const T *p = x + row * D;
  double sum = 0;
  for (long long d = threadIdx.x; d < D; d += 256) sum += p[d];
  double m = block_sum(sum, s) / D;
  sum = 0;
  for (long long d = threadIdx.x; d < D; d += 256) sum += (p[d] - m) * (p[d] - m);
  double inverse = 1 / sqrt(block_sum(sum, s) / D + eps);
  for (long long d = threadIdx.x; d < D; d += 256) {
    long long c = channel(row, d, D, R, G);
    double xhat = (p[d] - m) * inverse;
    y[row * D + d] = (weight ? xhat * weight[c] : xhat) + (bias ? (double)bias[c] : 0.0);
  }
  if (threadIdx.x == 0) mean[row] = m, rstd[row] = inverse;
}

template <typename T>
__global__ void row_norm_backward(const T *g, const T *x, const T *mean, const T *rstd, const T *weight, T *gx,
                                  long long D, long long R, long long G) {
  __shared__ double s[256];
  long long row = blockIdx.x;
  double m = mean[row], inverse = rstd[row], sum_g = 0, sum_gx = 0;
  for (long long d = threadIdx.x; d < D; d += 256) {
    double v = g[row * D + d] * (weight ? (double)weight[channel(row, d, D, R, G)] : 1.0);
    sum_g += v, sum_gx += v * ((x[row * D + d] - m) * inverse);
  }
  sum_g = block_sum(sum_g, s) / D, sum_gx = block_sum(sum_gx, s) / D;
  for (long long d = threadIdx.x; d < D; d += 256) {
    double v = g[row * D + d] * (weight ? (double)weight[channel(row, d, D, R, G)] : 1.0);
    gx[row * D + d] = inverse * (v - sum_g - (x[row * D + d] - m) * inverse * sum_gx);
  }
}

// gweight[c] and gbias[c]: sums over all rows and the R elements of channel c.  One block per channel.
template <typename T>
__global__ void row_norm_parameters(const T *g, const T *x, const T *mean, const T *rstd, T *gweight, T *gbias,
                                    long long M, long long D, long long R, long long G) {
  __shared__ double s[256];
  long long c = blockIdx.x, per_row = D / R, group = c / per_row, first = c % per_row * R, images = M / G;
  double sum_g = 0, sum_gx = 0;
  for (long long e = threadIdx.x; e < images * R; e += 256) {
    long long row = e / R * G + group, i = row * D + first + e % R;
    sum_g += g[i], sum_gx += g[i] * (((double)x[i] - mean[row]) * rstd[row]);
  }
  sum_g = block_sum(sum_g, s), sum_gx = block_sum(sum_gx, s);
  if (threadIdx.x == 0) gweight[c] = sum_gx, gbias[c] = sum_g;
}

// ------------------------------------------------------------------------------------- response norm

// k + alpha/size * the sum of x^2 over the channels c-before .. c+after of one pixel; R pixels, C channels.
template <typename T>
__device__ T response(const T *x, long long i, int C, long long R, int before, int after, T share, T k) {
  int c = i / R % C;
  T sum = 0;
  for (int d = -before; d <= after; d++)
    if (0 <= c + d && c + d < C) sum += x[i + d * R] * x[i + d * R];
  return k + share * sum;
}

template <typename T>
__global__ void response_norm(const T *x, T *y, int C, long long R, int size, T alpha, T beta, T k, long long n) {
  each(i, n) y[i] = x[i] * pow(response(x, i, C, R, size / 2, (size - 1) / 2, alpha / size, k), -beta);
}

template <typename T>
__global__ void response_norm_backward(const T *g, const T *x, T *gx, int C, long long R, int size, T alpha, T beta,
                                       T k, long long n) {
  each(i, n) {
    int c = i / R % C, before = size / 2, after = (size - 1) / 2;
    T own = g[i] * pow(response(x, i, C, R, before, after, alpha / size, k), -beta), others = 0;
    for (int d = -after; d <= before; d++)                       // the channels that see this one
      if (0 <= c + d && c + d < C) {
        long long j = i + d * R;
        others += g[j] * x[j] * pow(response(x, j, C, R, before, after, alpha / size, k), -beta - 1);
      }
    gx[i] = own - 2 * alpha * beta / size * x[i] * others;
  }
}
