"""The innermost loop of every matrix product and convolution: a tile of the result, kept in registers.

    C[MR, NR] = start[NR] or C + A[MR, K] @ B[K, NR]          NR = NV vectors of L numbers

                      B, one row:             |  L  |  L  |  L  |  L  |      NV loads, used MR times
    A, one column:                            +-----+-----+-----+-----+
      a[0] --broadcast-->                     | acc | acc | acc | acc |
      a[1] --broadcast-->                     | acc | acc | acc | acc |      MR * NV accumulators: they never
      ...                                     |     |     |     |     |      leave the registers until k = K
      a[5] --broadcast-->                     | acc | acc | acc | acc |

Per step k: NV + MR loads for MR * NV fused multiply-adds, so that the two multipliers of a core and not its loads are
the limit.  The compiler does not find this tiling in ordinary loops (it reaches a fifth of the peak).

A is never copied.  Its K columns are T runs of `run` numbers, and `table` says where the runs of each row begin (with
ld = 0 all rows have theirs alike, a_runs apart):

    element (m, t*run + i)   at   a[a_at + table[t*ld + m] + a_runs[t] + i*a_step]

                         t = 0                 t = 1                 t = T - 1
    row m of A      [====== run ======]   [====== run ======] ... [====== run ======]
                    ^ table[0*ld + m]     ^ table[1*ld + m] + a_runs[1]

A matrix has one run, its row.  The patch of a convolution has one for each tap: the channels of a pixel (conv.py).  The
runs of a gradient of weights are rows of pixels.

    layout     flat arrays; row m of C at c[c_at + places[m]], row (t, i) of B at b[b_at + b_rows[t] + i*NR].  `fresh`:
               the sums start from start[start_at:] (a bias, or zeros), else from what C holds.  Only the first
               `columns` of a row of C are read and written.  `least`: what the results are raised to (0: a ReLU)
    parallel   no: one tile by one thread
    work       2 * MR * NR * K FLOPs; 4 bytes * (MR + NR) * K from the first two caches
"""

from .launch import inside
from .vector import REGISTERS, vector_code

WIDE, HALF, ONE = (4, 2, 1) if REGISTERS == 32 else (2, 1, 1)    # vectors in a panel of B
WIDE_ROWS = 6                                            # of the widest tile
ROWS = 12                                                # a multiple of the rows of every tile
UNROLL = 2


def _tile(MR, NV):
    """The generator: a function that computes one tile of MR rows and NV vectors."""

    @vector_code("c", "c_at", "places", "m0", "columns", "start", "start_at", "fresh", "least", "a", "a_at", "table",
                 "ld", "a_runs", "T", "run", "a_step", "b", "b_at", "b_rows")
    def tile(v, a):
        shifts = [j * v.lanes for j in range(NV)]
        masks = [v.below(a.columns, shift) for shift in shifts]
        rows = [v.sum(a.c_at, v.element(a.places, v.plus(a.m0, m))) for m in range(MR)]
        sums = {}
        for m in range(MR):
            begin = v.choose(a.fresh, v.moved(a.start, a.start_at), v.moved(a.c, rows[m]))
            for j in range(NV):
                sums[m, j] = v.variable(v.load_some(begin, v.number(shifts[j]), masks[j]))

        def column(origins, along, row_at):
            """Add one column of A times one row of B."""
            row = [v.load(a.b, v.plus(row_at, shift)) for shift in shifts]
            for m in range(MR):
                factor = v.spread(origins[m], along)
                for j in range(NV):
                    sums[m, j].set(v.fma(factor, row[j], sums[m, j].get()))

        with v.loop(a.T) as t:
            places = v.sum(a.m0, v.times(t, a.ld))
            begin = v.sum(a.a_at, v.element(a.a_runs, t))
            origins = [v.moved(a.a, v.sum(begin, v.element(a.table, v.plus(places, m)))) for m in range(MR)]
            first = v.sum(a.b_at, v.element(a.b_rows, t))
            several, NR = v.quotient(a.run, UNROLL), NV * v.lanes
            with v.loop(several) as i:
                i = v.times(v.opaque(i), v.number(UNROLL))
                along, row_at = v.times(i, a.a_step), v.sum(first, v.times(i, v.number(NR)))
                for u in range(UNROLL):
                    column(origins, along, v.plus(row_at, u * NR))
                    along = v.sum(along, a.a_step)
            done = v.times(several, v.number(UNROLL))
            with v.loop(v.difference(a.run, done)) as i:
                i = v.sum(done, v.opaque(i))
                column(origins, v.times(i, a.a_step), v.sum(first, v.times(i, v.number(NR))))

        least = v.everywhere(a.least)
        results = {place: v.at_least(total.get(), least) for place, total in sums.items()}
        with v.either(v.reaches(a.columns, NV * v.lanes)) as (whole, partial):
            with whole:                              # stores through a mask take some processors a dozen cycles
                for (m, j), result in results.items():
                    v.store(result, a.c, v.plus(rows[m], shifts[j]))
            with partial:
                for (m, j), result in results.items():
                    v.store_some(result, a.c, v.plus(rows[m], shifts[j]), masks[j])
    return tile


NARROW_ROWS = 12 if REGISTERS == 32 else 6               # of the narrower tiles; with 12 pointers 16 registers overflow
_wide, _half, _one = _tile(WIDE_ROWS, WIDE), _tile(NARROW_ROWS, HALF), _tile(NARROW_ROWS, ONE)


@inside
def tiles(c, c_at, places, m0, M, columns, width, start, start_at, fresh, least, a, a_at, table, ld, a_runs, T, run,
          a_step, b, b_at, b_rows):
    """Rows m0 ... m0 + M - 1 of C from a panel of B that is `width` vectors wide, tile by tile.

    `places` and each line of `table` go on to a multiple of ROWS, repeating the last entry: then the last tile works
    its last row out more than once.
    """
    if width == WIDE:
        for m in range(m0, m0 + M, WIDE_ROWS):
            _wide(c, c_at, places, m, columns, start, start_at, fresh, least, a, a_at, table, ld, a_runs, T, run,
                  a_step, b, b_at, b_rows)
    elif width == HALF:
        for m in range(m0, m0 + M, NARROW_ROWS):
            _half(c, c_at, places, m, columns, start, start_at, fresh, least, a, a_at, table, ld, a_runs, T, run,
                  a_step, b, b_at, b_rows)
    else:
        for m in range(m0, m0 + M, NARROW_ROWS):
            _one(c, c_at, places, m, columns, start, start_at, fresh, least, a, a_at, table, ld, a_runs, T, run,
                 a_step, b, b_at, b_rows)
