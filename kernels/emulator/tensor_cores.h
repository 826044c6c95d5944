// kernels/cuda/tc.cuh for the emulator: the same functions in plain C++.
//
// The lanes of a warp bring their fragments, the last one multiplies for all.  A copy arrives only when it is waited
// for; until then its destination holds NaN, so that a missing wait or barrier shows.
#pragma once

static inline unsigned to_tf32(float x) {
  unsigned u = __float_as_uint(x);
  if ((u & 0x7f800000u) != 0x7f800000u) u += 0x1000u;            // round half away from zero; not inf and NaN
  return u & ~0x1fffu;
}

static inline unsigned emu_bf16(float x) {
  unsigned u = __float_as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;            // NaN
  return (u + 0x7fffu + (u >> 16 & 1)) >> 16;                    // round half to even
}
static inline unsigned to_bf16(float first, float second) { return emu_bf16(second) << 16 | emu_bf16(first); }

static inline unsigned short to_half(float x) {
  _Float16 h = (_Float16)x;
  unsigned short u;
  memcpy(&u, &h, 2);
  return u;
}
static inline float from_half(unsigned short u) {
  _Float16 h;
  memcpy(&h, &u, 2);
  return (float)h;
}

struct EmuFragments {
  float *d;
  const unsigned *a, *b;
};

// Rounded toward zero.
static inline float emu_truncated(double x) {
  float f = (float)x;
  return fabs((double)f) > fabs(x) ? nextafterf(f, 0) : f;       // false for NaN
}

// D += A B for A (16, K), B (K, 8), as the fragments of all lanes make them.  As on GPUs, products are exact and each
// sum is cut off, not rounded to nearest (M. Fasi et al., Numerical behavior of NVIDIA tensor cores, PeerJ CS 7:e330,
// 2021): sums of many products are too small by a little, always.
template <int K, class Fill>
static void emu_multiply(void **lanes, Fill fill) {
  float A[16][K], B[K][8];
  for (int l = 0; l < 32; l++) fill(*(EmuFragments *)lanes[l], l / 4, l % 4, A, B);
  for (int l = 0; l < 32; l++)
    for (int i = 0; i < 4; i++) {
      int row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
      float &d = ((EmuFragments *)lanes[l])->d[i];
      double sum = d;
      for (int k = 0; k < K; k++) sum += (double)A[row][k] * B[k][column];
      d = emu_truncated(sum);
    }
}

static inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMU_L) {
  EmuFragments mine{d, a, b};
  emu::warp_collective(0xffffffffu, &mine, 20, line, [](void **lanes, unsigned) {
    emu_multiply<8>(lanes, [](EmuFragments &f, int g, int t, float (&A)[16][8], float (&B)[8][8]) {
      auto value = [](unsigned u) { return __uint_as_float(u & ~0x1fffu); };
      for (int i = 0; i < 4; i++) A[g + 8 * (i % 2)][t + 4 * (i / 2)] = value(f.a[i]);
      for (int i = 0; i < 2; i++) B[t + 4 * i][g] = value(f.b[i]);
    });
  });
}

// The low and the high half of a register are neighbours along K.
template <class Value>
static void emu_halves(void **lanes, Value value) {
  emu_multiply<16>(lanes, [value](EmuFragments &f, int g, int t, float (&A)[16][16], float (&B)[16][8]) {
    for (int half = 0; half < 2; half++) {
      for (int i = 0; i < 4; i++) A[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = value(f.a[i] >> 16 * half & 0xffff);
      for (int i = 0; i < 2; i++) B[2 * t + 8 * i + half][g] = value(f.b[i] >> 16 * half & 0xffff);
    }
  });
}
static inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMU_L) {
  EmuFragments mine{d, a, b};
  emu::warp_collective(0xffffffffu, &mine, 21, line, [](void **lanes, unsigned) {
    emu_halves(lanes, [](unsigned u) { return __uint_as_float(u << 16); });
  });
}
static inline void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMU_L) {
  EmuFragments mine{d, a, b};
  emu::warp_collective(0xffffffffu, &mine, 22, line, [](void **lanes, unsigned) {
    emu_halves(lanes, [](unsigned u) { return from_half(u); });
  });
}

struct EmuCopy {
  void *to;
  const void *from;
  long group;
};
// A thread's copies on their way, in one block: what the last block left behind went with it.
struct EmuCopies {
  std::vector<EmuCopy> waiting;
  long group, block;
};
static EmuCopies &emu_copies() {
  static EmuCopies of[emu::MAXT];
  EmuCopies &mine = of[emu::cur];
  if (mine.block != emu::blocks_run) mine = {{}, 0, emu::blocks_run};
  return mine;
}

static inline void copy16(void *shared, const void *global, bool there, EMU_L) {
  if (((uintptr_t)shared | (there ? (uintptr_t)global : 0)) & 15)
    emu::fail("line %d: an address of copy16 is not a multiple of 16", line);
  memset(shared, 0xFF, 16);
  emu_copies().waiting.push_back({shared, there ? global : nullptr, emu_copies().group});
}
static inline void copies_commit() { emu_copies().group++; }
template <int N>
static inline void copies_wait() {
  EmuCopies &mine = emu_copies();
  std::vector<EmuCopy> later;
  for (EmuCopy &c : mine.waiting) {
    if (c.group >= mine.group - N) later.push_back(c);
    else if (c.from) memcpy(c.to, c.from, 16);
    else memset(c.to, 0, 16);
  }
  mine.waiting.swap(later);
}
