// Pooling, forwards and backwards (kernels/reference/pool.py says what padding, ties and NaN count for).
//
// Layout      maps (M, H, W, C): channels-last images as they are, C order as N*C images of one channel.  Neighbouring
//             threads have neighbouring elements of the map they write, and so of the one they read
// Parallel    a thread per output forwards; backwards a thread per input, which looks at the outputs whose windows can
//             have met it and gathers what is its own: no atomics, the same bits always
#include "common.cuh"

// Element i of a map: channel c of column x and row y of image m.
struct Cell {
  int c, x, y;
  long long m;
  __device__ Cell(long long i, int H, int W, int C) {
    c = split(i, C), x = split(i, W), y = split(i, H), m = i;
  }
  // Where the same channel of row 0, column 0 is in a map of another size; from there it is (y * W + x) * C.
  __device__ long long plane(int H, int W, int C) const { return m * H * W * C + c; }
};

// The outputs 0 .. count-1 whose window (first + stride * o, span cells) can hold cell p.
__device__ inline int first_window(int p, int pad, int span, int stride) {
  int t = p + pad - span + 1;
  return t <= 0 ? 0 : (t + stride - 1) / stride;
}
__device__ inline int last_window(int p, int pad, int stride, int count) {
  int t = (p + pad) / stride;
  return t < count ? t : count - 1;
}

// Adaptive windows: floor(o * size / out) .. ceil((o + 1) * size / out).
__device__ inline int window_start(int o, int size, int out) { return (long long)o * size / out; }
__device__ inline int window_stop(int o, int size, int out) { return ((long long)(o + 1) * size + out - 1) / out; }

// ------------------------------------------------------------------------------------- maximum

