// cudaemu.h - run CUDA C kernels on the CPU, one OS thread, one fiber per *blocked* CUDA thread.
// g++ -std=c++17 -x c++ -include cudaemu.h kernel.cu   (kernel.cu is the unmodified CUDA source)
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>
#include <csetjmp>
#include <csignal>
#include <sys/mman.h>
#include <ucontext.h>
#define __CUDAEMU__ 1
#define __CUDA_ARCH__ 900
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// ---------------------------------------------------------------- vector types
#define EMU_VEC(T, N)                                                                         \
  struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                             \
  struct N##3 { T x, y, z; };                                                                 \
  struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) N##4 { T x, y, z, w; };             \
  static inline N##2 make_##N##2(T x, T y) { return {x, y}; }                                 \
  static inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }                         \
  static inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VEC(float, float) EMU_VEC(double, double) EMU_VEC(int, int)

// ---------------------------------------------------------------- fibers
extern "C" void emu_switch(void **save, void *load) __attribute__((visibility("hidden")));
#if defined(__x86_64__)
asm(".text\n.hidden emu_switch\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size emu_switch,.-emu_switch\n");
#elif defined(__aarch64__)  // has run in qemu-aarch64, not on a machine
asm(".text\n.hidden emu_switch\n.globl emu_switch\nemu_switch:\n sub sp,sp,#160\n"
    " stp x19,x20,[sp]\n stp x21,x22,[sp,#16]\n stp x23,x24,[sp,#32]\n stp x25,x26,[sp,#48]\n stp x27,x28,[sp,#64]\n"
    " stp x29,x30,[sp,#80]\n stp d8,d9,[sp,#96]\n stp d10,d11,[sp,#112]\n stp d12,d13,[sp,#128]\n stp d14,d15,[sp,#144]\n"
    " mov x9,sp\n str x9,[x0]\n mov sp,x1\n"
    " ldp x19,x20,[sp]\n ldp x21,x22,[sp,#16]\n ldp x23,x24,[sp,#32]\n ldp x25,x26,[sp,#48]\n ldp x27,x28,[sp,#64]\n"
    " ldp x29,x30,[sp,#80]\n ldp d8,d9,[sp,#96]\n ldp d10,d11,[sp,#112]\n ldp d12,d13,[sp,#128]\n ldp d14,d15,[sp,#144]\n"
    " add sp,sp,#160\n ret\n");
