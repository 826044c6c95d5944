"""The names of the models, and what is known of each."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cached_property
from inspect import signature
from typing import Any

from .. import random
from ..nn import Module
from ..summary import Summary, summary


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model.

    name         as create_model takes it
    build        the function that builds it; without arguments, as published
    paper, year  where it was published
    input_shape  (1, C, H, W) it was made for
    recipes      settings of a training run by name: "default", and "book" or "paper" for the published one
    """

    name: str
    build: Callable[..., Module]
    paper: str
    year: int
    input_shape: tuple[int, int, int, int]
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """How many numbers there are to learn."""
        return self._summary.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions and linear layers for one image of input_shape."""
        return self._summary.macs

    @cached_property
    def _summary(self) -> Summary:
        """Of the model as published; the weights it is built with are not taken from the program's random numbers."""
        state = random.get_rng_state()
        try:
            return summary(self.build(), self.input_shape)
        finally:
            random.set_rng_state(state)


MODELS: dict[str, ModelInfo] = {}


def register_model(paper: str, year: int, input_shape: tuple[int, int, int, int],
                   recipes: Mapping[str, Mapping[str, Any]] | None = None) -> Callable:
    """Decorator: make a function that builds a model known by its name.

    The function takes num_classes, in_channels and the model's own options by keyword, each with a default.  Raises
    ValueError for a name that is taken.
    """
    def register(build: Callable[..., Module]) -> Callable[..., Module]:
        if build.__name__ in MODELS:
            raise ValueError(f"model {build.__name__!r} is registered twice")
        MODELS[build.__name__] = ModelInfo(build.__name__, build, paper, year, input_shape, recipes or {})
        return build
    return register


def list_models(filter: str | None = None) -> list[str]:
    """The names of all models, or of those that match a pattern such as "resnet*"; sorted."""
    return sorted(name for name in MODELS if filter is None or fnmatch(name, filter))


def model_info(name: str) -> ModelInfo:
    """What is known of a model.  Raises ValueError for an unknown name, with the closest ones."""
    if name not in MODELS:
        close = get_close_matches(name.lower(), MODELS)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(list_models())}"
        raise ValueError(f"no model is called {name!r}: {hint}")
    return MODELS[name]


def create_model(name: str, num_classes: int | None = None, in_channels: int | None = None, dtype: Any = None,
                 device: str | None = None, **options: Any) -> Module:
    """Build a model by name, with fresh weights from the engine's generator (tinycnn.manual_seed).

    num_classes, in_channels  by default what the model was published with
    dtype, device             of its parameters; float32 on the CPU by default
    options                   the model's own

    Raises ValueError for an unknown name (with the closest ones) and TypeError for an option the model does not have.
    As timm.create_model.
    """
    build = model_info(name).build
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    given = {**{k: v for k, v in sizes.items() if v is not None}, **options}
    known = signature(build).parameters
    if unknown := [k for k in given if k not in known]:
        raise TypeError(f"model {name!r} has no option {', '.join(unknown)}: it takes {', '.join(known)}")
    model = build(**given)
    if dtype is not None or device is not None:
        model.to(dtype=dtype, device=device)
    return model


def recipe(name: str, data: str | None = None, edition: str = "default") -> dict[str, Any]:
    """The settings a model is trained with unless told otherwise: names and values of train.Config.

    data     the data set; settings for it alone go over the general ones
    edition  "default", or "book" or "paper" for the published recipe

    Raises ValueError for an unknown model or edition.
    """
    info = model_info(name)
    recipes = info.recipes or {"default": {}}
    if edition not in recipes:
        raise ValueError(f"model {name!r} has no recipe {edition!r}: there are {', '.join(recipes)}")
    chosen = dict(recipes[edition])
    special = chosen.pop("on", {})
    out = {**chosen, **special.get(data, {}), "model": name}
    return out if data is None else {**out, "data": data}