// One more cell of a window: its value is the best so far, if it is larger or NaN or the first.
template <typename T>
__device__ void meet(T v, int cell, T &best, int &at) {
  if (v > best || v != v || at < 0) best = v, at = cell;
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void max_pool(const T *x, T *y, long long *where, Window win, int C, long long n) {
  each(i, n) {
    Cell o(i, win.OH, win.OW, C);
    const T *plane = x + o.plane(win.H, win.W, C);
    T best = T(-INFINITY);
    int at = -1;
    for (int ky = 0; ky < win.KH; ky++)
      for (int kx = 0; kx < win.KW; kx++) {
        int yy = o.y * win.SH - win.PH + ky * win.DH, xx = o.x * win.SW - win.PW + kx * win.DW;
        if (yy < 0 || yy >= win.H || xx < 0 || xx >= win.W) continue;
        meet(plane[(long long)(yy * win.W + xx) * C], yy * win.W + xx, best, at);
      }
    y[i] = best, where[i] = at;
  }
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void adaptive_max_pool(const T *x, T *y, long long *where, int H, int W, int OH, int OW, int C,
                                  long long n) {
  each(i, n) {
    Cell o(i, OH, OW, C);
    const T *plane = x + o.plane(H, W, C);
    T best = T(-INFINITY);
    int at = -1;
    for (int yy = window_start(o.y, H, OH); yy < window_stop(o.y, H, OH); yy++)
      for (int xx = window_start(o.x, W, OW); xx < window_stop(o.x, W, OW); xx++)
        meet(plane[(long long)(yy * W + xx) * C], yy * W + xx, best, at);
    y[i] = best, where[i] = at;
  }
}

// gx[p] = the sum of g over the outputs whose maximum was p: of those whose window can have met it.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void max_pool_backward(const T *g, const long long *where, T *gx, Window win, int C, long long n) {
  each(i, n) {
    Cell p(i, win.H, win.W, C);
    long long plane = p.plane(win.OH, win.OW, C);
    int top = first_window(p.y, win.PH, (win.KH - 1) * win.DH + 1, win.SH);
    int left = first_window(p.x, win.PW, (win.KW - 1) * win.DW + 1, win.SW);
    Wide<T> sum = 0;
    for (int oy = top; oy <= last_window(p.y, win.PH, win.SH, win.OH); oy++)
      for (int ox = left; ox <= last_window(p.x, win.PW, win.SW, win.OW); ox++) {
        long long o = plane + (long long)(oy * win.OW + ox) * C;
        if (where[o] == p.y * win.W + p.x) sum += g[o];
      }
    gx[i] = T(sum);
  }
}

// The same for windows that are not known: any output may have met p.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void max_pool_scatter(const T *g, const long long *where, T *gx, int H, int W, int outputs, int C,
                                 long long n) {
  each(i, n) {
    Cell p(i, H, W, C);
    long long plane = p.plane(1, outputs, C);
    Wide<T> sum = 0;
    for (int o = 0; o < outputs; o++)
      if (where[plane + (long long)o * C] == p.y * W + p.x) sum += g[plane + (long long)o * C];
    gx[i] = T(sum);
  }
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void max_pool_gather(const T *x, const long long *where, T *y, int H, int W, int outputs, int C,
                                long long n) {
  each(i, n) {
    Cell o(i, 1, outputs, C);
    y[i] = where[i] < 0 ? T(0) : x[o.plane(H, W, C) + where[i] * C];
  }
}

// ------------------------------------------------------------------------------------- mean

// divisors (OH, OW): by how much each window's sum is divided.
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void avg_pool(const T *x, const Wide<T> *divisors, T *y, Window win, int C, long long n) {
  each(i, n) {
    Cell o(i, win.OH, win.OW, C);
    const T *plane = x + o.plane(win.H, win.W, C);
    Wide<T> sum = 0;
    for (int ky = 0; ky < win.KH; ky++)
      for (int kx = 0; kx < win.KW; kx++) {
        int yy = o.y * win.SH - win.PH + ky, xx = o.x * win.SW - win.PW + kx;
        if (0 <= yy && yy < win.H && 0 <= xx && xx < win.W) sum += plane[(long long)(yy * win.W + xx) * C];
      }
    y[i] = sum / divisors[o.y * win.OW + o.x];
  }
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void avg_pool_backward(const T *g, const Wide<T> *divisors, T *gx, Window win, int C, long long n) {
  each(i, n) {
    Cell p(i, win.H, win.W, C);
    const T *plane = g + p.plane(win.OH, win.OW, C);
    int left = first_window(p.x, win.PW, win.KW, win.SW), right = last_window(p.x, win.PW, win.SW, win.OW);
    Wide<T> sum = 0;
    for (int oy = first_window(p.y, win.PH, win.KH, win.SH); oy <= last_window(p.y, win.PH, win.SH, win.OH); oy++)
      for (int ox = left; ox <= right; ox++)
        sum += plane[(long long)(oy * win.OW + ox) * C] / divisors[oy * win.OW + ox];
    gx[i] = T(sum);
  }
}

// The mean of each plane of `cells`, all windows of which are the whole plane.  A team of threads per plane: in C order
// (C = 1) the threads of a warp (team = 32), which have neighbouring cells; channels-last a thread each (team = 1).
// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void plane_mean(const T *x, T *y, int cells, int C, int team, long long n) {
  long long i = blockIdx.x * (long long)(256 / team) + threadIdx.x / team;
  if (i >= n) return;
  const T *plane = x + i / C * C * cells + i % C;
  double sum = 0;
#pragma unroll 4
  for (int cell = threadIdx.x % team; cell < cells; cell += team) sum += plane[(long long)cell * C];
  if (team > 1) sum = team_sum(sum, (double *)0, team);
  if (threadIdx.x % team == 0) y[i] = Wide<T>(sum / cells);
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void adaptive_avg_pool(const T *x, T *y, int H, int W, int OH, int OW, int C, long long n) {
  each(i, n) {
    Cell o(i, OH, OW, C);
    const T *plane = x + o.plane(H, W, C);
    int top = window_start(o.y, H, OH), bottom = window_stop(o.y, H, OH);
    int left = window_start(o.x, W, OW), right = window_stop(o.x, W, OW);
    Wide<T> sum = 0;
    for (int yy = top; yy < bottom; yy++)
      for (int xx = left; xx < right; xx++) sum += plane[(long long)(yy * W + xx) * C];
    y[i] = sum / Wide<T>((bottom - top) * (right - left));
  }
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void adaptive_avg_pool_backward(const T *g, T *gx, int H, int W, int OH, int OW, int C, long long n) {
  each(i, n) {
    Cell p(i, H, W, C);
    const T *plane = g + p.plane(OH, OW, C);
    if (OH == 1 && OW == 1) {
      gx[i] = T(plane[0] / Wide<T>(H * W));
      continue;
    }
    Wide<T> sum = 0;
    // Windows may overlap and repeat: the first one that can hold row y, to the last.
    for (int oy = (long long)p.y * OH / H; oy < OH && window_start(oy, H, OH) <= p.y; oy++) {
      if (window_stop(oy, H, OH) <= p.y) continue;
      for (int ox = (long long)p.x * OW / W; ox < OW && window_start(ox, W, OW) <= p.x; ox++) {
        if (window_stop(ox, W, OW) <= p.x) continue;
        int count = (window_stop(oy, H, OH) - window_start(oy, H, OH)) *
                    (window_stop(ox, W, OW) - window_start(ox, W, OW));
        sum += plane[(long long)(oy * OW + ox) * C] / Wide<T>(count);
      }
    }
    gx[i] = T(sum);
  }
}
