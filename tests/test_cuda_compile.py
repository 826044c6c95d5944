"""Every CUDA source compiled for real GPUs, without one: what it needs, its machine code, and how CuPy is handed it."""
import json
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import tinycnn  # noqa: F401

compiler, launch, nvrtc, resources = (import_module(f"tinycnn.kernels.cuda.{name}")
                                      for name in ("compiler", "launch", "nvrtc", "resources"))
if nvrtc.installed("lib/libnvrtc.so*") is None or nvrtc.installed("bin/nvdisasm") is None:
    pytest.skip(f"compiling for GPUs needs NVRTC and nvdisasm: {nvrtc.CURE}", allow_module_level=True)
FILE, NAMES = "elementwise.cu", ("relu<float>", "relu_backward<float>")

VERSION = ".".join(map(str, nvrtc.getVersion()))
of_this_compiler = pytest.mark.skipif(resources.limits()["nvrtc"] != VERSION, reason=(
    f"limits.json is of NVRTC {resources.limits()['nvrtc']}, installed is {VERSION}: {nvrtc.CURE}"))


def problems(sources):
    """What is wrong with some files for all architectures."""
    found = resources.tables(sources, resources.ARCHS)
    return [text for (file, arch), (kernels, _) in found.items() for text in resources.beyond(file, arch, kernels)]


def needs(**changed):
    return resources.Needs(32, 0, 0, 0, ())._replace(**changed)


# ---------------------------------------------------------------------------------------- limits

@of_this_compiler
def test_one_file_keeps_its_limits():
    assert not problems([FILE])


@of_this_compiler
@pytest.mark.slow
def test_all_files_keep_their_limits():
    assert not problems(resources.files())


def test_there_are_limits_for_all_instances():
    limits = resources.limits()
    assert sorted(limits["kernels"]) == resources.files(), resources.WRITE
    for file, archs in limits["kernels"].items():
        assert tuple(archs) == resources.ARCHS
        for allowed in archs.values():
            assert set(allowed) == set(launch.instances(file)), resources.WRITE
            for registers, shared, *kinds in allowed.values():
                assert 0 < registers <= 255 and 0 <= shared <= 48 << 10 and set(kinds) <= set(resources.KINDS)
                assert not {"atomics", "local memory"} & set(kinds), file


