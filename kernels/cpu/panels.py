"""Weights in the order in which the micro-kernel reads them, and back.

    weights, as users see them                  panels: for each step k of the sum, a row of NR output channels
    o = 0:  c0 [t0 ... t8]  c1 [t0 ... t8] ..       k = (t0, c0)   o0 o1 o2 ... o63
    o = 1:  c0 [t0 ... t8]  c1 [t0 ... t8] ..  -->  k = (t0, c1)   o0 o1 o2 ... o63
    ...                                             ...

It is a transposition, for squares of vectors done in registers: lanes loads, shuffles, lanes stores.  The last panels
are 32 or 16 channels wide, and filled up with zeros.

    memory     panels follow each other; every row begins at a vector's boundary
    parallel   over groups, panels, and pieces of their rows
    bound by   memory: weights are read once and written once
"""
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from .layout import address
from .microkernel import HALF, ONE, WIDE
from .threads import inside, mine, parallel
from .vector import BYTES, distance, lanes, vector_code

PIECE = 16                                           # squares, or rows, of one task
LINE = 64                                            # bytes of a cache line


class Panels(NamedTuple):
    """The weights: row k of the panel of columns n0 ... of group g at data[(g*columns + n0)*K + k*width]."""
    data: np.ndarray
    K: int
    groups: int
    columns: int


@register_jitable
def panel_vectors(left, width):
    """How many vectors wide the next panel is, with so many columns left; a vector has `width` numbers."""
    vectors = (left + width - 1) // width
    return WIDE if vectors >= WIDE else HALF if vectors >= HALF else ONE


def room_for(columns, dtype):
    """Columns filled up to whole vectors."""
    return columns + -columns % lanes(dtype)


