// Convolution by im2col: patches unfolded into columns, and columns added back; a picture: kernels/reference/conv.py.
//
// Layout      x (N, C, H, W), cols (N, C*KH*KW, OH*OW), both in C order
// Parallel    im2col: a thread per element of cols; col2im: a thread per element of x, which gathers what is its own,
//             so that no two threads write to one place; depthwise: a thread per output
#include "common.cuh"

template <typename T>
__global__ void im2col(const T *x, T *cols, Window win, long long n) {
  each(i, n) {
    int ox = i % win.OW, oy = i / win.OW % win.OH;
    long long row = i / (win.OW * win.OH);                       // (image and channel, tap)
    int kx = row % win.KW, ky = row / win.KW % win.KH;
    long long plane = row / (win.KW * win.KH);
    int y = oy * win.SH - win.PH + ky * win.DH, xx = ox * win.SW - win.PW + kx * win.DW;
    bool inside = 0 <= y && y < win.H && 0 <= xx && xx < win.W;
    cols[i] = inside ? x[(plane * win.H + y) * win.W + xx] : T(0);
  }
}

template <typename T>
__global__ void col2im(const T *cols, T *x, Window win, long long n) {
  each(i, n) {
    int xx = i % win.W, y = i / win.W % win.H;
    long long plane = i / (win.W * win.H);
    T sum = 0;
    for (int ky = 0; ky < win.KH; ky++) {
      int ty = y + win.PH - ky * win.DH;                         // SH times the output row that met this pixel
      if (ty < 0 || ty % win.SH || ty / win.SH >= win.OH) continue;
      for (int kx = 0; kx < win.KW; kx++) {
        int tx = xx + win.PW - kx * win.DW;
        if (tx < 0 || tx % win.SW || tx / win.SW >= win.OW) continue;
        long long row = (plane * win.KH + ky) * win.KW + kx;
        sum += cols[(row * win.OH + ty / win.SH) * win.OW + tx / win.SW];
      }
    }
    x[i] = sum;
  }
}

// y[n, o] = bias[o] + sum over the taps of weight[o] * x[n, o / (O/C)]: one input channel for each output channel.
template <typename T>
__global__ void depthwise(const T *x, const T *weight, const T *bias, T *y, Window win, int C, int O, long long n) {
  each(i, n) {
    int ox = i % win.OW, oy = i / win.OW % win.OH, o = i / (win.OW * win.OH) % O;
    long long image = i / ((long long)win.OW * win.OH * O);
    const T *plane = x + (image * C + o / (O / C)) * win.H * win.W, *w = weight + (long long)o * win.KH * win.KW;
    T sum = bias ? bias[o] : T(0);
    for (int ky = 0; ky < win.KH; ky++)
      for (int kx = 0; kx < win.KW; kx++) {
        int yy = oy * win.SH - win.PH + ky * win.DH, xx = ox * win.SW - win.PW + kx * win.DW;
        if (0 <= yy && yy < win.H && 0 <= xx && xx < win.W) sum += w[ky * win.KW + kx] * plane[yy * win.W + xx];
      }
    y[i] = sum;
  }
}

// y[n, o, :] += bias[o], in place; size is OH*OW.
template <typename T>
__global__ void add_bias(T *y, const T *bias, int O, long long size, long long n) {
  each(i, n) y[i] += bias[i / size % O];
}
