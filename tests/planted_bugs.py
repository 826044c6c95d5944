"""Bugs to plant into the CUDA sources, one at a time, and the hunt for each: the tests of the tests.

Run as a program, with the number of a bug and an empty folder, it plants it into a copy of the sources there, runs the
kernels it concerns on the emulator and prints how it was found, if it was:

    an error    of the emulator: out of bounds, a barrier some threads miss, a copy nobody waited for, no compilation
    a result    that differs from the reference by more than rounding
    an order    of threads that gives other bits than another
"""
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kernel_checks import LAYOUTS, assert_close


class Bug(NamedTuple):
    """In `file`, the first `old` behind `after` becomes `new`; `hunt`: what is run, kernels of the interface table."""

    name: str
    file: str
    old: str
    new: str
    hunt: str
    after: str = ""


BATCH, ROW = "batch_norm batch_norm_backward", "layer_norm layer_norm_backward group_norm group_norm_backward"
MAX, MEAN = "max_pool2d max_pool2d_backward max_pool2d_gather", "avg_pool2d avg_pool2d_backward"
ADAPTIVE = "adaptive_avg_pool2d adaptive_avg_pool2d_backward adaptive_max_pool2d"
SOFTMAX = "softmax softmax_backward log_softmax log_softmax_backward"
LOSS = "cross_entropy cross_entropy_backward"
CONV = "conv2d conv2d_input conv2d_weight"
TENSOR, HALF = "tensor cores", "tensor cores, 16 bits"
LOAD, WEIGHT = "auto load = [&](int stage)", "convolve_weight(const T *x"

