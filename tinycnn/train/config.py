"""The settings of a training run, and the optimizer and learning-rate schedule they describe."""
from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Mapping

from .. import optim
from ..data.transforms import CHANGES
from ..optim import lr_scheduler

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "step", "multistep", "cosine", "onecycle", "plateau")


@dataclass(frozen=True)
class Config:
    """Everything that decides the outcome of a run: two runs of one Config end in the same bits.

    model, data      names; for the records of a script's own model and data they may be anything
    epochs           passes over the training set; the schedule is laid out over all of them
    batch_size       images per step
    lr               the learning rate; the highest one for cosine and onecycle
    optimizer        sgd, adam, adamw, rmsprop
    momentum         of sgd and rmsprop
    schedule         constant; step: a tenth after each third of the steps; multistep: a tenth at one half and at three
                     quarters (He et al. 2016, section 4.2); cosine: half a wave down to 0 (Loshchilov & Hutter 2017,
                     eq. 5); onecycle: up and down (Smith & Topin 2018); plateau: a tenth when the test loss (without a
                     test set: the training loss) has not fallen for 3 epochs
    warmup_epochs    the learning rate first rises linearly, for that long (Goyal et al. 2017, section 2.2)
    label_smoothing  of the training loss (Szegedy et al. 2016, section 7)
    clip_norm        gradients with a longer norm are scaled down to it; 0: never
    augment          random changes of training images: none, or some of crop, flip, cutout, mixup joined by +
    image_size       height and width to which images are resized; 0: they stay as they are
    mean, std        per channel or for all of them, by which images are normalised; (): the data set's own
    seed             of initial parameters (if the command line makes the model), order, augmentation and dropout
    dtype, device    of the model
    amp              none; float16 (with a GradScaler) or bfloat16: the training steps compute in mixed precision, on
                     parameters of float32 (see tinycnn.amp); tests are always in the model's own

    Raises ValueError for a value outside its range.
    """

    model: str = "model"
    data: str = "data"
    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    augment: str = "none"
    image_size: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    amp: str = "none"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("lr", 0), ("momentum", 0),
                            ("weight_decay", 0), ("warmup_epochs", 0), ("label_smoothing", 0), ("clip_norm", 0),
                            ("image_size", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"Config: {name}={getattr(self, name)!r}, expected at least {least}")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("dtype", ("float32", "float64")),
                            ("amp", ("none", "float16", "bfloat16"))):
            if getattr(self, name) not in known:
                raise ValueError(f"Config: {name}={getattr(self, name)!r}, expected one of {', '.join(known)}")
        if self.augment != "none" and (wrong := set(self.augment.split("+")) - set(CHANGES)):
            raise ValueError(f"Config: augment={self.augment!r}: {', '.join(map(repr, sorted(wrong)))} is none of "
                             f"{', '.join(CHANGES)} (joined by +) or none")
        if self.warmup_epochs and self.schedule in ("onecycle", "plateau"):
            raise ValueError(f"Config: warmup_epochs={self.warmup_epochs} with schedule={self.schedule!r}: onecycle "
                             "has its own warm-up and plateau none; use constant, step, multistep or cosine")
        if self.amp != "none" and self.dtype != "float32":
            raise ValueError(f"Config: amp={self.amp!r} with dtype={self.dtype!r}: mixed precision is 16 and 32 bits; "
                             "use dtype='float32'")
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"Config: warmup_epochs={self.warmup_epochs} leaves nothing of epochs={self.epochs}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The Config that `to_dict` gave.  Raises ValueError for a name that is no setting."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"Config: unknown settings {', '.join(unknown)}")
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """The settings by name: numbers, strings and tuples of numbers."""
        return asdict(self)

    def changed(self, **values: Any) -> Config:
        """A copy with some settings changed; those given as None stay."""
        return replace(self, **{name: v for name, v in values.items() if v is not None})


def make_optimizer(config: Config, model: Any) -> Any:
    """The optimizer of the model's parameters."""
    decay = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return optim.SGD(model.parameters(), momentum=config.momentum, **decay)
    if config.optimizer == "rmsprop":
        return optim.RMSprop(model.parameters(), momentum=config.momentum, **decay)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[config.optimizer](model.parameters(), **decay)


def make_schedule(config: Config, optimizer: Any, steps_per_epoch: int) -> Any:
    """The schedule, to be stepped after every step (plateau: after every epoch, with the loss).

    Its length is config.epochs, whenever the run is stopped or resumed.
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    rest = total - warmup
    if config.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=3)
    if config.schedule == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=total)
    if config.schedule == "step":
        main = lr_scheduler.StepLR(optimizer, step_size=-(-rest // 3), gamma=0.1)
    elif config.schedule == "multistep":
        main = lr_scheduler.MultiStepLR(optimizer, milestones=[rest // 2, rest * 3 // 4], gamma=0.1)
    elif config.schedule == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=rest)
    else:
        main = lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    if not warmup:
        return main
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[warmup])
