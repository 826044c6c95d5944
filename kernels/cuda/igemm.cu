// Convolution on tensor cores: a matrix product whose left side is gathered from the image as it is needed.
//
//     forward          y (pixels, O)      =  patches (pixels, taps*C)  x  weight (O, taps*C)'
//     input gradient   the same kernel: the patches are of gy, the weight is (C, taps*O)'.  With a stride, the pixels
//                      that lie alike between the outputs share their taps: one launch for each kind of pixel
//     weight gradient  gw (O, taps*C)     =  gy (pixels, O)'  x  patches (pixels, taps*C)
//
// Layout      images are channels-last, (N, H, W, C), and so are weights, (G, O/G, KH, KW, C/G): along K, taps and
//             channels, memory is contiguous and read 16 bytes at a time: C/G is a multiple of 4 elements of float32,
//             8 of 16 bits (igemm.py pads).
// Parallel    a block makes 128 x BN of the result; each of its 4 warps has 64 x BN/2 of it in registers, or 64 x 32 in
//             mode 0, which needs more of them.  K goes by in tiles of 32 through a ring in shared memory: one tile is
//             multiplied while two more are on their way.
//
//                   K -->  tile k   tile k+1  tile k+2              ring   [ k ]      being multiplied
//       128 pixels  |     |        |         |                             [ k+1 ]    arrives
//                                                                          [ k+2 ]    is asked for
//       BN channels |     |        |         |
//
//             Rows in the ring are 36 floats apart (40 for bf16 and for 16 bits), so that the 32 lanes read from 32
//             different banks.  A block does 2*128*BN*32 FLOPs for (128 + BN)*32 elements: 32 FLOPs a byte of float32
//             for BN = 128.
// MODE        What is multiplied.  Of float32: 0 float32's accuracy by three products, (hi + lo)(hi' + lo') without
//             lo*lo'; 1 tf32; 2 bf16.  Of 16 bits: 3, as it is stored.  Sums are float32.  Tensor cores cut their sums
//             off instead of rounding them, which adds up along K: in mode 0 they add no more than 8 products, and the
//             rest is added by ordinary instructions (H. Ootomo, R. Yokota, Recovering single precision accuracy from
//             Tensor Cores, IJHPCA 2022).  Infinite values give NaN in mode 0, where inf - inf is a part of them.
#include "common.cuh"
#include "tc.cuh"

constexpr int BM = 128, BK = 32, STAGES = 3, THREADS = 128;
constexpr int PRECISE = 0, TF32 = 1, BF16 = 2, STORED = 3;

// Where patches come from and where results go.  Result (image, j, i) of JH x JW sums over the taps (a, b) of TY x TX.
// It is pixel (j*TJ + RY, i*TI + RX) of YH x YW; its patch is at (j*SJ + dy + a*DY, i*SI + dx + b*DX) of H x W, the
// tap's weight is number (ky + a*KY)*KW + kx + b*KX.
struct Gather {
  int JH, JW, TY, TX, YH, YW, TJ, TI, RY, RX, H, W, SJ, SI, dy, dx, DY, DX, ky, kx, KY, KX, KW, taps;
};

// One row of the left side: its image's first pixel, its patch's corner, and its place in the result (-1: none).
struct Pixel {
  long long image, out;
  int y, x;
};

// ------------------------------------------------------------------------------------- the product of two tiles

// A tile in shared memory whose rows are contiguous along K, and one that lies the other way round.  pair: the elements
// k and k + 1 of a row in one register.
template <typename T>
struct Rows {
  const T *p;
  int ld;
  __device__ float operator()(int row, int k) const { return p[row * ld + k]; }
  __device__ unsigned pair(int row, int k) const { return *(const unsigned *)(p + row * ld + k); }
};
template <typename T>
struct Columns {
  const T *p;
  int ld;
  __device__ float operator()(int row, int k) const { return p[k * ld + row]; }
  __device__ unsigned pair(int row, int k) const {
    return p[k * ld + row].bits | (unsigned)p[(k + 1) * ld + row].bits << 16;
  }
};

__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Half) { mma_half(d, a, b); }
__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Bfloat) { mma_bf16(d, a, b); }