#endif
namespace emu {
enum St : uint8_t { FRESH, READY, WBLOCK, WWARP, DONE };
struct Thr { void *sp; uint3 tid; St st; int stack; int line; void *box; };
constexpr int MAXT = 1024;
constexpr size_t STACK = 128 << 10;
struct Warp { unsigned arrived, mask; int line, op; };
static Thr thr[MAXT];
static Warp warp_[MAXT / 32];
static int order[MAXT], n, cur, fresh, nwait, ndone, nfree;
static void *sched_sp;
static char *stacks[MAXT];
static int freelist[MAXT];
static void (*body)(void *);
static void *body_arg;
static char err[512];
static bool failed;
static long blocks_run;                                          // of all launches, the one that runs included
// Dynamic shared memory ends where no memory is, so that what lies beyond it is not found.
constexpr size_t MOST_STATIC = 48 << 10, MOST_SHARED = 227 << 10, REGION = 256 << 10, GUARD = 64 << 10;
static char *dynamic_; static size_t dynamic_bytes;
static inline char *dynamic_memory() { return dynamic_; }
static void make_dynamic(size_t bytes) {
  static char *region = nullptr;
  if (!region) {
    region = (char *)mmap(0, REGION + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    mprotect(region + REGION, GUARD, PROT_NONE);
  }
  dynamic_ = region + REGION - (bytes + 15) / 16 * 16; dynamic_bytes = bytes;
}
static int block_red, block_res;
template <class... A> static void fail(const char *f, A... a) {
  if (!failed) { snprintf(err, sizeof err, f, a...); failed = true; }
}
// every static __shared__ array announces itself when first reached, so each block starts with it full of NaN
struct Sh { void *p; size_t n; void *kern; };
static std::vector<Sh> shared_; static void *kern_;
static inline void announce(void *p, size_t n, int line = __builtin_LINE()) {
  size_t all = 0; bool known = false;
  for (const Sh &s : shared_) if (s.kern == kern_) all += s.n, known |= s.p == p;
  if (!known) { shared_.push_back({p, n, kern_}); memset(p, 0xFF, n); all += n; }
  if (all > MOST_STATIC) fail("line %d: %zu bytes of static shared memory, a block has at most %zu", line, all, MOST_STATIC);
  else if (all + dynamic_bytes > MOST_SHARED)
    fail("line %d: %zu bytes of shared memory, %zu of them dynamic, a block has at most %zu", line, all + dynamic_bytes, dynamic_bytes, MOST_SHARED);
}
static void to_sched() { emu_switch(&thr[cur].sp, sched_sp); }
[[noreturn]] static void die() { for (;;) { thr[cur].st = DONE; to_sched(); } }  // abandon this fiber
static int next_fresh() { return fresh < n ? order[fresh++] : -1; }
static void fiber_main() {
  for (;;) {
    body(body_arg);
    Thr &t = thr[cur];
    t.st = DONE; ndone++;
    int nx = failed ? -1 : next_fresh();
    if (nx >= 0) { thr[nx].stack = t.stack; t.stack = -1; cur = nx; threadIdx = thr[nx].tid; thr[nx].st = READY; continue; }
    void *dummy; freelist[nfree++] = t.stack; t.stack = -1; emu_switch(&dummy, sched_sp);
    abort();
  }
}
static void start(int i) {
  Thr &t = thr[i];
  int s = freelist[--nfree];
  if (!stacks[s]) stacks[s] = (char *)mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void **sp = (void **)(stacks[s] + STACK - (s % 63) * 64);  // colour the stacks: equal offsets would share cache sets
#if defined(__x86_64__)
  *--sp = 0; *--sp = (void *)fiber_main;  // return address; stack is 16n+8 on entry as the ABI wants
  for (int k = 0; k < 6; k++) *--sp = 0;
#else
  sp -= 20; memset(sp, 0, 160); sp[11] = (void *)fiber_main;
#endif
  t.sp = sp; t.stack = s; t.st = READY;
}
static void resume(int i) { cur = i; threadIdx = thr[i].tid; emu_switch(&sched_sp, thr[i].sp); }
static bool greedy;
static bool poke(int k) {
  int i = order[k];
  if (thr[i].st == FRESH) { fresh = greedy ? n : k + 1; start(i); resume(i); return true; }
  if (thr[i].st == READY) { resume(i); return true; }
  return false;
}
static bool run_block() {
  fresh = nwait = ndone = 0;
  if (nfree != MAXT) { nfree = 0; for (int i = MAXT - 1; i >= 0; i--) freelist[nfree++] = i; }
  for (int i = 0; i < n; i++) thr[i].st = FRESH;
  memset(warp_, 0, sizeof warp_);
  while (ndone < n && !failed) {
    bool prog = false;
    if (!greedy) for (int k = 0; k < n && !failed; k++) prog |= poke(k);
    else for (int w = 0; w < n && !failed; w += 32)  // one warp runs as far ahead as barriers allow: shows write-after-read races
      for (bool any = true; any && !failed; prog |= any) { any = false; for (int k = w; k < w + 32 && k < n && !failed; k++) any |= poke(k); }
    if (failed) break;
    if (nwait && nwait + ndone == n) {
      int line = -1;
      for (int i = 0; i < n; i++) if (thr[i].st == WBLOCK) {
        if (line >= 0 && thr[i].line != line) fail("divergent barrier: threads wait at __syncthreads on lines %d and %d", line, thr[i].line);
        line = thr[i].line; thr[i].st = READY;
      }
      nwait = 0; block_res = block_red; block_red = 0; prog = true;
    }
    if (!prog && ndone < n) {
      int a = -1, b = -1;
      for (int i = 0; i < n; i++) { if (thr[i].st == WWARP) a = i; if (thr[i].st == WBLOCK) b = i; }
      fail("deadlock: thread %d waits in a warp op on line %d (mask %08x), thread %d at a barrier on line %d", a, a < 0 ? 0 : thr[a].line,
           a < 0 ? 0 : warp_[a / 32].mask, b, b < 0 ? 0 : thr[b].line);
    }
  }
  return !failed;
}
static int sync_block(int line, int pred, int op) {  // op 0 none, 1 count
  Thr &t = thr[cur]; t.st = WBLOCK; t.line = line; nwait++; block_red += op ? pred : 0;
  to_sched();
  if (failed) die();
  return block_res;
}
// every lane of `mask` deposits a pointer; the last to arrive runs f(ptrs, mask) for all of them.
template <class F> static void warp_collective(unsigned mask, void *mine, int op, int line, F f) {
  int w = cur / 32, lane = cur % 32, lanes = std::min(32, n - w * 32);
  if (lanes < 32) mask &= (1u << lanes) - 1;
  Warp &W = warp_[w]; Thr &t = thr[cur];
  if (!(mask >> lane & 1)) { fail("line %d: lane %d calls a warp op with mask %08x that lacks it", line, lane, mask); die(); }
  if (W.arrived && (W.arrived & mask) && (W.mask != mask || W.op != op || W.line != line)) {
    fail("line %d: lanes of one warp meet in different warp ops (line %d, mask %08x vs %08x)", line, W.line, W.mask, mask); die(); }
  W.mask = mask; W.op = op; W.line = line; W.arrived |= 1u << lane; t.box = mine; t.line = line;
  if ((W.arrived & mask) == mask) {
    void *p[32];
    for (int l = 0; l < lanes; l++) p[l] = thr[w * 32 + l].box;
    f(p, mask);
    W.arrived &= ~mask;
    for (int l = 0; l < lanes; l++) if ((mask >> l & 1) && l != lane) thr[w * 32 + l].st = READY;
  } else {
    for (int l = 0; l < lanes; l++) if ((mask >> l & 1) && thr[w * 32 + l].st == DONE) {
      fail("line %d: warp op waits for lane %d, which has exited", line, l); die(); }
    t.st = WWARP; to_sched();
    if (failed) die();
  }
}
template <class T> static T shfl(unsigned mask, T v, int src, int line, int op) {
  struct Box { T v; int src; T out; } b{v, src, v};
  warp_collective(mask, &b, op, line, [line](void **p, unsigned m) {
    for (int l = 0; l < 32; l++) if (m >> l & 1) {
      Box *x = (Box *)p[l];
      if (!(m >> x->src & 1)) fail("line %d: shuffle reads lane %d, not in mask %08x", line, x->src, m);
      else x->out = ((Box *)p[x->src])->v;
    }
  });
  return b.out;
}
static inline int lane() { return cur & 31; }

// ---------------------------------------------------------------- launch
template <class U, class = void> struct Code { static char c() { return 'S'; } };
template <class U> struct Code<U, std::void_t<decltype(U::code)>> { static char c() { return U::code; } };  // an array's
template <class T> struct Sig { static char c() {
  using U = std::remove_cv_t<std::remove_pointer_t<T>>;
  if (std::is_same_v<U, float>) return 'f'; if (std::is_same_v<U, double>) return 'd';
  if (std::is_class_v<U>) return Code<U>::c();
  if (std::is_integral_v<U>) return std::is_signed_v<U> ? (sizeof(U) == 1 ? 'b' : sizeof(U) == 2 ? 'h' : sizeof(U) == 4 ? 'i' : 'q')
                                                        : (sizeof(U) == 1 ? 'B' : sizeof(U) == 2 ? 'H' : sizeof(U) == 4 ? 'I' : 'Q');
  return '?'; } };
template <class... A> struct Pack {
  void (*f)(A...); std::tuple<std::decay_t<A>...> a;
  static void run(void *p) { Pack *k = (Pack *)p; std::apply(k->f, k->a); }
  template <size_t... I> Pack(void (*g)(A...), void **v, std::index_sequence<I...>) : f(g), a(*(std::decay_t<A> *)v[I]...) {}
};
struct Cfg { unsigned grid[3], block[3]; size_t smem; int mode; unsigned seed; };  // mode 0 forward, 1 reverse, 2 shuffled; +4 one warp at a time (greedy)
static sigjmp_buf segv_jmp; static bool segv_on;
extern "C" char __ehdr_start __attribute__((visibility("hidden")));  // where this library begins: the linker knows
static void on_segv(int, siginfo_t *si, void *context) {
  if (!segv_on) { signal(SIGSEGV, SIG_DFL); return; }
  auto &machine = ((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
  long at = machine.gregs[REG_RIP];
  const char *does = machine.gregs[REG_ERR] & 2 ? "writes to" : "reads from";
#else
  long at = machine.pc;
  const char *does = "uses";
#endif
  fail("illegal memory access: <%#lx> %s %p", at - (long)&__ehdr_start, does, si->si_addr);  // build.py finds the line of <>
  siglongjmp(segv_jmp, 1);
}
// Of one launch: every library has a handler of its own, and the one that runs must be the one that is asked.
struct Segv {
  struct sigaction before;
  Segv() {
    static void *memory = malloc(65536);
    stack_t ss{}; ss.ss_size = 65536; ss.ss_sp = memory; sigaltstack(&ss, nullptr);
    struct sigaction sa{}; sa.sa_sigaction = on_segv; sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &sa, &before); segv_on = true;
  }
  ~Segv() { segv_on = false; sigaction(SIGSEGV, &before, nullptr); }
};
template <class... A> static const char *launch(void (*f)(A...), const Cfg *c, void **argv) {
  Pack<A...> pack(f, argv, std::index_sequence_for<A...>{});
  body = Pack<A...>::run; body_arg = &pack; kern_ = (void *)f;
  gridDim = dim3(c->grid[0], c->grid[1], c->grid[2]); blockDim = dim3(c->block[0], c->block[1], c->block[2]);
  long nn = (long)blockDim.x * blockDim.y * blockDim.z;
  if (nn < 1 || nn > MAXT) return "block size out of range";
  greedy = c->mode & 4; const int mode = c->mode & 3;
  n = nn; failed = false; block_red = 0;
  for (int i = 0; i < n; i++) { thr[i].tid = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)}; order[i] = i; }
  make_dynamic(c->smem);
  unsigned s = c->seed * 2654435761u + 12345;
  auto rnd = [&](unsigned m) { s = s * 1664525u + 1013904223u; return (unsigned)(((uint64_t)s * m) >> 32); };
  long nb = (long)gridDim.x * gridDim.y * gridDim.z;
  Segv segv;
  bool ok = true;
  if (sigsetjmp(segv_jmp, 0)) ok = false;
  for (long q = 0; ok && q < nb; q++) {
    long b = mode == 1 ? nb - 1 - q : q;
    blockIdx = {(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y), (unsigned)(b / ((long)gridDim.x * gridDim.y))};
    if (mode == 1) for (int i = 0; i < n; i++) order[i] = n - 1 - i;
    if (mode == 2 && greedy) { int W = (n + 31) / 32, o[32]; for (int w = 0; w < W; w++) o[w] = w; for (int w = W - 1; w > 0; w--) std::swap(o[w], o[rnd(w + 1)]);
      if (n % 32 == 0) for (int w = 0; w < W; w++) for (int l = 0; l < 32; l++) order[w * 32 + l] = o[w] * 32 + l; }
    else if (mode == 2) for (int i = n - 1; i > 0; i--) std::swap(order[i], order[rnd(i + 1)]);
    for (const Sh &s : shared_) if (s.kern == kern_) memset(s.p, 0xFF, s.n);
    if (c->smem) memset(dynamic_, 0xFF, c->smem);  // NaN poison: reads of unwritten shared memory show
    blocks_run++;
    ok = run_block();
  }
  if (ok) return nullptr;
  nfree = 0;
  size_t L = strlen(err);
  snprintf(err + L, sizeof err - L, " [block (%u,%u,%u) thread (%u,%u,%u)]", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  return err;
}
template <class... A> static void signature(void (*)(A...), char *out) {
  *out = 0;
  ((out += sprintf(out, "%c%c%zu ", std::is_pointer_v<A> ? '*' : '.', Sig<A>::c(), sizeof(A))), ...);
}
}  // namespace emu
#define EMU_EXPORT(ID, ...)                                                                                        \
  extern "C" __attribute__((visibility("default"))) const char *emu_launch_##ID(const emu::Cfg *emu_c, void **emu_a) { \
    return emu::launch(__VA_ARGS__, emu_c, emu_a); }                                                               \
  extern "C" __attribute__((visibility("default"))) void emu_sig_##ID(char *emu_o) { emu::signature(__VA_ARGS__, emu_o); }

