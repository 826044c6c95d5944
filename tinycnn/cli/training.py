"""The verbs train and eval, and how a run is opened again."""
from __future__ import annotations

from argparse import Namespace
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any

from .. import random
from ..autograd import detect_anomaly
from ..data import channels, load_dataset
from ..io import load_weights
from ..models import create_model, model_info, recipe
from ..nn import init
from ..train import Config, Run, fit, progress
from ..train import evaluate as evaluate_model
from . import Result

DEFAULT_MODEL = "digits_net"
CONFIG_OPTIONS = [f.name for f in fields(Config)]    # each is an option of `train`, dashes for underscores


def train(args: Namespace) -> Result:
    """Begin a run, or go on with one."""
    run = _resumed(args) if args.resume else None
    config = run.config if run else _config(args)
    train_set, test_set = datasets(config, args.data_dir)
    model = build(config, train_set)
    run = run or (Run.at(args.out, config) if args.out else Run.fresh(config))
    show = progress()
    show.note(f"{config.model} ({count(model):,} parameters) on {config.data} ({len(train_set):,} + {len(test_set):,} "
              f"images), {config.epochs} epochs, in {run.path}")
    start = perf_counter()
    watch = detect_anomaly(allow_inf=config.amp == "float16") if args.detect_anomaly else nullcontext()
    with watch:
        history = fit(model, train_set, test_set, config, run, bool(args.resume), show, args.stop_after_epoch)
    return _outcome(history.last["test_loss"], history.last["test_accuracy"], perf_counter() - start, model, run,
                    {"epochs": len(history), "train_loss": history.last["train_loss"]})


def evaluate(args: Namespace) -> Result:
    """Test a trained model."""
    if (args.run is None) == (args.weights is None):
        raise ValueError("eval: give the folder of a run, or --model MODEL --weights FILE")
    trained = reopen(args) if args.run else loaded(args)
    found = evaluate_model(trained.model, trained.test_set, args.batch_size)
    return _outcome(found.loss, found.accuracy, found.seconds, trained.model, trained.run,
                    {"images": len(trained.test_set)})


def loaded(args: Namespace) -> Trained:
    """The model args.model with the weights of args.weights, and the test set its recipe normalises."""
    if args.model is None:
        raise ValueError("eval --weights FILE: which model? Give --model MODEL, a name from `tinycnn models`")
    config = _config(args)
    _, test_set = datasets(config.changed(augment="none"), args.data_dir)
    with init.skip_init():
        model = build(config, test_set)
    model.load_state_dict(load_weights(args.weights))
    return Trained(Run(args.weights, config), model.eval(), test_set)


def datasets(config: Config, data_dir: str | None) -> tuple[Any, Any]:
    """The training and the test set of a config."""
    return load_dataset(config.data, data_dir, config.augment, config.image_size, config.mean, config.std)


@dataclass
class Trained:
    """A run opened again: its model with the newest weights, in eval mode, and its test set."""

    run: Run
    model: Any
    test_set: Any


def reopen(args: Namespace) -> Trained:
    """The run in the folder args.run."""
    run = Run.open(args.run)
    state = run.load_checkpoint()
    config = run.config.changed(device=args.device)
    _, test_set = datasets(config.changed(augment="none"), args.data_dir)
    model = build(config, test_set)
    model.load_state_dict(state["model"])
    return Trained(run, model.eval(), test_set)


def build(config: Config, dataset: Any) -> Any:
    """The model of a config with its first weights, for the images and classes of a data set."""
    random.manual_seed(config.seed)
    return create_model(config.model, num_classes=len(dataset.classes), in_channels=dataset.image_shape[0],
                        dtype=config.dtype, device=config.device)


def count(model: Any) -> int:
    """How many numbers there are to learn."""
    return sum(p.numel() for p in model.parameters())


def _config(args: Namespace) -> Config:
    """The model's recipe, with the options that were given."""
    given = {name: getattr(args, name) for name in CONFIG_OPTIONS if getattr(args, name, None) is not None}
    model = given.get("model", DEFAULT_MODEL)
    data = given.get("data") or default_data(model)
    settings = recipe(model, data)
    if len(settings.get("mean", ())) not in (1, channels(data)):     # colours' statistics say nothing of grey images
        settings = {name: v for name, v in settings.items() if name not in ("mean", "std")}
    return Config(**{**settings, **given})


def default_data(model: str) -> str:
    """The data set a model is trained on unless told otherwise, by the images it was made for."""
    _, channels, height, _ = model_info(model).input_shape
    return "digits" if height == 8 else "fashion_mnist" if channels == 1 else "cifar10"


def _resumed(args: Namespace) -> Run:
    """The run to go on with: --resume RUN, or --resume and --out RUN.  Options given again must be the run's."""
    path = args.out if args.resume is True else args.resume
    if path is None or (args.out and Path(path) != Path(args.out)):
        raise ValueError("--resume: which run? Give its folder: --resume RUN, or --out RUN --resume")
    run = Run.open(path)
    run.check(run.config.changed(**{name: getattr(args, name) for name in CONFIG_OPTIONS}))
    return run


def _outcome(loss: float, accuracy: float, seconds: float, model: Any, run: Run, more: dict[str, Any]) -> Result:
    data = {"test_accuracy": accuracy, "test_loss": loss, "seconds": round(seconds, 3), "parameters": count(model),
            "model": run.config.model, "data": run.config.data, "run": str(run.path), **more}
    text = [f"run: {run.path}", f"parameters: {data['parameters']:,}", f"seconds: {seconds:.1f}",
            f"test loss: {loss:.4f}", f"test accuracy: {accuracy:.4f}"]
    return Result("\n".join(text), data)