// acc (TM*16, TN*8) += a b' over BK, for the tiles a and b of this warp.
template <typename T, int MODE, int TM, int TN, class A, class B>
__device__ inline void multiply(float (&acc)[TM][TN][4], A a, B b) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  constexpr int DEPTH = MODE >= BF16 ? 16 : 8;
#pragma unroll(MODE == PRECISE ? 1 : BK / DEPTH)                 // registers are scarce in mode 0
  for (int k = 0; k < BK; k += DEPTH) {
    unsigned high[TM][4], low[TM][4];
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int row = 16 * i + g + 8 * (e % 2);
        int at = k + 2 * t + 8 * (e / 2);
        if constexpr (MODE == STORED) {
          high[i][e] = a.pair(row, at);
        } else if (MODE == BF16) {
          high[i][e] = to_bf16(a(row, at), a(row, at + 1));
        } else {
          float v = a(row, k + t + 4 * (e / 2));
          high[i][e] = to_tf32(v);
          if (MODE == PRECISE) low[i][e] = to_tf32(v - __uint_as_float(high[i][e]));
        }
      }
#pragma unroll
    for (int j = 0; j < TN; j++) {
      unsigned other[2], rest[2];
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int at = k + 2 * t + 8 * e;
        if constexpr (MODE == STORED) {
          other[e] = b.pair(8 * j + g, at);
        } else if (MODE == BF16) {
          other[e] = to_bf16(b(8 * j + g, at), b(8 * j + g, at + 1));
        } else {
          float v = b(8 * j + g, k + t + 4 * e);
          other[e] = to_tf32(v);
          if (MODE == PRECISE) rest[e] = to_tf32(v - __uint_as_float(other[e]));
        }
      }
      if constexpr (MODE == PRECISE) {
        float sum[TM][4] = {};                                   // the small products first
#pragma unroll
        for (int i = 0; i < TM; i++) mma_tf32(sum[i], low[i], other);
#pragma unroll
        for (int i = 0; i < TM; i++) mma_tf32(sum[i], high[i], rest);
#pragma unroll
        for (int i = 0; i < TM; i++) mma_tf32(sum[i], high[i], other);
#pragma unroll
        for (int i = 0; i < TM * 4; i++) acc[i / 4][j][i % 4] += sum[i / 4][i % 4];
      } else {
#pragma unroll
        for (int i = 0; i < TM; i++) {
          if constexpr (MODE == STORED) mma(acc[i][j], high[i], other, T());
          else if (MODE == BF16) mma_bf16(acc[i][j], high[i], other);
          else mma_tf32(acc[i][j], high[i], other);
        }
      }
    }
  }
}

// ------------------------------------------------------------------------------------- forward and input gradient

