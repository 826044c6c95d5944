"""The names of the models, and what is known of each."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache, cached_property, partial, wraps
from inspect import signature
from pathlib import Path
from typing import Any

from ..nn import Module, init
from ..summary import summary
from .base import ConvNet, FeatureNet


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
        return self._sizes[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all convolutions and linear layers for one image of input_shape."""
        return self._sizes[1]

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        known = _known_sizes().get(self.name) if self is MODELS.get(self.name) else None
        return tuple(known) if known else self.counted()

    def counted(self) -> tuple[int, int]:
        """Parameters and multiply-accumulates, counted: the model is built without weights and run on no image."""
        with init.skip_init():
            found = summary(self.build(), self.input_shape, dry=True)
        return found.parameters, found.macs


MODELS: dict[str, ModelInfo] = {}


@cache
def _known_sizes() -> dict[str, list[int]]:
    """What counted() gave for the models that come with the package: counting all takes some seconds."""
    return json.loads(Path(__file__).with_name("sizes.json").read_text(encoding="utf-8"))


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


def register_family(build: Callable[..., Module], variants: Mapping[str, Mapping[str, Any]], paper: str, year: int,
                    input_shape: tuple[int, int, int, int],
                    recipes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Make the members of a family known: each is `build` with the options in its row of `variants`."""
    for name, options in variants.items():
        member = partial(build, **options)
        wraps(build)(member)
        member.__name__ = name                       # type: ignore[attr-defined]
        register_model(paper, year, input_shape, recipes)(member)


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
                 device: str | None = None, features_only: bool = False, out_indices: Sequence[int] | None = None,
                 **options: Any) -> Module:
    """Build a model by name, with fresh weights from the engine's generator (tinycnn.manual_seed).

    num_classes, in_channels  by default what the model was published with
    dtype, device             of its parameters; float32 on the CPU by default
    features_only             a net that gives the last map of each resolution, the largest first, and has no head
    out_indices               of which resolutions, counted from the largest; all by default
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
    if features_only:
        if not isinstance(model, ConvNet):
            raise TypeError(f"model {name!r} is no ConvNet: features_only needs its stem, body and head")
        model = FeatureNet(model, out_indices)
    elif out_indices is not None:
        raise TypeError(f"create_model({name!r}): out_indices={out_indices} goes with features_only=True")
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
