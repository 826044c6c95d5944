"""The training loop: what happens to a model from its first random weights to its last accuracy.

    for every epoch:
        for every batch of the training set, in a new random order:
            forward     logits = model(images);  loss = cross_entropy(logits, labels)
            backward    loss.backward()               the gradient of every parameter
            update      optimizer.step()              every parameter a little downhill
                        schedule.step()               and the next step a little shorter
        evaluate on the test set, write the epoch down, save a checkpoint

fit() is that loop.  Trainer holds all that changes while it runs, so that a checkpoint is Trainer.state_dict() and
a resumed run continues bit for bit; evaluate() is the loop's half without learning.

On a GPU the host runs ahead: the next batch is copied while a step computes, and losses stay on the device until they
are shown or saved.  On the CPU they are known at once.
"""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Callable

import numpy as np

from .. import random
from ..amp import GradScaler, autocast
from ..autograd import AnomalyError, Tensor, no_grad
from ..backend import array_module, is_readable, to_device, to_numpy
from ..data import DataLoader
from ..nn.functional import cross_entropy
from ..nn.utils import clip_grad_norm_
from .config import Config, make_optimizer, make_schedule
from .history import History
from .progress import Silent, progress
from .run import Run
from .stop import StopSignals

EVAL_BATCH = 256                                     # fixed: the summed test loss is the same for any training batch
SAVE_EVERY = 60.0                                    # seconds between checkpoints within an epoch
READ_EVERY = 0.1                                     # and between two looks at the losses, where looking means waiting


class NonFiniteLoss(ArithmeticError):
    """The loss became NaN or infinite: training has broken down and goes no further."""


def fit(model: Any, train_set: Any, test_set: Any = None, config: Config | None = None, run: Run | str | None = None,
        resume: bool = False, show: Silent | None = None, stop_after_epoch: int | None = None) -> History:
    """Train `model` in place; return the numbers of every epoch.

    train_set, test_set  data sets of (image (C, H, W), label); without a test set nothing is evaluated
    config               the settings; by default those of Config()
    run                  folder (or Run) for config, metrics and checkpoints; None writes nothing
    resume               go on from the run's checkpoint, if it has one: the result is that of a run never stopped
    show                 how progress is shown; by default a bar or lines on stderr; Silent() for nothing
    stop_after_epoch     stop once so many epochs are done, to be resumed later

    Ctrl-C (SIGTERM) finishes the step in hand, saves it if there is a run, and ends with KeyboardInterrupt
    (SystemExit 143).  Raises NonFiniteLoss, naming the step, when the loss is NaN or infinite; the last checkpoint
    stays.  Raises ValueError if the run was made with another config.
    """
    config = config or Config()
    trainer = Trainer(model, train_set, test_set, config, show or progress())
    run = Run.at(run, config, resume) if isinstance(run, (str, Path)) else run
    if run is not None:
        run.tidy()
        if resume and run.has_checkpoint():
            trainer.load_state_dict(run.load_checkpoint())
    last = min(config.epochs, stop_after_epoch or config.epochs)
    with StopSignals() as stop:
        saver = Saver(trainer, run, stop)
        while trainer.epoch < last:
            trainer.train_epoch(after_step=saver.maybe)
            trainer.finish_epoch(after_batch=saver.maybe)
            saver.save()
    saver.draw()
    return trainer.history


@dataclass
class Tally:
    """What has added up so far in this epoch."""

    loss: float = 0.0                                # sum over images
    correct: int = 0
    images: int = 0
    seconds: float = 0.0
    lr: float = 0.0                                  # of the latest step


@dataclass
class Evaluation:
    """How a model does on a data set.  confusion[i, j] counts images of class i that were taken for class j."""

    loss: float
    accuracy: float
    confusion: np.ndarray
    seconds: float


