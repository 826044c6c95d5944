"""Pooling."""
from .base import FunctionLayer, layers

_MAX = "kernel_size stride padding dilation return_indices ceil_mode"
_AVG = "kernel_size stride padding ceil_mode count_include_pad"

__all__ = layers(globals(), FunctionLayer, {
    "MaxPool1d": ("max_pool1d", _MAX),
    "MaxPool2d": ("max_pool2d", _MAX),
    "AvgPool1d": ("avg_pool1d", _AVG),
    "AvgPool2d": ("avg_pool2d", _AVG + " divisor_override"),
    "AdaptiveAvgPool1d": ("adaptive_avg_pool1d", "output_size"),
    "AdaptiveAvgPool2d": ("adaptive_avg_pool2d", "output_size"),
    "AdaptiveMaxPool1d": ("adaptive_max_pool1d", "output_size return_indices"),
    "AdaptiveMaxPool2d": ("adaptive_max_pool2d", "output_size return_indices"),
    "LPPool1d": ("lp_pool1d", "norm_type kernel_size stride ceil_mode"),
    "LPPool2d": ("lp_pool2d", "norm_type kernel_size stride ceil_mode"),
    "MaxUnpool1d": ("max_unpool1d", "kernel_size stride padding"),
    "MaxUnpool2d": ("max_unpool2d", "kernel_size stride padding"),
})