@register_jitable
def odd_lines(size, itemsize):
    """How far apart rows of so many numbers should begin: an odd number of cache lines.  (With a multiple of 8 lines a
    column of 128 rows would share an eighth of the first cache.)"""
    return ((size * itemsize + LINE - 1) // LINE | 1) * LINE // itemsize


def aligned(size, dtype):
    """An empty flat array that begins at a vector's boundary: a vector across two cache lines takes twice as long."""
    room = np.empty(size + BYTES, dtype)
    start = -address(room) % BYTES // room.itemsize
    return room[start:start + size]


def _move(filled):
    @vector_code("y", "y_at", "x", "x_at", "count")
    def move(v, a):
        """y[y_at:][:count] = x[x_at:][:count]; with `filled`, zeros behind them, up to a whole vector: stores through a
        mask take some processors a dozen cycles."""
        whole = v.quotient(a.count, v.lanes)
        with v.loop(whole) as i:
            shift = v.times(i, v.number(v.lanes))
            v.store(v.load(a.x, v.sum(a.x_at, shift)), a.y, v.sum(a.y_at, shift))
        done = v.times(whole, v.number(v.lanes))
        left = v.difference(a.count, done)
        with v.when(v.reaches(left, 1)):
            some = v.below(left)
            rest, to = v.load_some(a.x, v.sum(a.x_at, done), some), v.sum(a.y_at, done)
            v.store(rest, a.y, to) if filled else v.store_some(rest, a.y, to, some)
    return move


move, move_filled = _move(False), _move(True)


def pack_rows(b, groups, group, rows, columns):
    """`Panels` of a matrix whose rows lie in memory: element (k, n) of group g is b[g*group + rows[k] + n]."""
    room = room_for(columns, b.dtype)
    data = aligned(groups * room * len(rows), b.dtype)
    _pack_rows(b, groups, group, rows, columns, room, data)
    return Panels(data, len(rows), groups, room)


@parallel
def _pack_rows(thread, b, groups, group, rows, columns, room, out):
    K, vector = len(rows), BYTES // b.itemsize
    pieces = (K + PIECE - 1) // PIECE
    for task in mine(thread, groups * pieces):
        g, k0, n0 = task // pieces, task % pieces * PIECE, 0
        while n0 < room:                             # the next columns of the same few rows
            width = panel_vectors(room - n0, vector) * vector
            at = (g * room + n0) * K
            for k in range(k0, min(K, k0 + PIECE)):
                move_filled(out, at + k * width, b, g * group + rows[k] + n0, min(width, columns - n0))
            n0 += width


def pack_columns(b, groups, group, outer, inner, rows, K, columns, column):
    """`Panels` of a matrix whose columns lie in memory, in pieces.

    Column n of group g has at b[g*group + n*column + u*outer[1]], for u < outer[0], `inner` numbers each, which belong
    to the rows rows[u*inner:][:inner] of K; -1: to none.
    """
    room = room_for(columns, b.dtype)
    data = aligned(groups * room * K, b.dtype)
    _pack_columns(b, groups, group, outer[0], outer[1], inner, rows, K, columns, column, room, data,
                  np.zeros(lanes(b.dtype), b.dtype))
    return Panels(data, K, groups, room)


@vector_code("y", "y_at", "x", "x_at", "read", "written")
def _turn(v, a):
    """A square of vectors, transposed: rows of `read` numbers at x[x_at] -> rows of `written` at y[y_at]."""
    some = v.below(a.read)
    rows = [v.load_some(a.x, v.element(a.x_at, v.number(i)), some) for i in range(v.lanes)]
    columns = [(v.element(a.y_at, v.number(i)), row) for i, row in enumerate(v.transposed(rows))]
    with v.either(v.reaches(a.written, v.lanes)) as (whole, partial):
        with whole:
            for at, column in columns:
                v.store(column, a.y, at)
        with partial:
            some = v.below(a.written)
            for at, column in columns:
                v.store_some(column, a.y, at, some)


@inside
def turn(y, y_at, x, x_at, read, written):
    """`_turn`, compiled once."""
    _turn(y, y_at, x, x_at, read, written)


@parallel
def _pack_columns(thread, b, groups, group, outers, outer, inner, rows, K, columns, column, room, out, zeros):
    vector = BYTES // b.itemsize
    wide, squares = WIDE * vector, (inner + vector - 1) // vector
    blocks, pieces = (room + wide - 1) // wide, (outers * squares + PIECE - 1) // PIECE
    for task in mine(thread, groups * blocks * pieces):
        g, n0, first = task // pieces // blocks, task // pieces % blocks * wide, task % pieces * PIECE
        x_at, y_at, waste = np.empty(vector, np.int64), np.empty(vector, np.int64), np.empty(vector, b.dtype)
        nothing = distance(b, zeros)
        nowhere = distance(out, waste)
        end = min(room, n0 + wide)
        while n0 < end:
            NR = panel_vectors(room - n0, vector) * vector
            for square in range(first, min(outers * squares, first + PIECE)):
                u, j0 = square // squares, square % squares * vector
                for n1 in range(n0, n0 + NR, vector):
                    for i in range(vector):
                        n, j = n1 + i, j0 + i
                        x_at[i] = g * group + u * outer + n * column + j0 if n < columns else nothing
                        k = rows[u * inner + j] if j < inner else -1
                        y_at[i] = (g * room + n0) * K + k * NR + n1 - n0 if k >= 0 else nowhere
                    turn(out, y_at, b, x_at, inner - j0, vector)
            n0 += NR
        waste[0] = 0                                 # kept alive: only its address was taken


def unpack(sums, rows, columns, out):
    """The way back: sums (groups, K, room), row rows[j] -> out (groups, columns, J), its numbers j."""
    groups, K, room = sums.shape
    _unpack(sums.reshape(-1), rows, groups, K, room, columns, out.reshape(-1))


@parallel
def _unpack(thread, sums, rows, groups, K, room, columns, out):
    J, vector = len(rows), BYTES // sums.itemsize
    blocks = room // vector
    for task in mine(thread, groups * blocks):
        g, n0 = task // blocks, task % blocks * vector
        x_at, y_at, waste = np.empty(vector, np.int64), np.empty(vector, np.int64), np.empty(vector, sums.dtype)
        nowhere = distance(out, waste)
        for j0 in range(0, J, vector):
            for i in range(vector):
                x_at[i] = (g * K + rows[min(J - 1, j0 + i)]) * room + n0
                y_at[i] = (g * columns + n0 + i) * J + j0 if n0 + i < columns else nowhere
            turn(out, y_at, sums, x_at, vector, J - j0)
        waste[0] = 0                                 # kept alive: only its address was taken
