// Convolution with few channels in a group: depthwise (one of each), groups narrower than a tile of igemm.cu, stems.  A
// result takes few products, so that memory is the limit: nothing is unfolded, and reads meet in the caches.
//
//     group 0      group 1      group 2             source (N, SH, SW, C)
//     [c c c c]    [c c c c]    [c c c c]
//        |\ /|        |            |                a result channel sees its group's source channels
//     [o o o o]    [o o o o]    [o o o o]           result (N, RH, RW, O)
//
// Layout      images are channels-last.  Weights are (KH, KW, C/G, O), the result's channels last, too.
// Parallel    neighbouring threads have neighbouring channels, of which they read and write whole lines.
//
//             direct      a thread makes ROW results side by side in a row of Q channels: ROW uses of each weight, Q of
//                         each value.  The input gradient is the same with gy as the source: a pixel looks for the
//                         outputs that saw it.
//             _weight     a block has 32 result channels, 8 pixels at a time, and TAPS (channel, tap) pairs of their
//                         weights, in registers; it sums over a part of the pixels.  direct_parts adds the parts.
//
//                         pixels   part 0     part 1    ...             parts (P, C/G*KH*KW, O)
//                                  |------|   |------|                  -> weight (O, C/G, KH, KW)
#include "common.cuh"

constexpr int ROW = 4, TAPS = 9, COLUMNS = 32;

// Where along one axis tap k of result t lies in a source of `size`: -1 if it does not.
__device__ inline int source(bool back, int t, int k, int S, int P, int D, int size) {
  if (!back) {
    int s = t * S - P + k * D;
    return s < size ? s : -1;
  }
  int s = t + P - k * D;                         // S times the output that saw t under tap k
  return s >= 0 && s % S == 0 && s / S < size ? s / S : -1;
}

// y (N, RH, RW, O) = bias + sum over taps and the group's c channels of x (N, SH, SW, C); n threads.
// instances: <float, 1> <float, 4> <double, 1> <double, 4> <Half, 1> <Half, 4> <Bfloat, 1> <Bfloat, 4>
template <typename T, int Q>
__global__ void direct(const T *x, const T *weight, const T *bias, T *y, Window win, bool back, int C, int O,
                       int groups, long long n) {
  const int RH = back ? win.H : win.OH, RW = back ? win.W : win.OW, c = C / groups;
  const int SH = back ? win.OH : win.H, SW = back ? win.OW : win.W;
  each(i, n) {
    long long image = i;
    const int o = split(image, O / Q) * Q, rx = split(image, (RW + ROW - 1) / ROW) * ROW, ry = split(image, RH);
    Wide<T> sum[ROW][Q];
#pragma unroll
    for (int r = 0; r < ROW; r++)
#pragma unroll
      for (int q = 0; q < Q; q++) sum[r][q] = bias ? bias[o + q] : T(0);
    for (int ky = 0; ky < win.KH; ky++) {
      const int sy = source(back, ry, ky, win.SH, win.PH, win.DH, SH);
      if (sy < 0) continue;
      const T *line = x + (image * SH + sy) * SW * C + o / (O / groups) * c;
      for (int kx = 0; kx < win.KW; kx++) {
        int at[ROW];
#pragma unroll
        for (int r = 0; r < ROW; r++)
          at[r] = rx + r < RW ? source(back, rx + r, kx, win.SW, win.PW, win.DW, SW) : -1;
        const T *w = weight + (long long)(ky * win.KW + kx) * c * O + o;
        for (int k = 0; k < c; k++, w += O)
#pragma unroll
          for (int r = 0; r < ROW; r++) {
            if (at[r] < 0) continue;
            const Wide<T> v = line[(long long)at[r] * C + k];
#pragma unroll
            for (int q = 0; q < Q; q++) sum[r][q] += w[q] * v;
          }
      }
    }
    T *out = y + ((image * RH + ry) * RW + rx) * O + o;
#pragma unroll
    for (int r = 0; r < ROW; r++)
#pragma unroll
      for (int q = 0; q < Q; q++)
        if (rx + r < RW) out[(long long)r * O + q] = sum[r][q];
  }
}

// parts[p, e, o] = the sum of gy[pixel, o] * x[under tap, channel] over part p of the pixels, `length` of them.
// Block (channels, (channel, tap) pairs e, parts).
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void direct_weight(const T *x, const T *gy, Wide<T> *parts, Window win, int C, int O, int groups,
                              long long pixels, int length) {
  __shared__ Wide<T> s[256];
  const int c = C / groups, taps = win.KH * win.KW, o = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
  const int first = blockIdx.y * TAPS, most = c * taps;
  int dy[TAPS], dx[TAPS], channel[TAPS];
  Wide<T> sum[TAPS];
#pragma unroll
  for (int e = 0; e < TAPS; e++) {
    const int pair = first + e, tap = pair % taps;
    dy[e] = tap / win.KW * win.DH - win.PH;
    dx[e] = tap % win.KW * win.DW - win.PW;
    channel[e] = pair < most ? o / (O / groups) * c + pair / taps : -1;
    sum[e] = 0;
  }
  const long long begin = blockIdx.z * (long long)length, end = begin + length < pixels ? begin + length : pixels;
  for (long long p = begin + threadIdx.x / COLUMNS; p < end && o < O; p += blockDim.x / COLUMNS) {
    long long image = p;
    const int ox = split(image, win.OW), oy = split(image, win.OH);
    const Wide<T> g = gy[p * O + o];
#pragma unroll
    for (int e = 0; e < TAPS; e++) {
      const int yy = oy * win.SH + dy[e], xx = ox * win.SW + dx[e];
      if (channel[e] >= 0 && 0 <= yy && yy < win.H && 0 <= xx && xx < win.W)
        sum[e] += g * x[((image * win.H + yy) * win.W + xx) * C + channel[e]];
    }
  }
#pragma unroll
  for (int e = 0; e < TAPS; e++) {
    const Wide<T> all = block_sum(sum[e], s, COLUMNS);
    if (threadIdx.x < COLUMNS && o < O && first + e < most)
      parts[((long long)blockIdx.z * most + first + e) * O + o] = all;
  }
}

// gw (O, E) = the sum over the P parts (P, E, O).  A block has 32 results, and 8 threads for each.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void direct_parts(const Wide<T> *parts, T *gw, int P, int E, int O) {
  __shared__ Wide<T> s[256];
  const long long n = (long long)E * O, i = blockIdx.x * (long long)COLUMNS + threadIdx.x % COLUMNS;
  Wide<T> sum = 0;
  for (int p = threadIdx.x / COLUMNS; p < P && i < n; p += blockDim.x / COLUMNS) sum += parts[p * n + i];
  sum = block_sum(sum, s, COLUMNS);
  if (threadIdx.x < COLUMNS && i < n) gw[i % O * E + i / O] = sum;
}
