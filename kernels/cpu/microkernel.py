"""The innermost loop of every matrix product and convolution: a tile of the result, kept in registers.

    C[MR, NR]  (+)=  A[MR, K] @ B[K, NR]          NR = NV vectors of L numbers

                      B, one row of a panel:  |  L  |  L  |  L  |  L  |      NV loads, used MR times
    A, one column:                            +-----+-----+-----+-----+
      a[0] --broadcast-->                     | acc | acc | acc | acc |
      a[1] --broadcast-->                     | acc | acc | acc | acc |      MR * NV accumulators: they never
      ...                                     |     |     |     |     |      leave the registers until k = K
      a[5] --broadcast-->                     | acc | acc | acc | acc |

Per step k: NV + MR loads for MR * NV fused multiply-adds, so that the two multipliers of a core and not its loads are
the limit.  The compiler does not find this tiling in ordinary loops (it reaches a fifth of the peak); so the tile is
spelled out here as vector code, by a generator of fifty lines, for any number of rows and vectors and both dtypes.

    layout     c, b: flat C-order arrays, B packed into panels of NR columns (`panels`), padded with zeros
               a: flat, element (m, k) at a_at + m*rs + k*cs: rows or columns of a matrix alike
    parallel   no: one tile by one thread
"""
import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic


def _vector_bytes():
    """64 with AVX-512, 32 with AVX, else 16: what one register of this machine holds."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


BYTES = _vector_bytes()
WIDE_MR, WIDE_NV = (6, 4) if BYTES == 64 else (6, 2)     # 24 of 32 registers, or 12 of 16
NARROW_MR = 12                                           # by one vector: for few output channels
ROWS = 12                                                # a multiple of both


def _tile(MR, NV):
    """The generator: an intrinsic that emits one MR x NV tile of vector code."""

    @intrinsic
    def tile(typingctx, c, c_at, ldc, a, a_at, rs, cs, K, b, b_at, keep):
        sig = types.void(c, *[types.intp] * 2, a, *[types.intp] * 4, b, types.intp, types.boolean)

        def emit(context, builder, signature, args):
            c, c_at, ldc, a, a_at, rs, cs, K, b, b_at, keep = args
            element = context.get_value_type(c_type.dtype)
            size = c_type.dtype.bitwidth // 8
            lanes = BYTES // size
            vector = ir.VectorType(element, lanes)
            name = f"llvm.fma.v{lanes}f{8 * size}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            data = [context.make_array(t)(context, builder, v).data for t, v in ((c_type, c), (a_type, a), (b_type, b))]

            def address(base, at, kind):
                return builder.bitcast(builder.gep(base, [at]), kind.as_pointer())

            def index(k):
                return context.get_constant(types.intp, k)

            def load(at, j, base):
                return builder.load(address(base, builder.add(at, index(j * lanes)), vector), align=size)

            rows_c = [builder.add(c_at, builder.mul(index(m), ldc)) for m in range(MR)]
            rows_a = [builder.add(a_at, builder.mul(index(m), rs)) for m in range(MR)]
            acc = [[cgutils.alloca_once(builder, vector) for _ in range(NV)] for _ in range(MR)]
            for m in range(MR):
                for j in range(NV):
                    builder.store(ir.Constant(vector, [0.0] * lanes), acc[m][j])
            with builder.if_then(keep):
                for m in range(MR):
                    for j in range(NV):
                        builder.store(load(rows_c[m], j, data[0]), acc[m][j])
            with cgutils.for_range(builder, K) as loop:
                row = builder.add(b_at, builder.mul(loop.index, index(NV * lanes)))
                bs = [load(row, j, data[2]) for j in range(NV)]
                step = builder.mul(loop.index, cs)
                for m in range(MR):
                    scalar = builder.load(builder.gep(data[1], [builder.add(rows_a[m], step)]))
                    spread = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
                    spread = builder.shuffle_vector(spread, ir.Constant(vector, ir.Undefined),
                                                    ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))
                    for j in range(NV):
                        builder.store(builder.call(fma, [spread, bs[j], builder.load(acc[m][j])]), acc[m][j])
            for m in range(MR):
                for j in range(NV):
                    place = address(data[0], builder.add(rows_c[m], index(j * lanes)), vector)
                    builder.store(builder.load(acc[m][j]), place, align=size)
            return context.get_dummy_value()
        c_type, a_type, b_type = c, a, b
        return sig, emit
    return tile


@intrinsic
def move(typingctx, out, at, source, start, vectors):
    """Copy so many whole vectors, from source[start] to out[at]: what an ordinary loop does slowly for short runs."""
    sig = types.void(out, types.intp, source, types.intp, types.intp)
    out_type, source_type = out, source

    def emit(context, builder, signature, args):
        out, at, source, start, vectors = args
        size = out_type.dtype.bitwidth // 8
        vector = ir.VectorType(context.get_value_type(out_type.dtype), BYTES // size)
        arrays = ((out_type, out), (source_type, source))
        to, base = (context.make_array(t)(context, builder, v).data for t, v in arrays)
        with cgutils.for_range(builder, vectors) as loop:
            step = builder.mul(loop.index, context.get_constant(types.intp, BYTES // size))
            value, place = (builder.bitcast(builder.gep(p, [builder.add(i, step)]), vector.as_pointer())
                            for p, i in ((base, start), (to, at)))
            builder.store(builder.load(value, align=size), place, align=size)
        return context.get_dummy_value()
    return sig, emit


wide = _tile(WIDE_MR, WIDE_NV)
narrow = _tile(NARROW_MR, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def tiles(c, c_at, ldc, a, a_at, rs, cs, rows, K, b, b_at, NR, keep):
    """c (rows, NR) (+)= a (rows, K) @ one panel of b, tile by tile; rows is a multiple of ROWS."""
    if NR * c.itemsize == BYTES:
        for m in range(0, rows, NARROW_MR):
            narrow(c, c_at + m * ldc, ldc, a, a_at + m * rs, rs, cs, K, b, b_at, keep)
    else:
        for m in range(0, rows, WIDE_MR):
            wide(c, c_at + m * ldc, ldc, a, a_at + m * rs, rs, cs, K, b, b_at, keep)


def panel_width(columns, dtype):
    """How many columns the panels of a matrix with so many columns have: a wide tile's, or one vector."""
    lanes = BYTES // np.dtype(dtype).itemsize
    full = lanes * WIDE_NV
    waste = -(-columns // full) * full - columns
    return full if waste <= full // 4 or columns > 4 * full else lanes


def panels(b):
    """(G, K, columns) with any strides -> (G, panels, K, NR) in C order, the last panel padded with zeros."""
    G, K, columns = b.shape
    NR = panel_width(columns, b.dtype)
    whole = columns // NR
    out = np.empty((G, -(-columns // NR), K, NR), b.dtype)
    out[:, :whole] = b[:, :, :whole * NR].reshape(G, K, whole, NR).transpose(0, 2, 1, 3)
    if whole * NR < columns:
        out[:, whole] = 0
        out[:, whole, :, :columns - whole * NR] = b[:, :, whole * NR:]
    return out
