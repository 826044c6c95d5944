"""One file per family of architectures: create_model("lenet") builds any of list_models(), and so does lenet()."""
from typing import Any as _Any

from . import (
    alexnet as _alexnet,
    convnext as _convnext,
    densenet as _densenet,
    digits as _digits,
    googlenet as _googlenet,
    inception as _inception,
    lenet as _lenet,
    mobilenet as _mobilenet,
    nin as _nin,
    regnet as _regnet,
    resnet as _resnet,
    resnet_cifar as _resnet_cifar,
    resnet_d2l as _resnet_d2l,
    squeezenet as _squeezenet,
    vgg as _vgg,
)
from ..summary import minimum_input
from .base import ConvNet, FeatureNet
from .registry import (
    MODELS as _MODELS,
    ModelInfo,
    create_model,
    list_models,
    model_info,
    recipe,
    register_family,
    register_model,
)

__all__ = ["ConvNet", "FeatureNet", "ModelInfo", "create_model", "list_models", "minimum_input", "model_info", "recipe",
           "register_family", "register_model", *sorted(_MODELS)]
# A file and a model may have one name (lenet, googlenet, alexnet): the model's goes first.
globals().update({name: info.build for name, info in _MODELS.items()})


def __getattr__(name: str) -> _Any:
    if name in _MODELS:
        return _MODELS[name].build
    raise AttributeError(f"module 'tinycnn.models' has no attribute {name!r}")