class Trainer:
    """A training run between two steps: the model and everything else that the next step depends on."""

    def __init__(self, model: Any, train_set: Any, test_set: Any, config: Config, show: Silent):
        random.manual_seed(config.seed)              # of dropout; the model has been made before
        self.model, self.test_set, self.config, self.show = model, test_set, config, show
        model.to(config.dtype).to(config.device)
        self.loader = DataLoader(train_set, config.batch_size, shuffle=True, seed=config.seed, device=config.device)
        self.optimizer = make_optimizer(config, model)
        self.schedule = make_schedule(config, self.optimizer, len(self.loader))
        mixed = config.amp != "none"
        self.autocast = autocast(config.device, config.amp if mixed else None, enabled=mixed)
        self.scaler = GradScaler(config.device, enabled=config.amp == "float16")
        self.history, self.tally = History(), Tally()
        self.epoch, self.step = 0, 0                 # finished ones
        self.unread: list[tuple[int, Any, Any, int]] = []        # (step, loss, correct, images) not in the tally yet
        self.read_at = -math.inf
        self.evaluation: Evaluation | None = None    # the latest

    def train_epoch(self, after_step: Callable[[], None]) -> None:
        """Every batch of the epoch that has not been seen yet."""
        self.model.train()
        if self.step == (self.epoch + 1) * len(self.loader):
            return                                   # resumed between the last step and the evaluation
        self.read_at = -math.inf                     # the first loss is shown
        for images, labels in self.loader:
            start = perf_counter()
            try:
                self.train_step(images, labels)
            except AnomalyError as error:
                error.args = (f"step {self.step + 1} (epoch {self.epoch + 1}): {error}",)
                raise
            self.tally.seconds += perf_counter() - start
            self.show.step(self.epoch + 1, self.config.epochs, self.step - self.epoch * len(self.loader),
                           len(self.loader), self.tally.loss / self.tally.images)
            after_step()
        start = perf_counter()
        self.read()
        self.tally.seconds += perf_counter() - start

    def train_step(self, images: Any, labels: Any) -> None:
        """One step: images (N, C, H, W), labels (N,) or, mixed, (N, classes), arrays of the loader's device."""
        config = self.config
        target = labels if labels.ndim == 1 else as_input(labels, config.dtype, config.device)
        with self.autocast:
            output = self.model(as_input(images, config.dtype, config.device))
            logits, loss = with_loss(self.model, output, target, config.label_smoothing)
        classes = labels if labels.ndim == 1 else labels.argmax(axis=1)
        correct = (logits.detach().to(config.dtype).data.argmax(axis=1) == classes).sum()
        self.unread.append((self.step, loss.data, correct, len(labels)))
        if is_readable(loss.data) or monotonic() - self.read_at > READ_EVERY:
            self.read()                              # before the update: on the CPU, no weight becomes NaN
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.tally.lr = self.optimizer.param_groups[0]["lr"]
        if config.schedule != "plateau":
            self.schedule.step()
        self.step += 1

    def read(self) -> None:
        """Bring the tally up to date: the host waits for the device, once for all steps since the last time."""
        steps, self.unread, self.read_at = self.unread, [], monotonic()
        if not steps:
            return
        xp = array_module(steps[0][1])
        values = to_numpy(xp.stack([xp.asarray(v, np.float64) for _, *both, _ in steps for v in both]))
        for (step, _, _, images), loss, correct in zip(steps, values[::2].tolist(), values[1::2].tolist()):
            self._check_finite("loss", loss, step)
            self.tally.loss += loss * images
            self.tally.correct += int(correct)
            self.tally.images += images

    def finish_epoch(self, after_batch: Callable[[], None]) -> None:
        """Evaluate, and write the epoch down."""
        tally = self.tally
        if self.test_set is not None:
            self.evaluation = evaluate(self.model, self.test_set, EVAL_BATCH, after_batch)
            self._check_finite("test loss", self.evaluation.loss, self.step)
        test = self.evaluation
        train_loss = tally.loss / tally.images
        row = {"epoch": self.epoch + 1, "step": self.step, "train_loss": train_loss,
               "train_accuracy": tally.correct / tally.images, "test_loss": test and test.loss,
               "test_accuracy": test and test.accuracy, "lr": tally.lr,
               "seconds": tally.seconds, "images_per_second": tally.images / tally.seconds}
        if self.config.schedule == "plateau":
            self.schedule.step(test.loss if test else train_loss)
        self.history.rows.append(row)
        self.epoch, self.tally = self.epoch + 1, Tally()
        self.show.epoch(row, self.config.epochs)

    def _check_finite(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            lr = self.optimizer.param_groups[0]["lr"]
            raise NonFiniteLoss(f"the {name} is {value} at step {step + 1} (epoch {self.epoch + 1}, lr {lr:.3g}): "
                                "training has broken down; the last checkpoint was kept. A smaller --lr, "
                                "--warmup-epochs or --clip-norm usually mends it")

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on.  Raises NonFiniteLoss if a loss not looked at yet is NaN or infinite."""
        self.read()
        return {"epoch": self.epoch, "step": self.step, "tally": asdict(self.tally), "history": self.history.rows,
                "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "loader": self.loader.state_dict(),
                "scaler": self.scaler.state_dict(), "random": random.get_rng_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be where the trainer of `state` was."""
        self.epoch, self.step, self.tally = state["epoch"], state["step"], Tally(**state["tally"])
        self.history = History(list(state["history"]))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.loader.load_state_dict(state["loader"])
        self.scaler.load_state_dict(state.get("scaler", {}))     # earlier versions' states have none
        random.set_rng_state(state["random"])


class Saver:
    """Writes the trainer's state into the run folder: after each epoch, once a minute, and when asked to stop."""

    def __init__(self, trainer: Trainer, run: Run | None, stop: StopSignals):
        self.trainer, self.run, self.stop, self.saved = trainer, run, stop, monotonic()

    def maybe(self) -> None:
        """Between two steps: save if it is time, and leave if a signal came."""
        if self.stop.requested is not None:
            self.save()
            self.trainer.show.note(f"stopped at epoch {self.trainer.epoch + 1}, step {self.trainer.step}"
                                   + (f"; saved in {self.run.path}, go on with --resume" if self.run else ""))
            self.stop.leave()
        if monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, the metrics and the confusion matrix."""
        trainer, run = self.trainer, self.run
        if run is None:
            return
        run.save_checkpoint(trainer.state_dict())
        run.write_metrics(trainer.history)
        if trainer.evaluation is not None:
            run.write_confusion(trainer.evaluation.confusion, class_names(trainer.test_set, trainer.evaluation))
        self.saved = monotonic()

    def draw(self) -> None:
        """Write the pictures; without matplotlib say so."""
        trainer, found = self.trainer, self.trainer.evaluation
        if self.run is None:
            return
        try:
            self.run.draw(trainer.history, found and found.confusion, found and class_names(trainer.test_set, found))
        except ImportError as error:
            trainer.show.note(f"no curves.png and confusion.png: {error}; they need matplotlib: "
                              "pip install 'tinycnn[plot]'")


def evaluate(model: Any, dataset: Any, batch_size: int = EVAL_BATCH,
             after_batch: Callable[[], None] = lambda: None) -> Evaluation:
    """Mean cross-entropy loss, accuracy and confusion matrix of `model`, in eval mode, on a data set.

    The model is left in the mode it was in.  Raises ValueError for an empty data set.
    """
    if not len(dataset):
        raise ValueError("evaluate: the data set is empty")
    like = next(iter(model.parameters()))
    was_training, start = model.training, perf_counter()
    losses, predicted, labels_of = [], [], []        # they stay on the device to the end
    model.eval()
    try:
        with no_grad():
            for images, labels in DataLoader(dataset, batch_size, device=like.device):
                logits = model(as_input(images, like.dtype, like.device))
                losses.append(cross_entropy(logits, labels, reduction="sum").data)
                predicted.append(logits.data.argmax(axis=1))
                labels_of.append(labels)
                after_batch()
    finally:
        model.train(was_training)
    xp, classes = array_module(losses[0]), logits.shape[1]
    loss = sum(to_numpy(xp.stack(losses)).tolist())
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (to_numpy(xp.concatenate(labels_of)), to_numpy(xp.concatenate(predicted))), 1)
    return Evaluation(loss / confusion.sum(), np.trace(confusion) / confusion.sum(), confusion, perf_counter() - start)


def with_loss(model: Any, output: Any, target: Any, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The logits in a model's output and the loss; auxiliary heads' losses count what model.aux_weights say."""
    heads = output if isinstance(output, tuple) else (output,)
    weights = (1.0, *getattr(model, "aux_weights", (1.0,) * len(heads)))
    losses = [cross_entropy(logits, target, label_smoothing=label_smoothing) for logits in heads]
    return heads[0], sum((w * loss for w, loss in zip(weights[1:], losses[1:])), losses[0])


def class_names(dataset: Any, found: Evaluation) -> list[str]:
    """What the data set calls its classes; their numbers if it does not say."""
    return list(getattr(dataset, "classes", None) or map(str, range(len(found.confusion))))


def as_input(images: Any, dtype: Any, device: str) -> Tensor:
    """Images of a loader as what the model takes."""
    images = to_device(images, device)
    return Tensor(array_module(images).ascontiguousarray(images, dtype))
