"""kernels/cuda/cublas.py against a library that notes down what it is called with: there is no cuBLAS without a GPU."""
import ctypes
import shutil
import subprocess
from importlib import import_module

import pytest

SOURCE = """
#include <cstring>
typedef long long L;
static L said[32];
static int answers;
extern "C" {
const L* heard() { return said; }
void answer(int status) { answers = status; }
int cublasSetStream_v2(void* handle, void* stream) { said[0] = (L)handle, said[1] = (L)stream; return 0; }
int cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int At, int lda,
                 const void* B, int Bt, int ldb, const void* beta, void* C, int Ct, int ldc, int compute, int algo) {
  L now[] = {(L)h, ta, tb, m, n, k, (L)alpha, (L)A, At, lda, (L)B, Bt, ldb, (L)beta, (L)C, Ct, ldc, compute, algo};
  memcpy(said + 2, now, sizeof now);
  return answers;
}
int cublasGemmStridedBatchedEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int At,
                               int lda, L sa, const void* B, int Bt, int ldb, L sb, const void* beta, void* C, int Ct,
                               int ldc, L sc, int batch, int compute, int algo) {
  L now[] = {(L)h, ta, tb, m, n, k, (L)alpha, (L)A, At, lda, sa, (L)B, Bt, ldb, sb, (L)beta, (L)C, Ct, ldc, sc, batch,
             compute, algo};
  memcpy(said + 2, now, sizeof now);
  return answers;
}
}
"""                                                  # as cublas_api.h declares them
HANDLE, STREAM = 1 << 41, 1 << 42


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("the stand-in for cuBLAS is C++: needs g++")
    folder = tmp_path_factory.mktemp("cublas")
    (folder / "stub.cpp").write_text(SOURCE)
    subprocess.run(["g++", "-shared", "-fPIC", "-o", folder / "stub.so", folder / "stub.cpp"], check=True)
    library = ctypes.CDLL(str(folder / "stub.so"))
    library.heard.restype = ctypes.POINTER(ctypes.c_longlong)
    return library


@pytest.fixture
def cublas(stub):
    stub.answer(0)
    return import_module("tinycnn.kernels.cuda.cublas").Library(stub, lambda: HANDLE, lambda: STREAM)


# handle, transa, transb, m, n, k, alpha, (A, type, lda, stride), (B, ...), beta, (C, ...), batch, compute, algo
SINGLE = [HANDLE, 1, 0, 3, 4, 5, 1 << 43, 1 << 44, 2, 6, 1 << 45, 14, 7, 1 << 46, 1 << 47, 0, 8, 77, -1]
BATCHED = [HANDLE, 1, 0, 3, 4, 5, 1 << 43, 1 << 44, 2, 6, 1 << 33, 1 << 45, 14, 7, 1 << 34, 1 << 46, 1 << 47, 0, 8,
           1 << 35, 9, 77, -1]


@pytest.mark.parametrize("name, arguments", [("gemmEx", SINGLE), ("gemmStridedBatchedEx", BATCHED)])
def test_every_argument_arrives_on_the_stream_of_now(stub, cublas, name, arguments):
    getattr(cublas, name)(cublas.handle(), *arguments[1:])
    assert stub.heard()[:2 + len(arguments)] == [HANDLE, STREAM, *arguments]


@pytest.mark.parametrize("name, arguments", [("gemmEx", SINGLE), ("gemmStridedBatchedEx", BATCHED)])
def test_a_status_that_is_not_zero_raises(stub, cublas, name, arguments):
    stub.answer(13)
    with pytest.raises(RuntimeError, match=r"cublasGemm(StridedBatched)?Ex\(.*: cuBLAS answers with status 13"):
        getattr(cublas, name)(*arguments)


def test_the_arguments_are_those_of_cupys_binding_and_the_emulators():
    emulator = import_module("tinycnn.kernels.emulator.cublas")
    kinds = import_module("tinycnn.kernels.cuda.cublas").ARGUMENTS
    for name, there in (("gemmEx", "cublasGemmEx"), ("gemmStridedBatchedEx", "cublasGemmStridedBatchedEx")):
        assert getattr(emulator, name).__code__.co_argcount == len(kinds[there])