// ---------------------------------------------------------------- synchronisation, warp ops
#define EMU_L int line = __builtin_LINE()
static inline void __syncthreads(EMU_L) { emu::sync_block(line, 0, 0); }
static inline int __syncthreads_count(int p, EMU_L) { return emu::sync_block(line, p != 0, 1); }
static inline int __syncthreads_or(int p, EMU_L) { return emu::sync_block(line, p != 0, 1) != 0; }
static inline int __syncthreads_and(int p, EMU_L) { return emu::sync_block(line, p == 0, 1) == 0; }
static inline void __syncwarp(unsigned m = 0xffffffffu, EMU_L) { emu::warp_collective(m, nullptr, 1, line, [](void **, unsigned) {}); }
template <class T> static inline T __shfl_sync(unsigned m, T v, int src, int w = 32, EMU_L) {
  int l = emu::lane(); return emu::shfl(m, v, (l & ~(w - 1)) | (src & (w - 1)), line, 2); }
template <class T> static inline T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, EMU_L) {
  int l = emu::lane(), s = l + d; return emu::shfl(m, v, (l & (w - 1)) + (int)d < w ? s : l, line, 3); }
template <class T> static inline T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, EMU_L) {
  int l = emu::lane(); return emu::shfl(m, v, (l & (w - 1)) >= (int)d ? l - (int)d : l, line, 4); }
