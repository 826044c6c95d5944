// Pooling, forwards and backwards (kernels/reference/pool.py says what padding, ties and NaN count for).
//
// Layout      planes of (N*C, H, W) and (N*C, OH, OW) in C order
// Parallel    a thread per output forwards; backwards a thread per input, which looks at the outputs whose windows can
//             have met it and gathers what is its own: no atomics, the same bits always
#include "common.cuh"

// The outputs 0 .. count-1 whose window (first + stride * o, span cells) can hold cell p.
__device__ inline int first_window(int p, int pad, int span, int stride) {
  int t = p + pad - span + 1;
  return t <= 0 ? 0 : (t + stride - 1) / stride;
}
__device__ inline int last_window(int p, int pad, int stride, int count) {
  int t = (p + pad) / stride;
  return t < count ? t : count - 1;
}

template <typename T>
__global__ void max_pool(const T *x, T *y, long long *where, Window win, long long n) {
  each(i, n) {
    int ox = i % win.OW, oy = i / win.OW % win.OH;
    const T *plane = x + i / (win.OW * win.OH) * win.H * win.W;
    T best = -INFINITY;
    long long at = -1;
    for (int ky = 0; ky < win.KH; ky++)
      for (int kx = 0; kx < win.KW; kx++) {
        int yy = oy * win.SH - win.PH + ky * win.DH, xx = ox * win.SW - win.PW + kx * win.DW;
        if (yy < 0 || yy >= win.H || xx < 0 || xx >= win.W) continue;
        T v = plane[yy * win.W + xx];
        if (v > best || v != v || at < 0) best = v, at = (long long)yy * win.W + xx;
      }
    y[i] = best, where[i] = at;
  }
}

// gx[p] = the sum of g over all outputs whose maximum was p: any window may have met it, so all outputs of the plane
// are looked at; see max_pool_backward_near for windows that are known.
template <typename T>
__global__ void max_pool_backward(const T *g, const long long *where, T *gx, long long size, long long outputs,
                                  long long n) {
  each(i, n) {
    long long plane = i / size, p = i % size;
    T sum = 0;
    for (long long o = plane * outputs; o < (plane + 1) * outputs; o++)
      if (where[o] == p) sum += g[o];
    gx[i] = sum;
  }
}

template <typename T>
__global__ void max_pool_gather(const T *x, const long long *where, T *y, long long size, long long outputs,
                                long long n) {
  each(i, n) y[i] = where[i] < 0 ? T(0) : x[i / outputs * size + where[i]];
}

// divisors (OH, OW): by how much each window's sum is divided.
template <typename T>
__global__ void avg_pool(const T *x, const T *divisors, T *y, Window win, long long n) {
  each(i, n) {
    int ox = i % win.OW, oy = i / win.OW % win.OH;
    const T *plane = x + i / (win.OW * win.OH) * win.H * win.W;
    T sum = 0;
    for (int ky = 0; ky < win.KH; ky++)
      for (int kx = 0; kx < win.KW; kx++) {
        int yy = oy * win.SH - win.PH + ky, xx = ox * win.SW - win.PW + kx;
        if (0 <= yy && yy < win.H && 0 <= xx && xx < win.W) sum += plane[yy * win.W + xx];
      }
    y[i] = sum / divisors[oy * win.OW + ox];
  }
}

template <typename T>
__global__ void avg_pool_backward(const T *g, const T *divisors, T *gx, Window win, long long n) {
  each(i, n) {
    int xx = i % win.W, yy = i / win.W % win.H;
    const T *plane = g + i / (win.W * win.H) * win.OH * win.OW;
    T sum = 0;
    for (int oy = first_window(yy, win.PH, win.KH, win.SH); oy <= last_window(yy, win.PH, win.SH, win.OH); oy++)
      for (int ox = first_window(xx, win.PW, win.KW, win.SW); ox <= last_window(xx, win.PW, win.SW, win.OW); ox++)
        sum += plane[oy * win.OW + ox] / divisors[oy * win.OW + ox];
    gx[i] = sum;
  }
}

// Adaptive windows: floor(o * size / out) .. ceil((o + 1) * size / out).
__device__ inline int window_start(int o, int size, int out) { return (long long)o * size / out; }
__device__ inline int window_stop(int o, int size, int out) { return ((long long)(o + 1) * size + out - 1) / out; }

template <typename T>
__global__ void adaptive_avg_pool(const T *x, T *y, int H, int W, int OH, int OW, long long n) {
  each(i, n) {
    int ox = i % OW, oy = i / OW % OH;
    const T *plane = x + i / (OW * OH) * H * W;
    int top = window_start(oy, H, OH), bottom = window_stop(oy, H, OH);
    int left = window_start(ox, W, OW), right = window_stop(ox, W, OW);
    T sum = 0;
    for (int yy = top; yy < bottom; yy++)
      for (int xx = left; xx < right; xx++) sum += plane[yy * W + xx];
    y[i] = sum / T((bottom - top) * (right - left));
  }
}

template <typename T>
__global__ void adaptive_avg_pool_backward(const T *g, T *gx, int H, int W, int OH, int OW, long long n) {
  each(i, n) {
    int xx = i % W, yy = i / W % H;
    const T *plane = g + i / (W * H) * OH * OW;
    T sum = 0;
    // Windows may overlap and repeat: the first one that can hold row yy, to the last.
    for (int oy = (long long)yy * OH / H; oy < OH && window_start(oy, H, OH) <= yy; oy++) {
      if (window_stop(oy, H, OH) <= yy) continue;
      for (int ox = (long long)xx * OW / W; ox < OW && window_start(ox, W, OW) <= xx; ox++) {
        if (window_stop(ox, W, OW) <= xx) continue;
        int count = (window_stop(oy, H, OH) - window_start(oy, H, OH)) *
                    (window_stop(ox, W, OW) - window_start(ox, W, OW));
        sum += plane[oy * OW + ox] / T(count);
      }
    }
    gx[i] = sum;
  }
}

template <typename T>
__global__ void adaptive_max_pool(const T *x, T *y, long long *where, int H, int W, int OH, int OW, long long n) {
  each(i, n) {
    int ox = i % OW, oy = i / OW % OH;
    const T *plane = x + i / (OW * OH) * H * W;
    T best = -INFINITY;
    long long at = -1;
    for (int yy = window_start(oy, H, OH); yy < window_stop(oy, H, OH); yy++)
      for (int xx = window_start(ox, W, OW); xx < window_stop(ox, W, OW); xx++) {
        T v = plane[yy * W + xx];
        if (v > best || v != v || at < 0) best = v, at = (long long)yy * W + xx;
      }
    y[i] = best, where[i] = at;
  }
}