// x (images, H, W, G*C), weight (G, N, taps, C), bias (G*N) or null -> y (images, YH, YW, G*N), where the Gather says.
// instances: <float, 0, 64> <float, 0, 128> <float, 1, 64> <float, 1, 128> <float, 2, 64> <float, 2, 128>
//            <Half, 3, 64> <Half, 3, 128> <Bfloat, 3, 64> <Bfloat, 3, 128>
template <typename T, int MODE, int BN>
__global__ void __launch_bounds__(MODE == PRECISE ? 2 * BN : THREADS, MODE == PRECISE ? 128 / BN : 0)
convolve(const T *x, const T *weight, const T *bias, T *y, Gather q, int images, int G, int C, int N) {
  constexpr int WN = MODE == PRECISE ? 32 : BN / 2, ALL = 64 * BN / WN;      // a warp's columns, threads
  constexpr int LD = MODE >= BF16 ? 40 : 36, TILE = (BM + BN) * LD, VEC = 16 / sizeof(T), PER_ROW = BK / VEC;
  extern __shared__ __align__(16) unsigned char memory[];
  T *ring = (T *)memory;                                         // (STAGES, BM + BN, LD)
  __shared__ Pixel pixels[BM];
  const int tid = threadIdx.x, group = blockIdx.z, n0 = blockIdx.y * BN, CX = G * C, CY = G * N;
  if (tid < BM) {
    long long rest = (long long)blockIdx.x * BM + tid;
    int i = split(rest, q.JW), j = split(rest, q.JH);
    long long out = ((rest * q.YH + j * q.TJ + q.RY) * q.YW + i * q.TI + q.RX) * CY + group * N;
    pixels[tid] = {rest * q.H * q.W, rest < images ? out : -1, j * q.SJ + q.dy, i * q.SI + q.dx};
  }
  __syncthreads();

  // This thread copies 16 bytes of every 16th row (32nd of 16 bits), from k = column on: channel c of tap (a, b).
  const int column = tid % PER_ROW * VEC;
  int a = 0, b = 0, c = column;
  auto settle = [&]() {
    while (c >= C && a < q.TY) {
      c -= C;
      if (++b == q.TX) b = 0, a++;
    }
  };
  settle();
  auto load = [&](int stage) {
    T *tile = ring + stage * TILE + column;
    const bool any = a < q.TY;
    const int dy = a * q.DY, dx = b * q.DX, tap = (q.ky + a * q.KY) * q.KW + q.kx + b * q.KX;
    for (int r = tid / PER_ROW; r < BM; r += ALL / PER_ROW) {
      const Pixel &p = pixels[r];
      int yy = p.y + dy, xx = p.x + dx;
      bool there = any && p.out >= 0 && 0 <= yy && yy < q.H && 0 <= xx && xx < q.W;
      copy16(tile + r * LD, there ? x + (p.image + yy * q.W + xx) * CX + group * C + c : x, there);
    }
    for (int r = tid / PER_ROW; r < BN; r += ALL / PER_ROW) {
      bool there = any && n0 + r < N;
      copy16(tile + (BM + r) * LD,
             there ? weight + (((long long)group * N + n0 + r) * q.taps + tap) * C + c : weight, there);
    }
    c += BK;
    settle();
  };

  constexpr int TM = 4, TN = WN / 8;                             // a warp's tiles of 16 x 8: 64 x WN
  const int row0 = tid / 32 % 2 * 64, column0 = tid / 64 * WN;
  float acc[TM][TN][4] = {};
  const int steps = (q.TY * q.TX * C + BK - 1) / BK;
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) load(s);
    copies_commit();
  }
  for (int step = 0; step < steps; step++) {
    copies_wait<STAGES - 2>();
    __syncthreads();                                             // this tile is there, the one before is done with
    if (step + STAGES - 1 < steps) load((step + STAGES - 1) % STAGES);
    copies_commit();
    const T *tile = ring + step % STAGES * TILE;
    multiply<T, MODE>(acc, Rows<T>{tile + row0 * LD, LD}, Rows<T>{tile + (BM + column0) * LD, LD});
  }

  const int g = tid % 32 / 4, t = tid % 4;
#pragma unroll
  for (int i = 0; i < TM; i++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      long long out = pixels[row0 + 16 * i + g + 8 * (e / 2)].out;
#pragma unroll
      for (int j = 0; j < TN; j++) {
        int n = n0 + column0 + 8 * j + 2 * t + e % 2;
        if (out >= 0 && n < N) y[out + n] = T(acc[i][j][e] + (bias ? (float)bias[group * N + n] : 0.0f));
      }
    }
}

// ------------------------------------------------------------------------------------- weight gradient

