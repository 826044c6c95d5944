"""The innermost loop of every matrix product and convolution: a tile of the result, kept in registers.

    C[MR, NR] = start[NR] or C + A[MR, K] @ B[K, NR]          NR = NV vectors of L numbers

                      B, one row:             |  L  |  L  |  L  |  L  |      NV loads, used MR times
    A, one column:                            +-----+-----+-----+-----+
      a[0] --broadcast-->                     | acc | acc | acc | acc |
      a[1] --broadcast-->                     | acc | acc | acc | acc |      MR * NV accumulators: they never
      ...                                     |     |     |     |     |      leave the registers until k = K
      a[5] --broadcast-->                     | acc | acc | acc | acc |

Per step k: NV + MR loads for MR * NV fused multiply-adds, so that the two multipliers of a core and not its loads are
the limit.  The compiler does not find this tiling in ordinary loops (it reaches a fifth of the peak); so the tile is
spelled out here as vector code, by a generator of fifty lines, for any number of rows and vectors and both dtypes.

A is never copied: its element (m, k) lies at a[rows[m] + steps[k]], for two tables of offsets.  A matrix has
rows[m] = m * (row length), steps[k] = k; its transpose has them exchanged; the patches of a convolution have the place
of output pixel m in the one and the place of tap and channel k in the other (conv.py).

The depthwise tile differs in one line: A's element is a vector, too, one number per channel, instead of a broadcast.

    layout     flat arrays; row m of C at c[c_at + places[q0 + m]], row k of B at b[b_at + k*ldb].  `fresh`: the sums
               start from start[start_at:] (a bias, or zeros), else from what C holds (the sum so far)
    parallel   no: one tile by one thread
"""
import llvmlite.binding as llvm
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
NARROW_MR = 12                                           # by one vector: for few columns
ROWS = 12                                                # a multiple of both


def _tile(MR, NV, depthwise=False):
    """The generator: an intrinsic that emits one MR x NV tile of vector code."""

    @intrinsic
    def tile(typingctx, c, c_at, places, q0, start, start_at, fresh, a, a_at, rows, m0, steps, k0, K, b, b_at, ldb):
        number, dtype = types.intp, c.dtype
        sig = types.void(c, number, places, number, start, number, types.boolean, a, number, rows, number, steps,
                         number, number, b, number, number)

        def emit(context, builder, signature, args):
            c, places, start, a, rows, steps, b = (
                context.make_array(t)(context, builder, v).data
                for t, v in zip(signature.args, args) if isinstance(t, types.Array))
            c_at, q0, start_at, fresh, a_at, m0, k0, K, b_at, ldb = (
                v for t, v in zip(signature.args, args) if not isinstance(t, types.Array))
            size = dtype.bitwidth // 8
            lanes = BYTES // size
            vector = ir.VectorType(context.get_value_type(dtype), lanes)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{8 * size}")
            undefined = ir.Constant(vector, ir.Undefined)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)

            def plus(at, n):
                return builder.add(at, context.get_constant(number, n))

            def element(array, at):
                return builder.load(builder.gep(array, [at]))

            def place(array, at):
                return builder.bitcast(builder.gep(array, [at]), vector.as_pointer())

            def load(array, at):
                return builder.load(place(array, at), align=size)

            def spread(array, at):
                one = builder.insert_element(undefined, element(array, at), ir.IntType(32)(0))
                return builder.shuffle_vector(one, undefined, zeros)

            at_c = [builder.add(c_at, element(places, plus(q0, m))) for m in range(MR)]
            at_a = [builder.add(a_at, element(rows, plus(m0, m))) for m in range(MR)]
            tile = [(m, j, plus(at_c[m], j * lanes), cgutils.alloca_once(builder, vector))
                    for m in range(MR) for j in range(NV)]
            for _, j, at, acc in tile:
                begin = builder.select(fresh, place(start, plus(start_at, j * lanes)), place(c, at))
                builder.store(builder.load(begin, align=size), acc)
            with cgutils.for_range(builder, K) as loop:
                step = element(steps, builder.add(k0, loop.index))
                row = builder.add(b_at, builder.mul(loop.index, ldb))
                bs = [load(b, plus(row, j * lanes)) for j in range(NV)]
                for m, j, _, acc in tile:
                    if j == 0:
                        factor = (load if depthwise else spread)(a, builder.add(at_a[m], step))
                    builder.store(builder.call(fma, [factor, bs[j], builder.load(acc)]), acc)
            for _, _, at, acc in tile:
                builder.store(builder.load(acc), place(c, at), align=size)
            return context.get_dummy_value()
        return sig, emit
    return tile


wide = _tile(WIDE_MR, WIDE_NV)
narrow = _tile(NARROW_MR, 1)
vectors = _tile(NARROW_MR, 1, depthwise=True)


@njit(cache=True, nogil=True, error_model="numpy")
def tiles(c, c_at, places, q0, start, start_at, fresh, a, a_at, rows, m0, M, steps, k0, K, b, b_at, ldb, NR, each):
    """M rows of C from one panel of B, tile by tile; the tables go on to a multiple of ROWS, repeating the last entry:
    then the last tile works its last row out more than once.  `each`: depthwise."""
    if each:
        for m in range(0, M, NARROW_MR):
            vectors(c, c_at, places, q0 + m, start, start_at, fresh, a, a_at, rows, m0 + m, steps, k0, K, b, b_at, ldb)
    elif NR * c.itemsize == BYTES:
        for m in range(0, M, NARROW_MR):
            narrow(c, c_at, places, q0 + m, start, start_at, fresh, a, a_at, rows, m0 + m, steps, k0, K, b, b_at, ldb)
    else:
        for m in range(0, M, WIDE_MR):
            wide(c, c_at, places, q0 + m, start, start_at, fresh, a, a_at, rows, m0 + m, steps, k0, K, b, b_at, ldb)