BUGS = [
    # ------------------------------------------------------------------ sums over blocks and warps
    Bug("no barrier before a block's sum", "common.cuh", "  __syncthreads();                             // s may",
        "  // s may",
        BATCH + " softmax_backward " + LOSS),
    Bug("no barrier after writing", "common.cuh", "  s[threadIdx.x] = v;\n  __syncthreads();", "  s[threadIdx.x] = v;",
        BATCH),
    Bug("no barrier between halves", "common.cuh", "s[threadIdx.x + half];\n    __syncthreads();",
        "s[threadIdx.x + half];", BATCH),
    Bug("a barrier for half the threads", "common.cuh",
        "s[threadIdx.x] += s[threadIdx.x + half];\n    __syncthreads();",
        "{ s[threadIdx.x] += s[threadIdx.x + half]; __syncthreads(); }", BATCH),
    Bug("a wrong partner", "common.cuh", "threadIdx.x + half]", "threadIdx.x + half + 1]", BATCH),
    Bug("a sum that starts too low", "common.cuh", "int half = 128", "int half = 64", BATCH),
    Bug("the sum of another column", "common.cuh", "s[threadIdx.x % columns]", "s[0]", BATCH),
    Bug("a warp's sum without its last step", "common.cuh", "int d = 16; d > 0", "int d = 16; d > 1", ROW),
    Bug("lanes that do not take part", "common.cuh", "v += __shfl_xor_sync(0xffffffffu",
        "v += __shfl_xor_sync(0x0000ffffu", ROW),
    Bug("elements skipped by a grid", "common.cuh", "i += (long long)gridDim.x * blockDim.x",
        "i += 2ll * gridDim.x * blockDim.x",
        "few blocks"),
    Bug("one element too many", "common.cuh", "i < (n);", "i <= (n);", "relu"),
    # ------------------------------------------------------------------ norms
    Bug("a part's last element twice", "norm.cu", "part * step + step)", "part * step + step + 1)", BATCH),
    Bug("a part without its first element", "norm.cu", "first = part * step +", "first = part * step + 1 +", BATCH),
    Bug("the last tile of channels not checked", "norm.cu", "last = c >= C ? 0 :", "last =", BATCH),
    Bug("pixels and channels swapped", "norm.cu", "(e / R) * C + c) * R + e % R", "(e / R) * C + c) * R + e % C",
        BATCH),
    Bug("an element outside", "norm.cu", "y[i] = !relu", "y[i + 4000] = !relu", BATCH),
    Bug("the origin forgotten", "norm.cu", "= origin + sum / n", "= sum / n", BATCH),
    Bug("the variance of the last part too large", "norm.cu", "d * d * min(step, count - p * step)", "d * d * step",
        BATCH),
    Bug("a mean over full parts", "norm.cu", "means[row + p] * min(step, count - p * step)", "means[row + p] * step",
        BATCH),
    Bug("eps forgotten", "norm.cu", "double scale = 1 / sqrt(v + eps)", "double scale = 1 / sqrt(v)", BATCH),
    Bug("a missing early exit", "norm.cu", "if (threadIdx.x >= lanes || w.c >= C) return;",
        "if (threadIdx.x >= lanes) return;", BATCH),
    Bug("the residual after the ReLU", "norm.cu",
        "    if (residual) out += residual[i];\n    y[i] = !relu || out > 0 || out != out ? T(out) : T(0);",
        "    y[i] = !relu || out > 0 || out != out ? T(out) : T(0);\n    if (residual) y[i] = T(y[i] + residual[i]);",
        "batch_norm_relu"),
    Bug("a gradient where y is 0", "norm.cu", "if (y && sign <= 0) own = 0;", "if (y && sign < 0) own = 0;",
        "batch_norm_relu_backward"),
    Bug("the gradient not centred", "norm.cu", "own - mean_g - d * rstd * mean_gx", "own - d * rstd * mean_gx", BATCH),
    Bug("a row too many", "norm.cu", "if (row.row >= M) return;", "if (row.row > M) return;", ROW),
    Bug("another channel's weight", "norm.cu", "last ? d % per : d / R", "last ? d / per : d / R", ROW),
    Bug("a neighbour too few", "norm.cu", "d <= after; d++", "d < after; d++", "local_response_norm"),
    Bug("before and after swapped", "norm.cu", "for (int d = -after; d <= before; d++)",
        "for (int d = -before; d <= after; d++)",
        "local_response_norm_backward"),
    # ------------------------------------------------------------------ pooling
    Bug("padding counts as 0", "pool.cu", "T best = T(-INFINITY);", "T best = T(0);", MAX),
    Bug("the last of equals", "pool.cu", "v > best || v != v", "v >= best || v != v", "max_pool2d"),
    Bug("NaN loses", "pool.cu", "v > best || v != v || at < 0", "v > best || at < 0", "max_pool2d"),
    Bug("dilation ignored", "pool.cu", "o.y * win.SH - win.PH + ky * win.DH", "o.y * win.SH - win.PH + ky", MAX),
    Bug("height and width swapped", "pool.cu", "yy < 0 || yy >= win.H", "yy < 0 || yy >= win.W", MAX),
    Bug("a window too late", "pool.cu", "return t <= 0 ? 0 : (t + stride - 1) / stride;",
        "return t <= 0 ? 0 : (t + stride) / stride;", MAX),
    Bug("a window that does not exist", "pool.cu", "return t < count ? t : count - 1;", "return t;", MAX + " " + MEAN),
    Bug("a window short", "pool.cu", "return t < count ? t : count - 1;", "return t < count ? t - 1 : count - 1;",
        MAX + " " + MEAN),
    Bug("padding not left out", "pool.cu", "if (0 <= yy && yy < win.H && 0 <= xx", "if (yy < win.H && 0 <= xx", MEAN),
    Bug("another output's divisor", "pool.cu", "/ divisors[oy * win.OW + ox]", "/ divisors[ox]", MEAN),
    Bug("an adaptive window short", "pool.cu", "((long long)(o + 1) * size + out - 1) / out",
        "(long long)(o + 1) * size / out", ADAPTIVE),
    Bug("cells of a warp's neighbours", "pool.cu", "cell += team", "cell += team + 1", ADAPTIVE),
    Bug("an index of -1 read", "pool.cu", "where[i] < 0 ? T(0) :", "", "max_pool2d_gather"),
    # ------------------------------------------------------------------ softmax and losses
    Bug("a sum that does not shrink", "loss.cu", "part = part * exp(own - v) + 1", "part = part + 1", SOFTMAX),
    Bug("a team's sums at different maxima", "loss.cu", "if (own != top) part *= exp(own - top);", "", SOFTMAX),
    Bug("a team without a row", "loss.cu", "if (row >= M) row = -1;", "", SOFTMAX),
    Bug("no barrier in a maximum", "loss.cu", "  s[threadIdx.x] = v;\n  __syncthreads();", "  s[threadIdx.x] = v;",
        SOFTMAX),
    Bug("the last class forgotten", "loss.cu", "c < C; c += t.size", "c < C - 1; c += t.size", SOFTMAX),
    Bug("an ignored label counts", "loss.cu", "T loss = 0;\n  if (target != ignore_index &&",
        "T loss = 1;\n  if (target != ignore_index &&", LOSS),
    Bug("smoothing over too few classes", "loss.cu", "all * (smoothing / C)", "all * (smoothing / (C - 1))", LOSS),
    Bug("one lane's share of the smoothing", "loss.cu", "T all = team_sum(v, s, team);", "T all = v;", LOSS),
    # ------------------------------------------------------------------ optimizers and elementwise
    Bug("another array's chunk", "optim.cu", "arrays[kind * n + chunk[0]]", "arrays[kind * n + chunk[0] + 1]",
        "sgd_update adam_update"),
    Bug("the end of a chunk", "optim.cu", "i < chunk[2]", "i <= chunk[2]", "sgd_update"),
    Bug("half of a chunk", "optim.cu", "i += blockDim.x", "i += 2 * blockDim.x", "sgd_update"),
    Bug("momentum of the new velocity", "optim.cu", "g = nesterov ? g + momentum * v : v;", "g = v;", "sgd_update"),
    Bug("decay ignored", "optim.cu", "param[i] = shrink * p -", "param[i] = p -", "adam_update"),
    Bug("gradient clipped at NaN", "elementwise.cu", "y[i] <= 0 ? T(0) : g[i]", "T(y[i] > 0) * g[i]", "relu_backward"),
    Bug("NaN becomes 0", "elementwise.cu", "x[i] > 0 || x[i] != x[i] ? x[i] : T(0)", "x[i] > 0 ? x[i] : T(0)", "relu"),
    # ------------------------------------------------------------------ columns
    Bug("rows and columns of a tap swapped", "conv.cu", "kx = split(rest, win.KW), ky = split(rest, win.KH)",
        "ky = split(rest, win.KH), kx = split(rest, win.KW)", "im2col"),
    Bug("an output that was not there", "conv.cu", "ty / win.SH >= win.OH", "ty / win.SH > win.OH", "col2im"),
    Bug("tiles read before they are whole", "conv.cu",
        "    __syncthreads();                                             // the", "    // the", CONV),
    Bug("tiles overwritten while they are read", "conv.cu",
        "    __syncthreads();                                             // all", "    // all", CONV),
    Bug("pixels behind the last image", "conv.cu", "if (p < pixels && channel < o)", "if (channel < o)", CONV),
    Bug("one tile of channels for all", "conv.cu", "tile = blockIdx.y * TILE;", "tile = 0;", CONV),
    Bug("another row of the weight", "conv.cu", "w[(long long)(k0 + line) * o", "w[(long long)(k0 + lane) * o", CONV),
    # ------------------------------------------------------------------ rows that indices name
    Bug("pairs compared before they are written", "index.cu",
        "      __syncthreads();\n      for (int t", "      for (int t", "scatter_add"),
    Bug("all runs sorted upwards", "index.cu", "((base + i) & run) == 0", "true", "scatter_add"),
    Bug("a chunk's place forgotten", "index.cu", "((base + i) & run)", "(i & run)", "scatter_add"),
    Bug("a step of the other direction", "index.cu", "apart], (i & run) == 0);", "apart], (i & run) != 0);",
        "scatter_add"),
    Bug("keys behind the last", "index.cu", "end = part < M ? part : M;", "end = part;", "scatter_add"),
    Bug("parts of other rows", "index.cu", "p * PART < M && keys[p * PART] >> 32 == row;", "p * PART < M;",
        "scatter_add"),
    Bug("every part of a run but the first left out", "index.cu", "sum += parts[p * D + d];", "sum += 0;",
        "scatter_add"),
    Bug("each of a run writes", "index.cu", "if (k && keys[k - 1] >> 32 == row) continue;", "if (!row) continue;",
        "scatter_add"),
    # ------------------------------------------------------------------ narrow convolutions
    Bug("a source behind the end", "direct.cu", "return s < size ? s : -1;", "return s;", CONV),
    Bug("stride ignored backwards", "direct.cu", "s % S == 0 && s / S < size", "s / S < size", CONV),
    Bug("results behind a row's end", "direct.cu", "if (rx + r < RW) out", "out", CONV),
    Bug("another group's channels", "direct.cu", "* C + o / (O / groups) * c;", "* C + o % groups * c;", CONV),
    Bug("pixels of a part that does not exist", "direct.cu", "end = begin + length < pixels ? begin + length : pixels",
        "end = begin + length", CONV),
    Bug("columns that are not there", "direct.cu", "if (threadIdx.x < COLUMNS && o < O && first",
        "if (threadIdx.x < COLUMNS && first",
        CONV),
    Bug("a transposed weight", "direct.cu", "gw[i % O * E + i / O]", "gw[i]", CONV),
    # ------------------------------------------------------------------ tensor cores
    Bug("copies not waited for", "igemm.cu", "copies_wait<STAGES - 2>();", "copies_wait<STAGES - 1>();", TENSOR),
    Bug("no barrier before a tile is read", "igemm.cu",
        "    __syncthreads();                                             // this tile",
        "    // this tile", TENSOR),
    Bug("groups counted wrongly at the end", "igemm.cu", "% STAGES);\n    copies_commit();",
        "% STAGES), copies_commit();", TENSOR),
    Bug("a ring of two stages", "igemm.cu", "(step + STAGES - 1) % STAGES)", "(step + STAGES - 1) % (STAGES - 1))",
        TENSOR),
    Bug("a swapped fragment", "igemm.cu", "int row = 16 * i + g + 8 * (e % 2);", "int row = 16 * i + g + 8 * (e / 2);",
        TENSOR),
    Bug("the low parts dropped", "igemm.cu", "mma_tf32(sum[i], low[i], other);", ";", TENSOR),
    Bug("padding not zero", "igemm.cu", "0 <= yy && yy < q.H && 0 <= xx", "yy < q.H && 0 <= xx", TENSOR, LOAD),
    Bug("the tail of the channels", "igemm.cu", "while (c >= C && a < q.TY)", "while (c > C && a < q.TY)", TENSOR),
    Bug("output channels that are not there", "igemm.cu", "bool there = any && n0 + r < N;", "bool there = any;",
        TENSOR),
    Bug("pixels that are not there", "igemm.cu", "if (out >= 0 && n < N)", "if (n < N)", TENSOR),
    Bug("channels written beyond the last", "igemm.cu", "if (out >= 0 && n < N)", "if (out >= 0)", TENSOR),
    Bug("a tap's step", "igemm.cu", "tap = (q.ky + a * q.KY)", "tap = (q.ky + a)", TENSOR),
    Bug("another group's image", "igemm.cu", "(p.image + yy * q.W + xx) * CX + group * C + c",
        "(p.image + yy * q.W + xx) * CX + c", TENSOR),
    Bug("pixels overwritten too early", "igemm.cu", "find(step + STAGES);", "find(step + STAGES + 1);", TENSOR),
    Bug("a part too short", "igemm.cu", "(last - first + BK - 1) / BK", "(last - first) / BK", TENSOR),
    Bug("pixels of the next part", "igemm.cu", "p < last ? p * CY", "true ? p * CY", TENSOR, WEIGHT),
    Bug("a part left out", "igemm.cu", "s < splits; s++", "s < splits - 1; s++", TENSOR),
    Bug("a pair of the same element", "igemm.cu", "(unsigned)p[(k + 1) * ld + row].bits << 16",
        "(unsigned)p[k * ld + row].bits << 16", HALF),
    Bug("16-byte copies counted as floats", "igemm.cu", "const int column = tid % PER_ROW * VEC;",
        "const int column = tid % PER_ROW * 4;", HALF),
]


