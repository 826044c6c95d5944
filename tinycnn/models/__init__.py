"""One file per family of architectures: create_model("lenet") builds any of list_models(), and so does lenet()."""
from .digits import digits_net
from .lenet import bn_lenet, lenet
from .registry import ModelInfo, create_model, list_models, model_info, recipe, register_model
from .resnet import resnet18_d2l

__all__ = ["ModelInfo", "bn_lenet", "create_model", "digits_net", "lenet", "list_models", "model_info", "recipe",
           "register_model", "resnet18_d2l"]
