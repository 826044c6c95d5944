"""The emulator itself: what its intrinsics compute, known answers; which mistakes of a kernel it names, and where."""
import re
import shutil
from importlib import import_module

import numpy as np
import pytest

import tinycnn  # noqa: F401

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
build, device = (import_module(f"tinycnn.kernels.emulator.{name}") for name in ("build", "device"))
LANES = np.arange(32)
schedules = pytest.mark.parametrize("order", build.SCHEDULES, ids=str)

INTRINSICS = """
__global__ void shuffles(const float *x, float *up, float *down, float *other, float *mine, float *groups, int d) {
  int t = threadIdx.x;
  up[t] = __shfl_up_sync(0xffffffffu, x[t], d);
  down[t] = __shfl_down_sync(0xffffffffu, x[t], d);
  other[t] = __shfl_xor_sync(0xffffffffu, x[t], d);
  mine[t] = __shfl_sync(0xffffffffu, x[t], d);
  groups[t] = __shfl_down_sync(0xffffffffu, x[t], 3, 8);
}
__global__ void votes(const int *x, int *ballot, int *any, int *all, int *odd) {
  int t = threadIdx.x;
  ballot[t] = (int)__ballot_sync(0xffffffffu, x[t]);
  any[t] = __any_sync(0xffffffffu, x[t]);
  all[t] = __all_sync(0xffffffffu, x[t]);
  odd[t] = 0;
  if (t % 2) odd[t] = (int)__ballot_sync(0xaaaaaaaau, 1);
}
__global__ void barriers(const int *x, int *count, int *any, int *all) {
  int t = threadIdx.x;
  count[t] = __syncthreads_count(x[t]);
  any[t] = __syncthreads_or(x[t]);
  all[t] = __syncthreads_and(x[t]);
}
__global__ void atomics(int *x, float *sum) {
  atomicAdd(x, 1);
  atomicMax(x + 1, (int)threadIdx.x);
  atomicMin(x + 2, (int)threadIdx.x);
  atomicCAS(x + 3, 7, 100);
  atomicAdd(sum, 0.5f);
}
__global__ void numbers(const float *x, int *bits, float *back, int *rounded, float *root, double *droot, int n) {
  int t = threadIdx.x;
  bits[t] = __float_as_int(x[t]);
  back[t] = __int_as_float(__float_as_int(x[t])) + __uint_as_float(__float_as_uint(x[t]));
  rounded[t] = __float2int_rn(x[t]);
  root[t] = rsqrtf(x[t] * x[t]);
  droot[t] = rsqrt((double)__ldg(x + t) * x[t]);
}
__global__ void counting(const int *x, int *ones, int *zeros, int *first, int *high) {
  int t = threadIdx.x;
  ones[t] = __popc(x[t]), zeros[t] = __clz(x[t]), first[t] = __ffs(x[t]), high[t] = (int)__umulhi(x[t], 0x80000000u);
}
__global__ void vectors(const float *x, float *y) {
  float4 v = *(const float4 *)x;
  *(float4 *)y = make_float4(v.w, v.z, v.y, v.x);
}
__global__ void geometry(int *y) {
  unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  y[b * blockDim.x * blockDim.y * blockDim.z + t] = b * 1000 + t;
}
__global__ void warps(int *y) {                            // a lane reads its neighbour's after a barrier of the warp
  __shared__ int s[64];
  int t = threadIdx.x;
  s[t] = t;
  __syncwarp();
  y[t] = s[t ^ 1];
}
"""
MISTAKES = """
__global__ void divergent(float *y, int n) {
  if (threadIdx.x < n)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void early(float *y, int n) {
  if (threadIdx.x >= n) return;
  y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.f, 1);
}
__global__ void stuck(float *y, int n) {
  if (threadIdx.x < n)
    __syncthreads();
  else
    __syncwarp();
}
__global__ void absent(float *y, int n) {
  y[0] = __shfl_sync(0xffu, 1.f, 0);
}
__global__ void outside_mask(float *y, int n) {
  if (threadIdx.x < 8) y[0] = __shfl_sync(0xffu, 1.f, 9);
}
__global__ void two_kinds(float *y, int n) {
  if (threadIdx.x < n)
    y[0] = __ballot_sync(0xffffffffu, 1);
  else
    y[0] = __shfl_sync(0xffffffffu, 1.f, 0);
}
__device__ float element(float *y, int i) {
  return y[i];
}
__global__ void write(float *y, int n) {
  if (blockIdx.x == 1 && threadIdx.x == 3)
    y[n] = 1;
}
__global__ void read(float *y, int n) {
  if (blockIdx.x == 1 && threadIdx.x == 3)
    y[0] = element(y, n);
}
__global__ void unwritten(float *y, int n) {
  __shared__ float s[4][8], t;
  extern __shared__ __align__(16) float more[];
  if (threadIdx.x == 0) t = 1, s[0][1] = 1, more[1] = 1;
  __syncthreads();
  y[0] = s[0][0] + t, y[1] = s[0][1] + t, y[2] = more[0], y[3] = more[1] + t;
}
template <class A, class B> struct Pair { A a; B b; };
__global__ void written_oddly(float *y, int n) {  // all of it __shared__ memory; extern __shared__ float none[];
  /* __shared__ float old[n]; */ const char *text = "s; __shared__ float x[1]; // no comment";
  __shared__ Pair<float, Pair<int, float>> pairs[2], more[sizeof(Pair<float, float>)];   // not; of these
  __shared__ unsigned
      int ints[4],  // a line
      one;
  extern __shared__ alignas(16)   /* in two lines */
      float dynamic[ ];
  y[0] = pairs[1].a, y[1] = more[7].b.b, y[2] = (ints[3] == 0xffffffffu) + (one == 0xffffffffu), y[3] = dynamic[0];
  y[n] = text[0];
}
__device__ float of_both() {
  __shared__ float s;
  float before = s;
  s = 1;
  return before;
}
__global__ void first(float *y, int n) { y[0] = of_both(); }
__global__ void second(float *y, int n) { y[0] = of_both(); }
__global__ void much(float *y, int n) {
  __shared__ float s[30 << 8];
  y[0] = s[0];
  if (n)
    { __shared__ float more[19 << 8]; y[0] = more[0]; }
}
__global__ void beyond(float *y, int n) {
  extern __shared__ float s[];
  y[0] = s[n];
}
"""
LINE = {m[1]: i for i, line in enumerate(MISTAKES.splitlines(), 1) if (m := re.match(r"__global__ void (\w+)", line))}


