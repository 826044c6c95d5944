"""How do time and memory of a training step grow, and what do groups save?

    python -m benchmarks.scaling [PART ...] [--seconds 1.5] [--threads 2] [--plot DIR] [--out FILE] [--json FILE]

Steps as in benchmarks.train_step, float32, each setting in a process of its own:

    batch      ResNet-18 on 96x96, against the number of images
    size       ResNet-18 on 8 square images, against the pixels of one
    depth      He et al.'s nets for 32 images of 32x32, against their layers
    threads    ResNet-18, LeNet and DenseNet-121 by one thread and by all

The table has milliseconds and MiB (beyond what the process had before it made the model; kernels that were loaded are
in it), whole and for each image, thousand pixels or layer: a cost in proportion has the same number in every line, and
what is more in the first lines is the part that does not grow.

    groups     a 3x3 convolution of 256 channels on 8 maps of 28x28 in 1, 2, 4 ... 256 groups

g groups need one g-th of the FLOPs.  The table and the plot have the speed-up over one group, forward and for both
gradients, beside 0.8 g and beside the bound that memory sets: the dense convolution's time to that of a copy of as many
bytes as the maps have.  --plot writes scaling.png and groups.png there.
"""
from __future__ import annotations

import sys
from pathlib import Path

from .drawing import draw
from .kernel_table import Kernel
from .kernels import ROUNDS as TURNS
from .kernels import Limits
from .timing import Report, Worker, in_turns, parser, summarised, unsteady

SETTINGS = {                          # part: (what one more is, divided by), settings: (label, units, model, shape)
    "batch": (("image", 1), [(f"{n}", n, "resnet18", (n, 3, 96, 96)) for n in (1, 2, 4, 8, 16, 32, 64)]),
    "size": (("1000 pixels", 1000), [(f"{s}x{s}", s * s, "resnet18", (8, 3, s, s)) for s in (64, 96, 128, 160, 224)]),
    "depth": (("layer", 1), [(f"{d}", d, f"resnet{d}_cifar", (32, 3, 32, 32)) for d in (20, 32, 44, 56, 110)]),
}
THREADED = [("resnet18", (32, 3, 96, 96)), ("lenet", (256, 1, 28, 28)), ("densenet121", (8, 3, 96, 96))]
GROUPED = 8, 256, 28, 256, 3, 1, 1                   # N C H O K stride padding
GROUPS = [1 << i for i in range(9)]
PASSES = ("conv2d", "conv2d_input", "conv2d_weight")
PARTS = (*SETTINGS, "threads", "groups")


def step(model: str, shape: tuple[int, ...], seconds: float, threads: int) -> dict:
    """Times and peak of one setting."""
    with Worker("benchmarks.train_step", "tinycnn", threads) as worker:
        begun = worker.ask(["start", model, shape])
        return {**summarised(worker.ask(["train", seconds])), "peak": begun["peak"]}


def grow(part: str, seconds: float, threads: int, report: Report) -> list[dict]:
    """The rows of a part."""
    (unit, divisor), settings = SETTINGS[part]
    report.say("", f"{part:12} {'ms':>9} {'quartiles':>17}   {'MiB':>7}   {'ms':>9} {'MiB':>8}  for each {unit}")
    rows = []
    for label, units, model, shape in settings:
        found = {"part": part, "label": label, "units": units / divisor, "unit": unit, "model": model, "shape": shape,
                 **step(model, shape, seconds, threads)}
        rows.append(found)
        n = found["units"]
        report.say(f"{label:12} {_times(found)} {found['peak']:7.0f}   {found['median'] / n:9.3f} "
                   f"{found['peak'] / n:8.3f}")
    return rows


def _times(found):
    low, high = found["quartiles"]
    return f"{found['median']:9.1f} {low:8.1f}-{high:<8.1f} {'?' if unsteady(found) else ' '}"


def share_out(seconds: float, threads: int, report: Report) -> list[dict]:
    """The nets by one thread and by all."""
    report.say("", f"{'threads':12} {'ms':>9} {'quartiles':>17}   {'MiB':>7}   speed-up")
    rows = []
    for model, shape in THREADED:
        for n in sorted({1, threads}):
            found = {"part": "threads", "label": model, "units": n, "unit": "thread", "model": model, "shape": shape,
                     **step(model, shape, seconds, n)}
            rows.append(found)
            one = next(r for r in rows if r["model"] == model)
            report.say(f"{n} {model:10} {_times(found)} {found['peak']:7.0f}   {one['median'] / found['median']:.2f}")
    return rows


