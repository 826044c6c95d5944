"""One file per family of architectures.  create_model("lenet") builds any of list_models()."""
from . import digits, lenet, resnet
from .digits import digits_net
from .lenet import bn_lenet
from .registry import ModelInfo, create_model, list_models, model_info, recipe, register_model
from .resnet import resnet18_d2l