def compiled(folder, source):
    path = folder / "kernels.cu"
    path.write_text(source)
    names = re.findall(r"__global__ void (\w+)", source)
    lib = build.library(path, tuple(names))
    return {name: build.Kernel(lib, i, name) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emulator")
    return {**compiled(folder, INTRINSICS), **compiled(folder, MISTAKES)}


def run(kernel, *arguments, grid=(1,), block=(32,), order=build.SCHEDULES[0], shared=0):
    """The arrays among the arguments, in guarded memory, after a launch."""
    values = [device.guarded(a) if isinstance(a, np.ndarray) and a.ndim else a for a in arguments]
    with device.schedule(order):
        kernel(grid, block, tuple(values), shared)
    return [v for v in values if isinstance(v, np.ndarray) and v.ndim]


def fresh(count=32, dtype=np.int32, arrays=1):
    return [np.full(count, 77, dtype) for _ in range(arrays)]


# ---------------------------------------------------------------------------------------- known answers

@schedules
@pytest.mark.parametrize("d", [1, 5, 16])
def test_shuffles(kernels, order, d):
    x = LANES.astype(np.float32) * 10
    found = run(kernels["shuffles"], x, *fresh(32, np.float32, 5), np.int32(d), order=order)[1:]
    lanes = (np.where(LANES >= d, LANES - d, LANES), np.where(LANES + d < 32, LANES + d, LANES), LANES ^ d,
             np.full(32, d), np.where(LANES % 8 + 3 < 8, LANES + 3, LANES))
    for y, lane in zip(found, lanes):
        np.testing.assert_array_equal(y, x[lane])


@schedules
@pytest.mark.parametrize("true", [[], [3, 17, 31], list(range(32))], ids=len)
def test_votes_and_counting_barriers(kernels, order, true):
    x = np.isin(LANES, true).astype(np.int32) * 5                # any number but 0 is true
    ballot, any_, all_, odd = run(kernels["votes"], x, *fresh(arrays=4), order=order)[1:]
    assert set(ballot.view(np.uint32)) == {sum(1 << i for i in true)}
    assert set(any_) == {int(bool(true))} and set(all_) == {int(len(true) == 32)}
    assert set(odd.view(np.uint32)[1::2]) == {0xAAAAAAAA} and not odd[::2].any()
    x = np.concatenate([x, x, [5]]).astype(np.int32)             # blocks need not be whole warps
    count, any_, all_ = run(kernels["barriers"], x, *fresh(65, arrays=3), block=(65,), order=order)[1:]
    assert set(count) == {2 * len(true) + 1} and set(any_) == {1} and set(all_) == {int(len(true) == 32)}


@schedules
def test_atomics(kernels, order):
    ints, total = run(kernels["atomics"], np.array([0, 0, 50, 7], np.int32), np.zeros(1, np.float32), grid=(3,),
                      block=(40,), order=order)
    assert ints.tolist() == [120, 39, 0, 100] and total[0] == 60


def test_numbers_and_their_bits(kernels):
    x = np.array([1, -2.5, 0.5, 1.5, 1e-40, 3.4e38, 2, 4], np.float32)
    bits, back, rounded, root, droot = run(kernels["numbers"], x[:4], *fresh(4), *fresh(4, np.float32), *fresh(4),
                                           *fresh(4, np.float32), *fresh(4, np.float64), np.int32(4), block=(4,))[1:]
    assert bits.tolist() == [0x3F800000, 0xC0200000 - (1 << 32), 0x3F000000, 0x3FC00000]
    assert back.tolist() == [2, -5, 1, 3]
    assert rounded.tolist() == [1, -2, 0, 2]                     # halves to the even number
    np.testing.assert_allclose(root, 1 / abs(x[:4]), rtol=1e-7)
    np.testing.assert_allclose(droot, 1 / abs(x[:4].astype(float)), rtol=1e-15)


def test_bits_are_counted(kernels):
    x = np.array([0, 1, 0x80, -1, 0x7FFFFFFF], np.int32)
    ones, zeros, first, high = run(kernels["counting"], x, *fresh(5, arrays=4), block=(5,))[1:]
    assert ones.tolist() == [0, 1, 1, 32, 31] and zeros.tolist() == [32, 31, 24, 0, 1]
    assert first.tolist() == [0, 1, 8, 1, 1] and high.tolist() == [0, 0, 0x40, 0x7FFFFFFF, 0x3FFFFFFF]


def test_vectors_of_four(kernels):
    y = run(kernels["vectors"], np.arange(4, dtype=np.float32), *fresh(4, np.float32), block=(1,))[1]
    assert y.tolist() == [3, 2, 1, 0]


@schedules
def test_grids_and_blocks_of_three_axes(kernels, order):
    y, = run(kernels["geometry"], *fresh(2 * 3 * 4 * 24), grid=(2, 3, 4), block=(4, 3, 2), order=order)
    assert y.tolist() == [b * 1000 + t for b in range(24) for t in range(24)]


@schedules
def test_a_warps_barrier(kernels, order):
    y, = run(kernels["warps"], *fresh(64), block=(64,), order=order)
    assert y.tolist() == [t ^ 1 for t in range(64)]


# ---------------------------------------------------------------------------------------- mistakes

@schedules
@pytest.mark.parametrize("name, message", [
    ("divergent", r"divergent barrier: threads wait at __syncthreads on lines ({2}|{4}) and (?!\1)({2}|{4})"),
    ("early", r"line {2}: warp op waits for lane \d+, which has exited|deadlock.* in a warp op on line {2} "),
    ("stuck", r"deadlock: thread \d+ waits in a warp op on line {4} .*, thread \d+ at a barrier on line {2}"),
    ("absent", r"line {1}: lane \d+ calls a warp op with mask 000000ff that lacks it"),
    ("outside_mask", r"line {1}: shuffle reads lane 9, not in mask 000000ff"),
    ("two_kinds", r"line ({2}|{4}): lanes of one warp meet in different warp ops \(line (?!\1)({2}|{4}), "),
])
def test_mistakes_between_threads_are_named_with_their_lines(kernels, order, name, message):
    lines = re.sub(r"\{(\d)\}", lambda m: str(LINE[name] + int(m[1])), message)
    with pytest.raises(build.EmulatorError, match=rf"{name}, grid \(1,\), block \(32,\): .*({lines})"
                       .replace(r"\1", r"\2")):
        run(kernels[name], np.zeros(32, np.float32), np.int32(16), order=order)


@pytest.mark.parametrize("name, verb, lines", [
    ("write", "writes to", f"kernels.cu:{LINE['write'] + 2}"),
    ("read", "reads from", f"kernels.cu:{LINE['write'] - 2}, called in kernels.cu:{LINE['read'] + 2}")])
@pytest.mark.parametrize("n", [8, -(1 << 10), 100_000], ids=["one behind", "before", "far behind"])
def test_memory_outside_of_an_array(kernels, name, verb, lines, n):
    with pytest.raises(build.EmulatorError, match=(
            rf"{name}, grid \(2,\), block \(4,\): illegal memory access: {lines} {verb} 0x\w+ "
            r"\[block \(1,0,0\) thread \(3,0,0\)\]")):
        run(kernels[name], np.zeros(8, np.float32), np.int32(n), grid=(2,), block=(4,))
    run(kernels[name], np.zeros(8, np.float32), np.int32(7), grid=(2,), block=(4,))       # it can go on


def test_without_addr2line_only_the_line_is_missing(kernels, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.EmulatorError, match=r": an unknown line \(there is no addr2line\) writes to 0x\w+ \["):
        run(kernels["write"], np.zeros(8, np.float32), np.int32(8), grid=(2,), block=(4,))


def test_shared_memory_is_nan_until_it_is_written(kernels):
    """For every block anew."""
    for _ in range(2):
        y, = run(kernels["unwritten"], np.zeros(4, np.float32), np.int32(0), grid=(2,), shared=64)
        assert np.isnan(y).tolist() == [True, False, True, False] and y[1] == y[3] == 2


def test_shared_memory_is_found_however_it_is_declared(kernels):
    """Comments and texts are none; lines stay: an access on the last one is named."""
    y, = run(kernels["written_oddly"], np.zeros(5, np.float32), np.int32(4), block=(1,), shared=4)
    assert np.isnan(y).tolist() == [True, True, False, True, False] and y[2] == 2 and y[4] == ord("s")
    with pytest.raises(build.EmulatorError, match=rf"memory access: kernels.cu:{LINE['written_oddly'] + 9} writes"):
        run(kernels["written_oddly"], np.zeros(5, np.float32), np.int32(8), block=(1,), shared=4)


def test_shared_memory_of_a_function_is_each_kernels_own(kernels):
    for name in ("first", "second", "first"):
        assert np.isnan(run(kernels[name], np.zeros(1, np.float32), np.int32(0), grid=(2,), block=(1,))[0][0]), name


@pytest.mark.parametrize("declaration", ["__shared__ float;", "__shared__ float s[2], ;", "extern __shared__ float s;",
                                         "extern __shared__ float s[2];", "__shared__ float s[1] = {0};"])
def test_shared_memory_that_cannot_be_read_is_refused(declaration):
    with pytest.raises(build.EmulatorError, match=rf"cannot read {re.escape(repr(declaration))}: expected a type and"):
        build.rewritten(f"__global__ void a() {{ // one\n  {declaration} }}")


def test_shared_memory_in_a_header_is_refused(tmp_path):
    (tmp_path / "a.cuh").write_text("__device__ void a() { __shared__ float s[4]; }")
    with pytest.raises(build.EmulatorError, match=r"(?s)does not compile.*a.cuh:1:\d+: error: .*__shared__"):
        compiled(tmp_path, '#include "a.cuh"\n__global__ void b(float *y) { a(); }')


def test_shared_memory_has_limits(kernels):
    """48 KiB of static arrays, 227 KiB in all; not a byte more than was asked for, but for 15 of alignment."""
    zeros, line = np.zeros(1, np.float32), LINE["much"]
    run(kernels["much"], zeros, np.int32(0), block=(1,), shared=197 << 10)
    with pytest.raises(build.EmulatorError, match=rf"much.* line {line + 1}: 232464 bytes of shared memory, 201744 of "
                       "them dynamic, a block has at most 232448"):
        run(kernels["much"], zeros, np.int32(0), block=(1,), shared=(197 << 10) + 16)
    with pytest.raises(build.EmulatorError, match=rf"much.* line {line + 4}: 50176 bytes of static shared memory, a "
                       "block has at most 49152"):
        run(kernels["much"], zeros, np.int32(1), block=(1,))
    for shared in (1000, 100):
        run(kernels["beyond"], zeros, np.int32(shared // 4 - 1), block=(1,), shared=shared)
        with pytest.raises(build.EmulatorError, match=rf"illegal memory access: kernels.cu:{LINE['beyond'] + 2} reads"):
            run(kernels["beyond"], zeros, np.int32(-(-shared // 16) * 4), block=(1,), shared=shared)


@pytest.mark.parametrize("value, given", [(np.float32(1), "float32"), (np.int64(1), "int64"), (1.0, "float64"),
                                          (np.int16(1), "int16")])
def test_scalars_have_the_declared_type(kernels, value, given):
    with pytest.raises(build.EmulatorError, match=f"write: parameter 1 is 'i' of 4 bytes, got {given}"):
        run(kernels["write"], np.zeros(8, np.float32), value)


def test_arrays_have_the_declared_type(kernels):
    for array in (np.zeros(8), np.zeros(8, np.int32), np.zeros(8, np.float16)):
        with pytest.raises(build.EmulatorError, match=f"parameter 0 points to 'f', the array is {array.dtype}"):
            run(kernels["write"], array, np.int32(0))
    with pytest.raises(build.EmulatorError, match="parameter 0 is a pointer, got int"):
        run(kernels["write"], 3, np.int32(0))
    with pytest.raises(build.EmulatorError, match="write: 1 arguments for 2 parameters"):
        run(kernels["write"], np.zeros(8, np.float32))


def test_sizes_no_gpu_has(kernels):
    with pytest.raises(build.EmulatorError, match="block size out of range"):
        run(kernels["write"], np.zeros(8, np.float32), np.int32(0), block=(1025,))
    with pytest.raises(build.EmulatorError, match="bytes of shared memory, a block has at most 232,448"):
        run(kernels["write"], np.zeros(8, np.float32), np.int32(0), shared=(227 << 10) + 1)


def test_errors_of_the_compiler_are_shown_in_the_sources_lines(tmp_path):
    with pytest.raises(build.EmulatorError, match=r"(?s)kernels.cu does not compile:.*kernels.cu:2:\d+: error: .*mis"):
        compiled(tmp_path, "__global__ void a(float *x) {\n  x[0] = missing;\n}")