@pytest.mark.parametrize("found, message", [
    ({"relu<float>": needs(registers=33)}, "33 registers, 0 bytes of shared memory; allowed are 32 and 0"),
    ({"relu<float>": needs(shared=4)}, "32 registers, 4 bytes of shared memory"),
    ({"relu<float>": needs(stack=8)}, "8 bytes of stack"),
    ({"relu<float>": needs(spills=16)}, "16 of spills"),
    ({"relu<float>": needs(kinds=("float64 arithmetic",))}, "has float64 arithmetic"),
    ({"relu<float>": needs(), "more<float>": needs()}, "more<float> has no limits: python -m tinycnn"),
    ({}, "relu<float> has limits, but is no kernel"),
])
def test_what_is_beyond_the_limits_is_named(monkeypatch, found, message):
    monkeypatch.setattr(resources, "limits", lambda: {"kernels": {FILE: {"sm_90": {"relu<float>": [32, 0]}}}})
    assert not resources.beyond(FILE, "sm_90", {"relu<float>": needs()})
    (wrong,) = resources.beyond(FILE, "sm_90", found)
    assert wrong.startswith("elementwise.cu sm_90: ") and message in wrong


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder for sources in place of kernels/cuda."""
    monkeypatch.setattr(compiler, "FOLDER", tmp_path)
    monkeypatch.setattr(launch, "FOLDER", tmp_path)
    return tmp_path


def test_needs_are_read_from_the_binary(sources):
    """Kernels made to have a stack, shared memory, and each kind of instruction."""
    (sources / "made.cu").write_text("""
        template <typename T> __global__ void plain(const T *x, T *y) { y[threadIdx.x] = x[threadIdx.x]; }
        template <typename T> __global__ void stack(T *y, int n) {
          T a[64];
          for (int i = 0; i < n; i++) a[i * 7 % 64] = y[i];
          y[0] = a[n % 64];
        }
        template <typename T> __global__ void sums(T *y) {
          __shared__ T s[256];
          s[threadIdx.x] = y[threadIdx.x];
          __syncthreads();
          atomicAdd(y, s[255 - threadIdx.x]);
        }
        template <typename T> __global__ void wide(const float4 *x, float4 *y) { y[threadIdx.x] = x[threadIdx.x]; }
        template <typename T> __global__ void copies(const T *x, T *y) {
          __shared__ alignas(16) T s[4];
          unsigned to = __cvta_generic_to_shared(s);
          asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" :: "r"(to), "l"(x));
          asm volatile("cp.async.wait_all;");
          y[threadIdx.x] = s[threadIdx.x];
        }
        template <typename T> __global__ void products(float *d, const unsigned *a) {
          asm volatile("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                       : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]));
        }""")
    names = [f"{name}<float>" for name in ("plain", "stack", "sums", "wide", "copies", "products")]
    binary = compiler.compiled("made.cu", names, "sm_80", nvrtc)
    kinds = resources.disassembled(binary.cubin)
    plain, stack, sums, wide, copies, products = (
        resources._needs(compiler.needs(binary.log, low), kinds[low]) for low in binary.lowered.values())
    assert 0 < plain.registers < 32 and plain[1:] == (0, 0, 0, ())
    assert stack.stack == 256 and stack.kinds == ("local memory",)
    assert sums.shared == 1024 and sums.kinds == ("atomics",)
    assert wide.kinds == ("16-byte loads", "16-byte stores")
    assert copies.kinds == ("asynchronous copies",) and products.kinds == ("tensor cores",)


def test_the_table_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compiler", "--arch", "sm_90", "--file", FILE])
    resources.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("elementwise.cu, ") and len(lines) == 2 + len(launch.instances(FILE))
    assert lines[2].split()[:2] == ["relu<float>", "sm_90"]


def test_limits_are_written_as_they_are_read(monkeypatch, tmp_path):
    """Those of other files stay, those of files that are gone go."""
    before = {**resources.limits()["kernels"], "gone.cu": {}}
    monkeypatch.setattr(resources, "LIMITS", tmp_path / "limits.json")
    resources.LIMITS.write_text(json.dumps({"kernels": before}))
    row = {"relu<float>": needs(registers=33, shared=8, kinds=("atomics",)), "b<float>": needs()}
    resources.write_limits({(FILE, arch): (row, 0.1) for arch in resources.ARCHS})
    after = resources.limits()["kernels"]
    assert after.pop(FILE) == dict.fromkeys(resources.ARCHS, {"relu<float>": [40, 8, "atomics"], "b<float>": [32, 0]})
    assert after == {file: archs for file, archs in before.items() if file not in (FILE, "gone.cu")}
    written = resources.LIMITS.read_text()
    assert '\n    "relu<float>": [40, 8, "atomics"],\n' in written


def test_without_the_compiler_the_cure_is_named(monkeypatch, capsys):
    monkeypatch.setattr(nvrtc, "installed", lambda pattern: None)
    monkeypatch.setattr(sys, "argv", ["compiler", "--file", FILE])
    nvrtc._library.cache_clear()
    try:
        with pytest.raises(SystemExit):
            resources.main()
    finally:
        nvrtc._library.cache_clear()
    assert "pip install 'tinycnn[cuda-compile]'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- CuPy

def test_cupys_nvrtc_makes_the_same_binary():
    """Complete, although CuPy takes the last byte for the end of a text."""
    theirs = pytest.importorskip("cupy", reason="CuPy is not installed").cuda.nvrtc
    if theirs.getVersion() != nvrtc.getVersion():
        pytest.skip(f"CuPy has NVRTC {theirs.getVersion()}")
    a, b = (compiler.compiled(FILE, NAMES, "sm_90", module) for module in (nvrtc, theirs))
    assert b.cubin in (a.cubin, a.cubin[:-1]) and a.lowered == b.lowered
    assert resources.disassembled(a.cubin) == resources.disassembled(b.cubin)      # refuses one that is cut short
    with pytest.raises(subprocess.CalledProcessError):
        resources.disassembled(a.cubin[:-2])


def test_small_numbers_are_kept():
    """No -ftz: 1e-40 in float32 is not 0."""
    assert not [o for o in compiler.options("sm_90") if "ftz" in o or "fast" in o]


class DriverError(Exception):
    pass


class FakeKernel:
    """A RawKernel of a GPU that allows 100 KiB of shared memory and 1024 threads."""

    def __init__(self, name, asked):
        self.__dict__.update(name=name, asked=asked, calls=[], kernel=self)

    def __setattr__(self, name, value):
        assert name == "max_dynamic_shared_size_bytes"
        if value > 100 << 10:
            raise DriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self.asked.append(value)

    def __call__(self, grid, block, values, shared):
        if np.prod(block) > 1024:
            raise DriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self.calls.append((grid, block, values, shared))


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """CuPy's functions that are used, without a GPU: the compiler is real, launches are noted."""
    made, loaded, asked = [], [], []

    def raw_module(path):
        with open(path, "rb") as file:
            assert file.read(4) == b"\x7fELF"
        loaded.append(path)

        def get_function(name):
            made.append(FakeKernel(name, asked))
            return made[-1]
        return SimpleNamespace(get_function=get_function)
    cuda = SimpleNamespace(nvrtc=nvrtc, driver=SimpleNamespace(CUDADriverError=DriverError),
                           Device=lambda: SimpleNamespace(compute_capability="90"))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda, RawModule=raw_module))
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cache"))
    return SimpleNamespace(kernels=made, loaded=loaded, asked=asked)