// K is the pixels, of which there are many: blockIdx.z takes a part of them, and add_parts adds the parts up in order.
// x (images, H, W, G*C), gy (images, OH, OW, G*N) -> parts (splits, G, N, taps*C)
// instances: <float, 0> <float, 1> <float, 2> <Half, 3> <Bfloat, 3>
template <typename T, int MODE>
__global__ void __launch_bounds__(THREADS, 2) convolve_weight(const T *x, const T *gy, float *parts, Window win,
                                                              int images, int G, int C, int N, int each_steps) {
  constexpr int WM = 64, WN = 128, LA = WM + 8, LB = WN + 8, TILE = BK * (LA + LB), VEC = 16 / sizeof(T);
  extern __shared__ __align__(16) unsigned char memory[];
  T *ring = (T *)memory;                                         // (STAGES, BK, LA) and (BK, LB): pixels, channels
  __shared__ Pixel pixels[2][BK];
  const int tid = threadIdx.x, group = blockIdx.z % G, part = blockIdx.z / G, CX = G * C, CY = G * N;
  const int m0 = blockIdx.y * WM, n0 = blockIdx.x * WN, width = win.KH * win.KW * C;
  const long long size = (long long)win.OH * win.OW, last = images * size, first = (long long)part * each_steps * BK;
  const int steps = (int)min((long long)each_steps, (last - first + BK - 1) / BK);

  auto find = [&](int step) {                                    // the pixels of a tile, by the first warp
    if (tid >= BK) return;
    long long p = first + (long long)step * BK + tid, rest = p;
    int ox = split(rest, win.OW), oy = split(rest, win.OH);
    pixels[step % 2][tid] = {rest * win.H * win.W, p < last ? p * CY + group * N : -1, oy * win.SH - win.PH,
                             ox * win.SW - win.PW};
  };
  constexpr int ACROSS = WM / VEC, ALONG = WN / VEC;             // copies of a row of gy's, of x's
  const int own_m = tid % ACROSS * VEC, own_n = tid % ALONG * VEC, m = m0 + own_m, n = n0 + own_n;
  const int c = n % C, ky = n / C / win.KW * win.DH, kx = n / C % win.KW * win.DW;
  auto load = [&](int step) {
    T *tile = ring + step % STAGES * TILE;
    const Pixel *row = pixels[step % 2];
    for (int r = tid / ACROSS; r < BK; r += THREADS / ACROSS) {
      bool there = row[r].out >= 0 && m < N;
      copy16(tile + r * LA + own_m, there ? gy + row[r].out + m : gy, there);
    }
    for (int r = tid / ALONG; r < BK; r += THREADS / ALONG) {
      int yy = row[r].y + ky, xx = row[r].x + kx;
      bool there = row[r].out >= 0 && n < width && 0 <= yy && yy < win.H && 0 <= xx && xx < win.W;
      copy16(tile + BK * LA + r * LB + own_n,
             there ? x + (row[r].image + yy * win.W + xx) * CX + group * C + c : x, there);
    }
  };

  constexpr int TM = WM / 32, TN = WN / 16;                      // a warp's tiles of 16 x 8: 32 x 64
  const int row0 = tid / 32 % 2 * (WM / 2), column0 = tid / 64 * (WN / 2);
  float acc[TM][TN][4] = {};
  for (int s = 0; s < STAGES - 1; s++) {
    find(s);
    __syncthreads();
    if (s < steps) load(s);
    copies_commit();
  }
  find(STAGES - 1);
  for (int step = 0; step < steps; step++) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    if (step + STAGES - 1 < steps) load(step + STAGES - 1);
    copies_commit();
    find(step + STAGES);                                         // read after the next barrier
    const T *tile = ring + step % STAGES * TILE;
    multiply<T, MODE>(acc, Columns<T>{tile + row0, LA}, Columns<T>{tile + BK * LA + column0, LB});
  }

  const int g = tid % 32 / 4, t = tid % 4;
#pragma unroll
  for (int i = 0; i < TM; i++)
#pragma unroll
    for (int j = 0; j < TN; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int row = m0 + row0 + 16 * i + g + 8 * (e / 2), column = n0 + column0 + 8 * j + 2 * t + e % 2;
        if (row < N && column < width)
          parts[(((long long)part * G + group) * N + row) * width + column] = acc[i][j][e];
      }
}

// parts (splits, rows, taps, C) -> gw (rows, kept, taps), the sum over the parts; channels from `kept` on were padding.
// instances: <float> <Half> <Bfloat>
template <typename T>
__global__ void add_parts(const float *parts, T *gw, int splits, int taps, int C, int kept, long long rows,
                          long long n) {
  each(i, n) {
    long long row = i;
    int tap = split(row, taps), c = split(row, kept);
    float sum = 0;
    for (int s = 0; s < splits; s++) sum += parts[((s * rows + row) * taps + tap) * C + c];
    gw[i] = T(sum);
  }
}
