"""The gradient of a convolution with respect to its weights: the patches of the input, transposed, times gy.

    gw[tap, c, o]  =  sum over pixels   x[the pixel that the tap meets, c] * gy[pixel, o]

        x, of a block of pixels              gy
        +---------------------+              +--------+
        | pixel 0 | tap 0, c  |              | pixel 0|           6 rows (tap, c) x 64 columns (o) of gw
        | pixel 1 | tap 0, c  |  transposed  | pixel 1|     -->   stay in registers while a block of
        | ...     | ...       |      @       | ...    |           pixels goes by
        +---------------------+              +--------+

Both blocks are copied first, next to each other in the second cache; where a tap meets the border, zeros.  That costs a
vector's copy for every 30 of its products, and spares the reads far apart that a column of x would take.

    memory     x and gy channels last, where they are; 128 pixels and up to 384 rows of x, 128 columns of gy at a time
    parallel   over strips of rows, panels of output channels, and groups; where these are few, over parts of the
               pixels, added up in order.  All cuts depend on the shapes alone
    work       2 * N*OH*OW * O * C/G*KH*KW FLOPs
"""
import numpy as np

from .microkernel import ROWS, WIDE, tiles
from .panels import aligned, move_filled, odd_lines, panel_vectors, room_for
from .threads import inside, mine, parallel
from .vector import BYTES, distance

STRIP, PIXELS, COLUMNS, TASKS = 384, 128, 128, 8


def patches_times(x, image, inside, ys, xs, gy, groups, columns, out=None):
    """(groups, taps * inside, columns filled up to whole vectors): sums over all pixels of x times gy, for each tap.

    x, gy    flat arrays; `image` (correlate.py) says where the pixels of x lie, gy is (pixels, groups * columns)
    inside   how many numbers of x, from the first channel of a group on, belong to it
    out      where the result may be written, if its columns are whole vectors
    """
    rows, room, pixels = len(ys.offsets) * len(xs.offsets) * inside, room_for(columns, x.dtype), \
        image.N * ys.count * xs.count
    strips = -(-rows // STRIP)
    strip = -(-rows // (strips * ROWS)) * ROWS
    blocks = -(-room // COLUMNS)
    parts = max(1, min(TASKS // (strips * blocks * groups), pixels // PIXELS))
    fits = out is not None and parts == 1 and room == columns
    sums = out if fits else aligned(parts * groups * rows * room, x.dtype)
    _patches_times(x, image, inside, ys, xs, gy, groups, columns, room, strip, parts, np.zeros(inside, x.dtype), sums)
    sums = sums.reshape(parts, groups, rows, room)
    for part in sums[1:]:
        sums[0] += part
    return sums[0]


@inside
def _copy_patches(x, image, inside, ys, xs, g, p0, count, r0, rows, apart, nothing, out):
    """Rows r0 ... of the patches of pixels p0 ...: out (count, apart)."""
    for r in range(0, rows):
        tap, c = (r0 + r) // inside, (r0 + r) % inside
        if r > 0 and c > 0:
            continue                                 # one tap's channels at a time
        few = min(inside - c, rows - r)
        dy, dx = ys.offsets[tap // len(xs.offsets)], xs.offsets[tap % len(xs.offsets)]
        n, a, b = p0 // xs.count // ys.count, p0 // xs.count % ys.count, p0 % xs.count
        for p in range(count):
            y, x_ = a * ys.step + dy, b * xs.step + dx
            at = ((n * image.H + y) * image.W + x_) * image.C + g * image.group + c
            met = 0 <= y < image.H and 0 <= x_ < image.W
            move_filled(out, p * apart + r, x, at if met else nothing, few)     # its zeros lie where the next tap goes
            b += 1
            if b == xs.count:
                b, a = 0, a + 1
                if a == ys.count:
                    a, n = 0, n + 1


@inside
def _copy_columns(gy, at, count, apart, columns, width, out):
    """`columns` numbers from each of so many pixels, filled up to the width: out (count, width)."""
    for p in range(count):
        move_filled(out, p * width, gy, at + p * apart, columns)


@parallel
def _patches_times(thread, x, image, inside, ys, xs, gy, groups, columns, room, strip, parts, border, sums):
    rows, pixels = len(ys.offsets) * len(xs.offsets) * inside, image.N * ys.count * xs.count
    vector = BYTES // x.itemsize
    nothing = distance(x, border)
    strips, blocks = (rows + strip - 1) // strip, (room + COLUMNS - 1) // COLUMNS
    apart = odd_lines(strip + vector, x.itemsize)    # room for the zeros behind the last tap
    for task in mine(thread, parts * groups * blocks * strips):
        r0, block = task % strips * strip, task // strips % blocks
        g, part = task // strips // blocks % groups, task // strips // blocks // groups
        few = min(strip, rows - r0)
        lines = (few + ROWS - 1) // ROWS * ROWS
        patches, gradients = np.empty(PIXELS * apart, x.dtype), np.empty(PIXELS * WIDE * vector, x.dtype)
        zeros = np.zeros(WIDE * vector, x.dtype)
        table, places, none = np.empty(lines, np.int64), np.empty(lines, np.int64), np.zeros(1, np.int64)
        for m in range(lines):
            table[m] = min(m, few - 1)
            places[m] = ((part * groups + g) * rows + r0 + table[m]) * room
        last = (part + 1) * pixels // parts
        for p0 in range(part * pixels // parts, last, PIXELS):
            count, fresh = min(PIXELS, last - p0), p0 == part * pixels // parts
            _copy_patches(x, image, inside, ys, xs, g, p0, count, r0, few, apart, nothing, patches)
            n0 = block * COLUMNS
            while n0 < min(room, (block + 1) * COLUMNS):
                width = panel_vectors(room - n0, vector)
                NR = width * vector
                _copy_columns(gy, (p0 * groups + g) * columns + n0, count, groups * columns, min(NR, columns - n0), NR,
                              gradients)
                tiles(sums, n0, places, 0, few, NR, width, zeros, 0, fresh,
                      sums.dtype.type(-np.inf), patches, 0, table, lines, none, 1, count, apart, gradients, 0, none)
                n0 += NR
