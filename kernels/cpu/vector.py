"""Vector code, written from Python: the vocabulary of microkernel.py, winograd.py and grouped.py.

Numba's loops are turned into vector code by the compiler, if it sees how; it does not keep a tile of results in
registers, which is what makes a convolution fast.  There the code is spelled out, one vector instruction per call of
`Vectors`, as an intrinsic: a function that kernels call like any other and that is compiled into them.

    @vector_code("y", "x", "n")
    def add_two(v, a):                       y[0:lanes] = x[n:n+lanes] + x[0:lanes]
        v.store(v.add(v.load(a.x, a.n), v.load(a.x, v.number(0))), a.y, v.number(0))

    register, 512 bits, float32:   | 0 | 1 | 2 | ...              | 15 |      lanes = 16; float64: 8
    memory                         unaligned loads and stores of whole vectors, at element offsets into flat arrays
"""
from inspect import Parameter, Signature

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .launch import inside

_FEATURES = llvm.get_host_cpu_features()


def _vector_bytes():
    """64 with AVX-512, 32 with AVX, else 16 (SSE, NEON): what one register of this machine holds."""
    return 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx") else 16


BYTES = _vector_bytes()
REGISTERS = 32 if BYTES == 64 or "neon" in _FEATURES else 16


def lanes(dtype):
    """Numbers in one register."""
    return BYTES // np.dtype(dtype).itemsize


@inside
def distance(here, there):
    """From the beginning of the array `here` to that of `there`, in numbers: there[i] is here[distance + i]."""
    return (there.ctypes.data - here.ctypes.data) // here.itemsize


class Arguments:
    """The arguments of the function that is written: numbers as they are, arrays as pointers to their first element."""

    def __init__(self, **values):
        vars(self).update(values)


def vector_code(*names):
    """Decorator: `emit(v, a)` writes the body of a function with these arguments, by means of v, a `Vectors`.

    Arrays come as flat arrays, numbers as integers of pointer size, flags as booleans.  The first array's dtype is that
    of the vectors.  Of a tuple `emit` gets the length: a number that it can unroll loops by.  (A tuple's length is part
    of its type, so that Numba compiles, and keeps on disk, one version for each.)
    """
    def make(emit):
        def code(typingctx, *given):
            given = [types.unliteral(t) for t in given]
            given = [types.intp if isinstance(t, types.Integer) else t for t in given]
            if any(isinstance(t, types.Array) and t.layout != "C" for t in given):
                raise TypeError(f"{emit.__name__} takes arrays in C order, got {given}")
            dtype = next(t.dtype for t in given if isinstance(t, types.Array))

            def lower(context, builder, signature, args):
                values = [context.make_array(t)(context, builder, value).data if isinstance(t, types.Array) else
                          len(t) if isinstance(t, types.BaseTuple) else value
                          for t, value in zip(signature.args, args)]
                emit(Vectors(context, builder, dtype), Arguments(**dict(zip(names, values, strict=True))))
                return context.get_dummy_value()
            return types.void(*given), lower
        code.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_ONLY) for name in ("typingctx", *names)])
        return intrinsic(code)
    return make