def test_a_binary_is_compiled_once_for_all_processes(gpu, monkeypatch):
    first = compiler.for_cupy(FILE, NAMES)
    monkeypatch.setattr(compiler, "compiled", lambda *_: pytest.fail("compiled again"))
    assert list(compiler.for_cupy(FILE, NAMES)) == list(first) == list(NAMES)
    assert gpu.loaded[0] == gpu.loaded[1]
    assert [k.name for k in gpu.kernels[:2]] == [k.name for k in gpu.kernels[2:]]
    assert gpu.kernels[0].name.startswith("_Z4relu")


def test_other_sources_headers_or_compilers_are_other_binaries(gpu, sources, monkeypatch):
    (sources / "a.cu").write_text('#include "a.cuh"\ntemplate <typename T> __global__ void a(T *x) { *x = VALUE; }')
    paths = []
    for header, version in (("#define VALUE 1", (13, 5)), ("#define VALUE 2", (13, 5)), ("#define VALUE 2", (13, 6))):
        (sources / "a.cuh").write_text(header)
        monkeypatch.setattr(nvrtc, "getVersion", lambda version=version: version)
        paths.append(compiler.cached("a.cu", ("a<float>",), "sm_90", nvrtc)[0])
    paths.append(compiler.cached("a.cu", ("a<float>",), "sm_80", nvrtc)[0])
    paths.append(compiler.cached("a.cu", ("a<double>",), "sm_80", nvrtc)[0])
    assert len(set(paths)) == 5
    assert len({p.read_bytes() for p in paths}) == 4                 # both 13.5 and 13.6 are one compiler here


def test_launches_hand_over_null_pointers_and_ask_for_shared_memory(gpu):
    run = compiler.for_cupy(FILE, NAMES)["relu<float>"]
    kernel = gpu.kernels[0]
    run((2,), (256,), (np.float32(1), None), 0)
    run((2,), (256,), (), 48 << 10)
    assert not gpu.asked
    for shared in (60 << 10, 50 << 10, 64 << 10):
        run((2,), (256,), (), shared)
    assert gpu.asked == [60 << 10, 64 << 10]
    (grid, block, (number, null), shared), *_ = kernel.calls
    assert (grid, block, number, shared) == ((2,), (256,), 1, 0)
    assert null is None                              # which CuPy 14 makes a null pointer


def test_a_refused_launch_says_whose_it_was(gpu):
    run = compiler.for_cupy(FILE, NAMES)["relu<float>"]
    with pytest.raises(RuntimeError, match=r"relu<float>, grid \(3,\), block \(2048,\), 0 bytes of dynamic shared "
                       r"memory: CUDA_ERROR_INVALID_VALUE.*0 bytes stack frame.*Used \d+ registers"):
        run((3,), (2048,), (), 0)
    for _ in range(2):                               # and is refused again
        with pytest.raises(RuntimeError, match="204800 bytes of dynamic shared memory"):
            run((3,), (256,), (), 200 << 10)


def test_errors_in_a_source_are_shown(gpu, sources):
    (sources / "a.cu").write_text("template <typename T>\n__global__ void a(T *x) { y = 1; }")
    with pytest.raises(compiler.CompileError, match=r'(?s)a.cu does not compile for sm_90.*a.cu\(2\).*"y" is undef'):
        compiler.for_cupy("a.cu", ("a<float>",))
