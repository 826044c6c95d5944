// Convolution as a matrix product: patches of images unfolded into a matrix, and added back (kernels/reference/conv.py
// has the picture); and the product with the weights that gathers its patches itself, an implicit GEMM.
//
// Layout      C order       x (N, C, H, W), patches in the columns of cols (N, C*KH*KW, OH*OW)
//             last          x (N, H, W, C), patches in its rows: cols (N, OH*OW, C*KH*KW)
//             implicit_gemm: x and y (N, OH, OW, O) channels-last, weight (G, KH*KW*C/G, O/G)
// Parallel    im2col: a thread per element of cols; col2im: a thread per element of x, which gathers what is its own,
//             so that no two threads write to one place; implicit_gemm: a block per tile of y
#include "common.cuh"

// Where channel c of pixel (y, x) of an image is.
__device__ inline long long pixel(bool last, long long image, int c, int y, int x, int C, int H, int W) {
  return last ? ((image * H + y) * W + x) * C + c : ((image * C + c) * H + y) * W + x;
}

template <typename T>
__global__ void im2col(const T *x, T *cols, Window win, int C, bool last, long long n) {
  each(i, n) {
    long long rest = i;
    int ox, oy, kx, ky, c;
    if (!last) ox = split(rest, win.OW), oy = split(rest, win.OH);
    kx = split(rest, win.KW), ky = split(rest, win.KH), c = split(rest, C);
    if (last) ox = split(rest, win.OW), oy = split(rest, win.OH);
    int y = oy * win.SH - win.PH + ky * win.DH, xx = ox * win.SW - win.PW + kx * win.DW;
    bool inside = 0 <= y && y < win.H && 0 <= xx && xx < win.W;
    cols[i] = inside ? x[pixel(last, rest, c, y, xx, C, win.H, win.W)] : T(0);
  }
}

template <typename T>
__global__ void col2im(const T *cols, T *x, Window win, int C, bool last, long long n) {
  const int taps = win.KH * win.KW, size = win.OH * win.OW;
  each(i, n) {
    long long rest = i;
    int xx, y, c;
    if (last) c = split(rest, C);
    xx = split(rest, win.W), y = split(rest, win.H);
    if (!last) c = split(rest, C);
    T sum = 0;
    for (int ky = 0; ky < win.KH; ky++) {
      int ty = y + win.PH - ky * win.DH;                         // SH times the output row that met this pixel
      if (ty < 0 || ty % win.SH || ty / win.SH >= win.OH) continue;
      for (int kx = 0; kx < win.KW; kx++) {
        int tx = xx + win.PW - kx * win.DW;
        if (tx < 0 || tx % win.SW || tx / win.SW >= win.OW) continue;
        int p = ty / win.SH * win.OW + tx / win.SW;
        long long k = (long long)c * taps + ky * win.KW + kx;    // row or column of the patches' matrix
        sum += cols[last ? (rest * size + p) * C * taps + k : (rest * C * taps + k) * size + p];
      }
    }
    x[i] = sum;
  }
}

// y = bias + patches @ weight, and no patch is ever written to memory.  Before igemm.cu, read this one: it has the same
// tiles, without tensor cores and without loading ahead.  Grid (tiles of pixels, tiles of a group's channels, groups).
//
//                              TILE channels
//                             +-------------+
//                        STEP |      b      |   weight: its rows (tap, c) are walked down, STEP at a time
//                             +-------------+
//                    STEP            v
//                  +------+   +-------------+
//     TILE pixels  |  a   | > |   tile of   |   thread (line, lane) has the 4 x 4 results
//                  |      |   |      y      |   (line + 16 i, lane + 16 j), in registers
//                  +------+   +-------------+
//      patches: under pixel p and tap (ky, kx), or 0 in the padding
//
constexpr int TILE = 64, STEP = 16;

// instances: <double>
template <typename T>
__global__ void implicit_gemm(const T *x, const T *weight, const T *bias, T *y, Window win, int C, int O, int groups,
                              long long pixels) {
  __shared__ T a[STEP][TILE + 2], b[STEP][TILE];                 // + 2: neighbours in k lie in different banks
  const int c = C / groups, o = O / groups, K = win.KH * win.KW * c;
  const int lane = threadIdx.x % 16, line = threadIdx.x / 16, tile = blockIdx.y * TILE;
  const long long first = blockIdx.x * (long long)TILE;
  const T *image[4], *w = weight + blockIdx.z * (long long)K * o;
  int top[4], left[4];
  T sum[4][4] = {};
#pragma unroll
  for (int i = 0; i < 4; i++) {                                  // where the patches of this thread's 4 pixels begin
    long long p = first + line + 16 * i, n = p < pixels ? p : 0;
    left[i] = split(n, win.OW) * win.SW - win.PW;
    top[i] = p < pixels ? split(n, win.OH) * win.SH - win.PH : win.H;          // no such pixel: all is padding
    image[i] = x + n * win.H * win.W * C + blockIdx.z * c;
  }
  for (int k0 = 0; k0 < K; k0 += STEP) {
    const int k = k0 + lane, tap = k / c, dy = tap / win.KW * win.DH, dx = tap % win.KW * win.DW;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int yy = top[i] + dy, xx = left[i] + dx, channel = tile + lane + 16 * i;
      const bool inside = k < K && 0 <= yy && yy < win.H && 0 <= xx && xx < win.W;
      a[lane][line + 16 * i] = inside ? image[i][((long long)yy * win.W + xx) * C + k % c] : T(0);
      b[line][lane + 16 * i] = k0 + line < K && channel < o ? w[(long long)(k0 + line) * o + channel] : T(0);
    }
    __syncthreads();                                             // the tiles are whole
#pragma unroll
    for (int s = 0; s < STEP; s++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sum[i][j] += a[s][line + 16 * i] * b[s][lane + 16 * j];
    __syncthreads();                                             // all have read them: the next ones may come
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const long long p = first + line + 16 * i;
      const int channel = tile + lane + 16 * j, at = blockIdx.z * o + channel;
      if (p < pixels && channel < o) y[p * O + at] = sum[i][j] + (bias ? bias[at] : T(0));
    }
}
