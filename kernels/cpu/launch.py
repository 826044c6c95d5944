"""One call of a compiled function on every thread: the machine code between a kernel's entry and its tasks.

    entry(alone, x, y)                 compiled for Python: takes its arguments apart once
      `-- on every thread              Numba's pool; by the caller itself if it is alone
            relu((t, threads), x, y)   compiled once, called with the thread's number and how many there are
              `-- for task in mine(thread, tasks): ...

Numba has prange for this.  But it makes two more functions of every loop, and compiles all of the loop's code anew in
each: more than half of the time to the first result.  Here it is the pool alone that is Numba's, through the function
that prange calls too:

    numba_parallel_for(function, starts, counts, steps, data, dimensions - 1, arrays, threads)

calls function(starts, counts, steps, data) on each thread, with starts and counts of its own.  That is meant for
arrays cut into pieces.  Here the one "array" is at address 0 and its elements are threads, a byte each: where a piece
begins is the number of the thread.
"""
from types import FunctionType

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.callconv import Status, errcode_t, excinfo_ptr_t
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic

OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}     # a*b + c is one instruction
POINTER = ir.IntType(8).as_pointer()
ARGUMENTS, THREADS, FAILURE, CODE = range(4)         # what the threads are given, and give back: places in a structure


class _Linked(JITCodeLibrary):
    """LLVM code that goes into other code: it is optimised, and becomes machine code, there."""

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True


class _Inside(CompilerBase):
    """Compiles as usual, but no way in for Python or C and no machine code of its own."""
    apart = False

    def define_pipelines(self):
        flags = self.state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.noalias = self.apart
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]

    def compile_extra(self, function):
        """Its callers find it by its entry for Python: here some built-in method that is no other function's."""
        self.state.library = _Linked(self.state.targetctx.codegen(), function.__qualname__)
        made, name = super().compile_extra(function), object().__dir__
        self.state.targetctx.insert_user_function(name, made.fndesc, [made.library])
        return made._replace(entry_point=name)


class _Apart(_Inside):
    """Knows besides that of a kernel's arrays none that is written overlaps another."""
    apart = True


def inside(function=None, **options):
    """Decorator: compile a function for the kernels that call it, whose machine code it becomes part of."""
    make = njit(pipeline_class=_Inside, **OPTIONS | options)
    return make if function is None else make(function)


@inside
def mine(thread, tasks):
    """The tasks, of so many, that are this thread's: neighbours, as data shared by neighbours is in its cache then."""
    number, threads = thread
    return range(number * tasks // threads, (number + 1) * tasks // threads)


def on_all_threads(function):
    """entry(alone, *args), compiled and kept on disk: function(thread, *args) by every thread, or by the caller alone.

    What function raises on any thread, entry raises.
    """
    entry = FunctionType(_entry.__code__.replace(co_filename=function.__code__.co_filename,
                                                 co_firstlineno=function.__code__.co_firstlineno),
                         {"_run": _run, "function": njit(pipeline_class=_Apart, **OPTIONS)(function)})
    entry.__module__, entry.__qualname__ = function.__module__, function.__qualname__    # names its file on disk
    return njit(cache=True, no_cfunc_wrapper=True, **OPTIONS)(entry)


def _entry(alone, *args):
    _run(function, alone, args)                      # noqa: F821  in the globals that it gets above


@intrinsic
def _run(typingctx, function, alone, args):
    given = (types.UniTuple(types.intp, 2), *args.types)
    function.dispatcher.compile(given)
    compiled = function.dispatcher.overloads[given]

    def code(context, builder, signature, values):
        _, alone, args = values
        context.active_code_library.add_linking_library(compiled.library)
        number = context.get_value_type(types.intp)
        several = builder.call(_outside(builder, number, [], "get_num_threads"), [])
        threads = builder.select(alone, number(1), several)
        data = cgutils.alloca_once(builder, ir.LiteralStructType([args.type, number, excinfo_ptr_t, errcode_t]))
        for place, value in enumerate((args, threads, excinfo_ptr_t(None), errcode_t(0))):
            builder.store(value, cgutils.gep_inbounds(builder, data, 0, place))
        share = _share(context, builder.module, data.type, compiled.fndesc, given)
        pieces = [cgutils.alloca_once_value(builder, value) for value in (POINTER(None), threads, number(1))]
        with builder.if_else(alone) as (one, all_of_them):
            with one:
                builder.call(share, [*pieces, builder.bitcast(data, POINTER)])
            with all_of_them:
                pool = _outside(builder, ir.VoidType(), [POINTER] * 5 + [number] * 3, "numba_parallel_for")
                pointers = [builder.bitcast(value, POINTER) for value in (share, *pieces, data)]
                builder.call(pool, [*pointers, number(0), number(1), threads])
        failure, error = (builder.load(cgutils.gep_inbounds(builder, data, 0, place)) for place in (FAILURE, CODE))
        with builder.if_then(cgutils.is_not_null(builder, failure), likely=False):
            status = dict.fromkeys(Status._fields) | {"code": error, "excinfoptr": failure}
            context.call_conv.return_status_propagate(builder, Status(**status))
        return context.get_dummy_value()
    return types.void(function, alone, args), code


def _outside(builder, result, arguments, name):
    """A C function of Numba's pool."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _share(context, module, data, function, given):
    """The function that the pool calls: it calls the compiled one for each of the threads that are its piece."""
    number = context.get_value_type(types.intp)
    numbers = number.as_pointer()
    share = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER.as_pointer(), numbers, numbers, POINTER]),
                        module.get_unique_name("share"))
    share.linkage = "internal"
    builder = ir.IRBuilder(share.append_basic_block())
    start, count, _, shared = share.args
    shared = builder.bitcast(shared, data)
    first = builder.ptrtoint(builder.load(start), number)
    args, threads = (builder.load(cgutils.gep_inbounds(builder, shared, 0, place)) for place in (ARGUMENTS, THREADS))
    args = cgutils.unpack_tuple(builder, args)
    with cgutils.for_range(builder, builder.load(count)) as loop:
        thread = cgutils.pack_array(builder, [builder.add(first, loop.index), threads])
        status, _ = context.call_internal_no_propagate(builder, function, types.void(*given), [thread, *args])
        with builder.if_then(status.is_error, likely=False):
            builder.store(status.excinfoptr, cgutils.gep_inbounds(builder, shared, 0, FAILURE))
            builder.store(status.code, cgutils.gep_inbounds(builder, shared, 0, CODE))
    builder.ret_void()
    return share
