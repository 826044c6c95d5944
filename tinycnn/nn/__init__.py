"""Layers, their initialisation and their functions.  Names and arguments: torch.nn."""
from . import functional, init, utils
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .layers import *
from .module import Module
from .parameter import Parameter, UninitializedParameter
