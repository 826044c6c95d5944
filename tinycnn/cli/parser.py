"""The words of the command line.  Imports nothing of the engine, so that --help is quick."""
from __future__ import annotations

import argparse
import math
from typing import Any, Callable

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "step", "multistep", "cosine", "onecycle", "plateau")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; the chosen verb arrives as args.verb = "module:function"."""
    parser = argparse.ArgumentParser(
        prog="tinycnn", description="Train, run and inspect convolutional networks on NumPy and Numba.",
        epilog="exit codes: 0 done, 1 check failed, 2 wrong usage, 3 missing file, package or network, 130 Ctrl-C")
    parser.add_argument("--version", action=_Version)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for add in (_train, _eval, _predict, _summary, _graph, _models, _data, _convert, _gradcheck, _conformance, _race,
                _warmup, _tune, _doctor):
        add(verbs)
    return parser


def _train(verbs: Any) -> None:
    p = _verb(verbs, "train", "training:train", "train a model; with no argument, a small one on the embedded digits",
              "Options that are not given come from the model's recipe.  Everything is written to a run folder: "
              "config, metrics, curves, confusion matrix and a checkpoint that --resume goes on from, bit for bit.")
    p.add_argument("model", nargs="?", metavar="MODEL", help="a name from `tinycnn models` (default: digits_net)")
    p.add_argument("--data", metavar="NAME", help="a name from `tinycnn data` (default: the model's)")
    p.add_argument("--data-dir", metavar="DIR", help="folder that holds the files of the data set")
    p.add_argument("--epochs", type=_whole(1), metavar="N",
                   help="passes over the training set; the schedule is laid out over all of them")
    p.add_argument("--batch-size", type=_whole(1), metavar="N", help="images per step")
    p.add_argument("--lr", type=_real, help="learning rate (the highest, for cosine and onecycle)")
    p.add_argument("--optimizer", choices=OPTIMIZERS)
    p.add_argument("--momentum", type=_real, help="of sgd and rmsprop")
    p.add_argument("--weight-decay", type=_real, metavar="WD")
    p.add_argument("--schedule", choices=SCHEDULES, help="how the learning rate falls")
    p.add_argument("--warmup-epochs", type=_real, metavar="N", help="let the learning rate rise from 0 for N epochs")
    p.add_argument("--label-smoothing", type=_real, metavar="E")
    p.add_argument("--clip-norm", type=_real, metavar="X", help="scale gradients longer than X down to X; 0: never")
    p.add_argument("--augment", metavar="WORDS", help="changes made to training images at random, joined by +: "
                   "crop, flip, cutout, mixup; or none")
    p.add_argument("--image-size", type=_whole(0), metavar="N", help="resize images to NxN; 0: leave them as they are")
    p.add_argument("--mean", type=_reals, metavar="X,...", help="normalise by this mean, per channel (default: the "
                   "recipe's, or else the data set's)")
    p.add_argument("--std", type=_reals, metavar="X,...", help="and by this standard deviation")
    p.add_argument("--seed", type=_whole(0), metavar="N", help="of initial parameters, order and augmentation (0)")
    p.add_argument("--dtype", choices=("float32", "float64"))
    p.add_argument("--device", metavar="NAME", help="cpu, cuda, or cuda-emu, which runs the CUDA kernels on the CPU")
    p.add_argument("--amp", choices=("none", "float16", "bfloat16"), help="train in mixed precision")
    p.add_argument("--detect-anomaly", action="store_true", help="stop at the first NaN or infinity and tell its "
                   "layer, op and step; slow (with --amp float16 only NaN: scaled gradients may be infinite)")
    p.add_argument("--out", metavar="DIR", help="run folder (default: runs/MODEL-DATA-N)")
    p.add_argument("--resume", nargs="?", const=True, metavar="RUN",
                   help="go on with the run in the folder RUN, or in --out's; its options are kept")
    p.add_argument("--stop-after-epoch", type=_whole(1), metavar="N", help="stop there, to be resumed later")


def _eval(verbs: Any) -> None:
    p = _verb(verbs, "eval", "training:evaluate", "accuracy and loss of a trained model on its test set",
              "Either the folder of a run, or a model and a file of weights: .safetensors, .npz or PyTorch's .pth; "
              "images are normalised as the model's recipe says.")
    _run_options(p, required=False)
    p.add_argument("--model", metavar="MODEL", help="instead of a run: a name from `tinycnn models`")
    p.add_argument("--weights", metavar="FILE", help="its weights")
    p.add_argument("--data", metavar="NAME", help="a name from `tinycnn data` (default: the model's)")
    p.add_argument("--dtype", choices=("float32", "float64"))
    p.add_argument("--image-size", type=_whole(0), metavar="N", help="resize images to NxN; 0: leave them as they are")
    p.add_argument("--mean", type=_reals, metavar="X,...", help="normalise by this mean, per channel")
    p.add_argument("--std", type=_reals, metavar="X,...", help="and by this standard deviation")
    p.add_argument("--batch-size", type=_whole(1), metavar="N", default=256, help="images at a time (256)")


def _predict(verbs: Any) -> None:
    p = _verb(verbs, "predict", "predicting:predict", "the likeliest classes of images",
              "An image file (PNG, JPEG, ...; needs Pillow) is scaled to the size the model was trained on and, if "
              "need be, turned grey.  A .npy file holds one image (H, W), (C, H, W) or several (N, C, H, W), as floats "
              "0..1 or bytes 0..255.")
    _run_options(p)
    p.add_argument("images", nargs="*", metavar="IMAGE", help="image or .npy files")
    p.add_argument("--sample", type=_whole(1), metavar="N", help="the first N images of the test set, too")
    p.add_argument("--top", type=_whole(1), metavar="N", default=3, help="how many classes to name (3)")
    p.add_argument("--invert", action="store_true", help="swap black and white first: the digits are light on dark")


def _run_options(p: argparse.ArgumentParser, required: bool = True) -> None:
    p.add_argument("run", metavar="RUN", nargs=None if required else "?", help="run folder of `tinycnn train`")
    p.add_argument("--data-dir", metavar="DIR", help="folder that holds the files of the data set")
    p.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda-emu (default: as trained)")


def _summary(verbs: Any) -> None:
    p = _verb(verbs, "summary", "inspecting:summary", "layers, shapes, parameters, MACs, memory of a model")
    p.add_argument("model", metavar="MODEL", help="a name from `tinycnn models`")
    p.add_argument("--input", type=_shape, metavar="N,C,H,W", help="shape of the input (default: the model's own)")
    p.add_argument("--classes", type=_whole(1), metavar="N", help="size of the last layer (default: the model's own)")


def _graph(verbs: Any) -> None:
    p = _verb(verbs, "graph", "inspecting:graph", "draw the graph of a model's ops, layer by layer",
              "An .html page to look around in, or an .svg picture; both need nothing else.")
    p.add_argument("model", metavar="MODEL", help="a name from `tinycnn models`")
    p.add_argument("--input", type=_shape, metavar="N,C,H,W", help="shape of the input (default: the model's own)")
    p.add_argument("--out", metavar="FILE", help="what to write, .html or .svg (default: MODEL.html)")
    p.add_argument("--depth", type=_whole(0), metavar="N", help="of .svg: open the layers N deep (default: as deep as "
                   "it is easy to look at)")
    p.add_argument("--training", action="store_true", help="the graph of training: batch statistics, dropout")


def _models(verbs: Any) -> None:
    p = _verb(verbs, "models", "inspecting:models", "the models there are: parameters, MACs, paper, year")
    p.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="as in file names: 'resnet*'")


def _data(verbs: Any) -> None:
    _verb(verbs, "data", "inspecting:data", "the data sets there are")


def _convert(verbs: Any) -> None:
    p = _verb(verbs, "convert", "converting:convert", "a file of weights as another kind of file",
              "Reads .pth, .pt, .th (PyTorch's, without PyTorch), .safetensors, .npz and checkpoints; writes "
              ".safetensors or .npz.  Prefixes such as module. are taken off, old names become new ones.")
    p.add_argument("source", metavar="IN", help="the file to read")
    p.add_argument("target", metavar="OUT", help="the file to write, .safetensors or .npz")
    p.add_argument("--model", metavar="MODEL", help="check that the weights are this model's")


def _gradcheck(verbs: Any) -> None:
    p = _verb(verbs, "gradcheck", "checking:gradcheck", "every op's gradients against differences, first and second",
              "Exit code 1 if any error is larger than its bound.")
    p.add_argument("pattern", nargs="?", default="*", metavar="OP|MODEL", help="an op, a pattern of ops, or a model")
    p.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default), cuda, or cuda-emu, which runs "
                   "the CUDA kernels on the CPU")


def _conformance(verbs: Any) -> None:
    p = _verb(verbs, "conformance", "judging:conformance", "139 operations against PyTorch, by the samples of its own "
              "tests", "Every sample of PyTorch's op_db is put to both: values, shapes, dtypes, changes in place, "
              "gradients by random cotangents; and every call that PyTorch refuses.  Needs the extra conformance.  "
              "TINYCNN_KERNELS=reference judges the reference kernels.  Exit code 1 if any operation is wrong or "
              "missing.")
    p.add_argument("--ops", metavar="PATTERN", default="*", help="as in file names, several joined by commas: "
                   "'conv*,pad.*'")
    p.add_argument("--all", action="store_true", help="also other operations that op_db has samples for")
    p.add_argument("--reference-inputs", action="store_true", help="op_db's larger sets of samples")
    p.add_argument("--samples", type=_whole(1), metavar="N", help="at most N samples per operation, evenly spread")
    p.add_argument("--largest", type=_whole(0), metavar="N", help="only samples with at most N numbers; of each "
                   "operation at least the smallest")
    p.add_argument("--dtype", choices=("float64", "float32"), help="of the samples (float64)")
    p.add_argument("--dump", metavar="FILE", help="write what is asked, and PyTorch's answers, to a file (.npz)")
    p.add_argument("--load", metavar="FILE", help="ask what such a file holds: needs no PyTorch")
    p.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default), cuda, or cuda-emu, which runs "
                   "the CUDA kernels on the CPU")


def _race(verbs: Any) -> None:
    p = _verb(verbs, "race", "racing:race", "one operation in several implementations, each faster than the one before",
              "Times every rung of kernels/ladder, checks its result, and compares it with the peak measured in the "
              "same run: of a matrix product for conv2d, of copying for the others.  docs/ladder.md explains the "
              "rungs.  Exit code 1 if a result is wrong.  NumPy's BLAS keeps its own number of threads.")
    operations = p.add_subparsers(title="operations", metavar="OPERATION", dest="operation", required=True)
    conv = _raced(operations, "conv2d")
    conv.add_argument("--weight", type=_shape, metavar="O,C/G,KH,KW", required=True, help="shape of the weights")
    conv.add_argument("--groups", type=_whole(1), metavar="G", default=1)
    pool = _raced(operations, "max_pool2d")
    pool.add_argument("--kernel-size", type=_pair(1), metavar="K[,K]", required=True)
    for q, stride in ((conv, (1, 1)), (pool, None)):
        q.add_argument("--stride", type=_pair(1), metavar="S[,S]", default=stride)
        q.add_argument("--padding", type=_pair(0), metavar="P[,P]", default=(0, 0))
        q.add_argument("--dilation", type=_pair(1), metavar="D[,D]", default=(1, 1))
    _raced(operations, "batch_norm")


def _raced(operations: Any, name: str) -> argparse.ArgumentParser:
    p = operations.add_parser(name)
    p.add_argument("--input", type=_shape, metavar="N,C,H,W", required=True, help="shape of the input")
    p.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    p.add_argument("--seconds", type=_real, metavar="S", default=1.0, help="for each rung (1); at least one run")
    p.add_argument("--plot", metavar="FILE", help="draw the times (.png, .svg, .pdf; needs matplotlib)")
    _common(p, default=argparse.SUPPRESS)            # what was said before the operation's name stays
    return p


def _warmup(verbs: Any) -> None:
    p = _verb(verbs, "warmup", "warming:warmup", "compile the kernels that models need, and keep them on disk",
              "One training step and one classification of each model.  What is compiled already is only loaded.")
    p.add_argument("models", nargs="*", metavar="MODEL", help="names from `tinycnn models` (default: nets that "
                   "together have all usual layers)")
    p.add_argument("--dtype", choices=("float32", "float64"), default="float32")


def _tune(verbs: Any) -> None:
    p = _verb(verbs, "tune", "tuning:tune", "measure which algorithm computes each convolution fastest, and keep it",
              "Times the three passes of every convolution of the models by every algorithm that is exact enough.  "
              "Where another than the table's gains clearly, it is kept in a file of this user for this machine, and "
              "taken from then on, whatever the batch; results differ by rounding.  TINYCNN_TUNED=off, or the path of "
              "another file, overrides that.")
    p.add_argument("models", nargs="*", metavar="MODEL", help="names from `tinycnn models` (default: four usual nets)")
    p.add_argument("--input", type=_shape, metavar="N,C,H,W", help="shape of their input (default: 8 images of the "
                   "model's own size)")
    p.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    p.add_argument("--seconds", type=_real, metavar="S", default=0.2, help="for each algorithm of each pass (0.2)")
    p.add_argument("--gain", type=_real, metavar="X", default=0.05, help="keep what takes this part less time (0.05)")
    p.add_argument("--file", metavar="FILE", help="keep the choices there")
    p.add_argument("--reset", action="store_true", help="remove the file: the table's choices again")


def _doctor(verbs: Any) -> None:
    _verb(verbs, "doctor", "checking:doctor", "versions, BLAS, threads, caches, GPU, and a self-test: for bug reports")


# ---------------------------------------------------------------------------------------- details

def _verb(verbs: Any, name: str, function: str, summary: str, more: str = "") -> argparse.ArgumentParser:
    p = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.  {more}".strip())
    p.set_defaults(verb=function)
    _common(p)
    return p


def _common(p: argparse.ArgumentParser, **default: Any) -> None:
    p.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout", **default)
    p.add_argument("--threads", type=_whole(1), metavar="N", help="CPU threads to use (default: all)", **default)
    p.add_argument("--debug", action="store_true", help="show the traceback of an error", **default)


class _Version(argparse.Action):
    def __init__(self, option_strings: Any, dest: str):
        super().__init__(option_strings, dest, nargs=0, help="show the version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from .. import __version__
        parser.exit(message=f"tinycnn {__version__}\n")


def _whole(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
        return value
    return whole


def _pair(least: int) -> Callable[[str], tuple[int, int]]:
    whole = _whole(least)

    def pair(text: str) -> tuple[int, int]:
        values = [whole(part) for part in text.split(",")]
        if len(values) > 2:
            raise argparse.ArgumentTypeError(f"expected one whole number or two such as 3,5, got {text!r}")
        return values[0], values[-1]
    return pair


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return value


def _reals(text: str) -> tuple[float, ...]:
    return tuple(_real(part) for part in text.split(","))


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) != 4 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"expected four whole numbers N,C,H,W such as 1,3,224,224, got {text!r}")
    return shape