def plant(bug, folder):
    """The sources with the bug, in an empty folder."""
    launch = import_module("tinycnn.kernels.cuda.launch")
    shutil.copytree(launch.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    source = (folder / bug.file).read_text(encoding="utf-8")
    start = source.index(bug.after)
    assert source.count(bug.old, start), f"{bug.name}: {bug.file} has no {bug.old!r}"
    (folder / bug.file).write_text(source[:start] + source[start:].replace(bug.old, bug.new, 1), encoding="utf-8")
    return folder


def hunt(bug):
    """How the bug shows, or None."""
    build = import_module("tinycnn.kernels.emulator.build")
    try:
        (_hunt_on_tensor_cores if bug.hunt in (TENSOR, HALF) else _hunt_in_kernels)(bug, build.SCHEDULES)
    except (AssertionError, build.EmulatorError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _hunt_in_kernels(bug, schedules):
    from test_cuda_kernels import ROWS, cuda, device, here, outcome, reference, there
    if bug.hunt == "few blocks":
        from test_cuda_kernels import test_a_grid_of_any_size_covers_all_elements
        return test_a_grid_of_any_size_covers_all_elements()
    for name in bug.hunt.split():
        for dtype in (np.float64, np.float32):
            for i, arguments in enumerate(ROWS[dtype][name]):
                expected = outcome(reference, name, arguments, lambda a: a)
                for order in schedules if i < 3 else schedules[:1]:
                    with device.schedule(order):
                        assert_close(here(outcome(cuda, name, arguments, there)), expected, 256)
                if name.endswith("_norm") or name.endswith("_norm_backward"):

                    def last(a):                     # images of channels-last memory
                        return device.ndarray(LAYOUTS["channels last"](a)) if getattr(a, "ndim", 0) == 4 else there(a)
                    assert_close(here(outcome(cuda, name, arguments, last)), expected, 256)
    if bug.hunt == CONV:
        from test_cuda_conv import NARROW, check, problem
        for case in NARROW.values():
            check(problem(case, np.float64))
    if bug.hunt == BATCH:
        from test_cuda_kernels import test_sums_are_split_among_blocks_and_joined
        test_sums_are_split_among_blocks_and_joined()


def _hunt_on_tensor_cores(bug, schedules):
    from test_cuda_tensor_cores import BOUNDS, PROBLEMS, device, errors, igemm, narrowed, on_device, three_passes
    for given in PROBLEMS.values():
        if bug.hunt == HALF:
            assert max(errors(narrowed(given, "float16"))) <= 2 ** -11 + BOUNDS["highest"]
            continue
        assert max(errors(given)) <= BOUNDS["highest"]
        bits = set()
        for order in schedules:
            with device.schedule(order):
                bits.add(b"".join(a.get().tobytes() for a in three_passes(igemm, *on_device(given))))
        assert len(bits) == 1, "other bits in another order of threads"


if __name__ == "__main__":
    planted = BUGS[int(sys.argv[1])]
    import_module("tinycnn.kernels.cuda.launch").FOLDER = plant(planted, Path(sys.argv[2]))
    how = hunt(planted)
    print("survived" if how is None else f"found: {how}")