template <class T> static inline T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, EMU_L) {
  int l = emu::lane(), s = l ^ x; return emu::shfl(m, v, (s & ~(w - 1)) == (l & ~(w - 1)) ? s : l, line, 5); }
static inline unsigned __ballot_sync(unsigned m, int p, EMU_L) {
  struct B { int p; unsigned out; } b{p, 0};
  emu::warp_collective(m, &b, 6, line, [](void **q, unsigned mm) { unsigned r = 0;
    for (int l = 0; l < 32; l++) if ((mm >> l & 1) && ((B *)q[l])->p) r |= 1u << l;
    for (int l = 0; l < 32; l++) if (mm >> l & 1) ((B *)q[l])->out = r; });
  return b.out; }
static inline int __any_sync(unsigned m, int p, EMU_L) { return __ballot_sync(m, p, line) != 0; }
static inline int __all_sync(unsigned m, int p, EMU_L) { return __ballot_sync(m, !p, line) == 0; }

// ---------------------------------------------------------------- atomics (one OS thread: plain updates are atomic)
#define EMU_ATOM(name, expr) template <class T> static inline T name(T *p, std::common_type_t<T> v) { T o = *p; *p = expr; return o; }
EMU_ATOM(atomicAdd, (T)(o + v)) EMU_ATOM(atomicMax, o > v ? o : v) EMU_ATOM(atomicMin, o < v ? o : v)
template <class T> static inline T atomicCAS(T *p, std::common_type_t<T> c, std::common_type_t<T> v) { T o = *p; if (o == c) *p = v; return o; }

// ---------------------------------------------------------------- intrinsics
template <class T> static inline T __ldg(const T *p) { return *p; }
static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline double rsqrt(double x) { return 1. / sqrt(x); }
static inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
static inline unsigned __float_as_uint(float f) { unsigned i; memcpy(&i, &f, 4); return i; }
static inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
static inline float __uint_as_float(unsigned i) { float f; memcpy(&f, &i, 4); return f; }
static inline int __float2int_rn(float f) { return (int)rintf(f); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
using std::max; using std::min;
