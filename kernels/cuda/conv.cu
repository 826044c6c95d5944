// Patches of images unfolded into a matrix, and added back (kernels/reference/conv.py has the picture).
//
// Layout      C order       x (N, C, H, W), patches in the columns of cols (N, C*KH*KW, OH*OW)
//             last          x (N, H, W, C), patches in its rows: cols (N, OH*OW, C*KH*KW)
// Parallel    im2col: a thread per element of cols; col2im: a thread per element of x, which gathers what is its own,
//             so that no two threads write to one place
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