def group(seconds: float, threads: int, report: Report) -> list[dict]:
    """The convolution in more and more groups: milliseconds, speed-ups and their bound."""
    N, C, H, O, K, *_ = GROUPED
    report.say("", f"{'groups':>6} " + " ".join(f"{name:>24}" for name in PASSES) + f" {'0.8 g':>7} {'bound':>7}",
               f"{'':6} " + " ".join(f"{'ms':>14} {'speed-up':>9}" for _ in PASSES))
    rows: list[dict] = []
    with Worker("benchmarks.kernels", "tinycnn", threads) as worker:
        limits = Limits([worker], seconds / 4)
        for g in GROUPS:
            maps, weights = 4 * N * (C + O) * H * H, 4 * O * (C // g) * K * K
            least = limits.of(Kernel("", "", (), 0, maps + weights))
            found = {"groups": g, "copy": least}
            for name in PASSES:
                worker.ask([name, *GROUPED, g])
                found[name] = summarised(in_turns([worker], ["time", seconds / TURNS], TURNS)["tinycnn"])
            rows.append(found)
            found["speed-up"] = {name: round(rows[0][name]["median"] / found[name]["median"], 2) for name in PASSES}
            found["bound"] = round(rows[0]["conv2d"]["median"] / least, 1)
            report.say(f"{g:6} " + " ".join(f"{found[name]['median']:14.3f} {found['speed-up'][name]:9.2f}"
                                            for name in PASSES) + f" {0.8 * g:7.1f} {found['bound']:7.1f}")
    return rows


def paint_scaling(rows: list[dict], figure) -> None:
    """Time and memory against what grows."""
    parts = [part for part in SETTINGS if any(row["part"] == part for row in rows)]
    for axes, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
        mine = [row for row in rows if row["part"] == part]
        x = [row["units"] for row in mine]
        axes.plot(x, [row["median"] for row in mine], "o-", color="tab:blue")
        axes.fill_between(x, *zip(*(row["quartiles"] for row in mine)), color="tab:blue", alpha=0.2)
        axes.set(xlabel=f"{part} ({mine[0]['unit']}s)", title=part, xlim=(0, None), ylim=(0, None))
        axes.set_ylabel("ms", color="tab:blue")
        memory = axes.twinx()
        memory.plot(x, [row["peak"] for row in mine], "s--", color="tab:orange")
        memory.set_ylabel("peak, MiB", color="tab:orange")
        memory.set_ylim(0, None)
        axes.grid(alpha=0.3)
    figure.suptitle("a training step's time (quartiles shaded) and memory")


def paint_groups(rows: list[dict], figure) -> None:
    """Speed-ups over the dense convolution, both axes logarithmic."""
    axes = figure.add_subplot()
    g = [row["groups"] for row in rows]
    for name, what in zip(PASSES, ("forward", "input's gradient", "weight's gradient")):
        axes.loglog(g, [row["speed-up"][name] for row in rows], "o-", base=2, label=what)
    axes.loglog(g, [0.8 * n for n in g], "k--", base=2, label="0.8 g")
    axes.loglog(g, [row["bound"] for row in rows], "k:", base=2, label="forward, if only its bytes took time")
    N, C, H, _, K, *_ = GROUPED
    axes.set(xlabel="groups g", ylabel="speed-up over one group",
             title=f"{K}x{K} convolution, {C} channels, {N} maps of {H}x{H}")
    axes.grid(alpha=0.3)
    axes.legend()


def main(argv: list[str] | None = None) -> None:
    """Measure and print the tables."""
    options = parser(__doc__, seconds=1.5)
    options.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    options.add_argument("--plot", type=Path, metavar="DIR", help="folder for scaling.png and groups.png")
    args = options.parse_args(argv)
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        options.error(f"unknown part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    parts = args.parts or PARTS
    report = Report("scaling", args.threads)
    report.numbers["rows"] = rows = []
    for part in parts:
        if part in SETTINGS:
            rows += grow(part, args.seconds, args.threads, report)
    if "threads" in parts:
        rows += share_out(args.seconds, args.threads, report)
    if "groups" in parts:
        report.numbers["groups"] = group(args.seconds, args.threads, report)
    if args.plot and any(row["part"] in SETTINGS for row in rows):
        draw(args.plot / "scaling.png", (13, 4), lambda figure: paint_scaling(rows, figure))
    if args.plot and "groups" in parts:
        draw(args.plot / "groups.png", (7, 5), lambda figure: paint_groups(report.numbers["groups"], figure))
    report.write(args.out, args.json)


if __name__ == "__main__":
    sys.exit(main())