class Vectors:
    """Writes vector instructions.  Vectors and numbers are values of the code that is written."""

    def __init__(self, context, builder, dtype):
        self.builder, self._number = builder, context.get_value_type(types.intp)
        self.size = dtype.bitwidth // 8
        self.lanes = BYTES // self.size
        self.scalar = context.get_value_type(dtype)
        self.type = ir.VectorType(self.scalar, self.lanes)
        self._undefined = ir.Constant(self.type, ir.Undefined)

    # numbers

    def number(self, n):
        """A constant."""
        return ir.Constant(self._number, n)

    def plus(self, at, n):
        """at + n for a constant n."""
        return self.builder.add(at, self.number(n)) if n else at

    def times(self, a, b):
        return self.builder.mul(a, b)

    def sum(self, a, b):
        return self.builder.add(a, b)

    def difference(self, a, b):
        return self.builder.sub(a, b)

    def quotient(self, a, n):
        """a // n for a constant n, a not negative."""
        return self.builder.sdiv(a, self.number(n))

    def loop(self, count):
        """`with v.loop(count) as i:` writes a loop over i = 0 ... count - 1."""
        return _Loop(self.builder, count)

    def either(self, flag):
        """`with v.either(flag) as (then, otherwise):` writes `with then: ...` and `with otherwise: ...`."""
        return self.builder.if_else(flag)

    def when(self, flag):
        """`with v.when(flag):` writes what is done only then."""
        return self.builder.if_then(flag)

    def reaches(self, a, n):
        """Whether the number a is at least the constant n."""
        return self.builder.icmp_signed(">=", a, self.number(n))

    def opaque(self, n):
        """The number n, of which the compiler knows nothing: it would replace an index that many addresses share by a
        pointer for each of them, which are more than there are registers."""
        code = ir.InlineAsm(ir.FunctionType(self._number, [self._number]), "", "=r,0")
        return self.builder.call(code, [n])

    # memory

    def element(self, array, at):
        """The number array[at]."""
        return self.builder.load(self.builder.gep(array, [at]))

    def moved(self, array, at):
        """The array that begins at array[at]."""
        return self.builder.gep(array, [at])

    def _place(self, array, at, kind=None):
        return self.builder.bitcast(self.builder.gep(array, [at]), (kind or self.type).as_pointer())

    def load(self, array, at):
        """array[at:at + lanes]"""
        return self.builder.load(self._place(array, at), align=self.size)

    def store(self, value, array, at):
        """array[at:at + lanes] = value"""
        place = self._place(array, at, value.type)
        self.builder.store(value, place, align=_bytes(value.type.element))

    def below(self, count, first=0):
        """A mask: whether first + lane < count."""
        numbers = ir.VectorType(self._number, self.lanes)
        each = ir.Constant(numbers, [first + i for i in range(self.lanes)])
        one = self.builder.insert_element(ir.Constant(numbers, ir.Undefined), count, ir.IntType(32)(0))
        return self.builder.icmp_signed("<", each, self.builder.shuffle_vector(one, one, self._zero_mask()))

    def load_some(self, array, at, mask):
        """array[at:at + lanes] where the mask holds, elsewhere 0; no other memory is touched."""
        call = self._intrinsic("llvm.masked.load.{}.p0", self.type,
                               [self.type.as_pointer(), ir.IntType(32), mask.type, self.type])
        return self.builder.call(call, [self._place(array, at), ir.IntType(32)(self.size), mask, self.zero()])

    def store_some(self, value, array, at, mask):
        """array[at:at + lanes] = value where the mask holds."""
        kind = value.type
        call = self._intrinsic("llvm.masked.store.{}.p0", ir.VoidType(),
                               [kind, kind.as_pointer(), ir.IntType(32), mask.type], kind.element)
        place = self._place(array, at, kind)
        self.builder.call(call, [value, place, ir.IntType(32)(_bytes(kind.element)), mask])

    # arithmetic

    def zero(self):
        return ir.Constant(self.type, None)

    def constant(self, value):
        return ir.Constant(self.type, [value] * self.lanes)

    def _zero_mask(self):
        return ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)

    def everywhere(self, number):
        """The number in every lane."""
        undefined = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        one = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, undefined, self._zero_mask())

    def alike(self, n, array):
        """The number n in every lane, in the dtype of an array of integers."""
        kind = array.type.pointee
        return self.everywhere(n if kind == self._number else self.builder.trunc(n, kind))

    def spread(self, array, at):
        """array[at] in every lane."""
        return self.everywhere(self.element(array, at))

    def shuffle(self, value, order):
        """Lane i of the result is lane order[i] of the value."""
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), list(order))
        return self.builder.shuffle_vector(value, self._undefined, order)

    def transposed(self, rows):
        """As many vectors as they have lanes, a square of numbers -> its columns.

        One bit of row and lane numbers after the other is exchanged: first neighbours, then pairs of neighbours ...
        """
        rows, apart = list(rows), 1
        while apart < self.lanes:
            for i in [i for i in range(self.lanes) if not i & apart]:
                a, b = rows[i], rows[i + apart]
                first = [lane if not lane & apart else self.lanes + lane - apart for lane in range(self.lanes)]
                second = [lane + apart if not lane & apart else self.lanes + lane for lane in range(self.lanes)]
                rows[i], rows[i + apart] = self._merged(a, b, first), self._merged(a, b, second)
            apart *= 2
        return rows

    def _merged(self, a, b, order):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), order))

    def fma(self, a, b, c):
        """a*b + c, rounded once where the processor can."""
        return self.builder.call(self._intrinsic("llvm.fmuladd.{}", self.type, [self.type] * 3), [a, b, c])

    def multiply(self, a, b):
        return self.builder.fmul(a, b)

    def add(self, a, b):
        return self.builder.fadd(a, b)

    def subtract(self, a, b):
        return self.builder.fsub(a, b)

    def at_least(self, value, least):
        """value, or least where value is smaller; nan stays."""
        return self.builder.select(self.builder.fcmp_ordered("<", value, least), least, value)

    def exceeds(self, a, b):
        """Where a > b, or a is nan."""
        greater, nan = self.builder.fcmp_ordered(">", a, b), self.builder.fcmp_unordered("uno", a, a)
        return self.builder.or_(greater, nan)

    def choose(self, flag, a, b):
        """a if flag, else b; flag: one, or one for each lane."""
        return self.builder.select(flag, a, b)

    def variable(self, value):
        """A vector that can be set; as long as it is only ever loaded and set, it is a register."""
        return _Variable(self.builder, value)

    def _intrinsic(self, name, result, arguments, element=None):
        element = element or self.scalar
        name = name.format(f"v{self.lanes}{'i' if isinstance(element, ir.IntType) else 'f'}{8 * _bytes(element)}")
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)


def _bytes(element):
    return element.width // 8 if isinstance(element, ir.IntType) else {ir.FloatType(): 4, ir.DoubleType(): 8}[element]


class _Variable:
    def __init__(self, builder, value):
        self._builder, self._place = builder, cgutils.alloca_once(builder, value.type)
        self.set(value)

    def get(self):
        return self._builder.load(self._place)

    def set(self, value):
        self._builder.store(value, self._place)


class _Loop:
    def __init__(self, builder, count):
        self._range = cgutils.for_range(builder, count)

    def __enter__(self):
        return self._range.__enter__().index

    def __exit__(self, *exception):
        return self._range.__exit__(*exception)
