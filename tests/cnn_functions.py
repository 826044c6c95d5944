"""The norms, convolutions, pools, losses and activations whose kernels are fused, as functions of tensors alone."""
import numpy as np

from tinycnn.nn import functional as F

LABELS, WEIGHT = np.array([2, 0, 3]), np.array([1.0, 2.0, 0.5, 1.5])


def statistics(x):
    """A mean and a variance for each of two channels, in x's dtype."""
    return np.array([0.3, -0.2], x.dtype), np.array([0.7, 1.9], x.dtype)


FUNCTIONS = {   # name: (function of the tensors, their shapes)
    "batch_norm train": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
                         (3, 2, 2), (2,), (2,)),
    "batch_norm train, plain": (lambda x: F.batch_norm(x, None, None, training=True), (4, 2)),
    "batch_norm train, bias only": (lambda x, b: F.batch_norm(x, None, None, None, b, True), (4, 2), (2,)),
    "batch_norm eval": (lambda x, w, b: F.batch_norm(x, *statistics(x), w, b), (3, 2, 2), (2,), (2,)),
    "batch_norm eval, plain": (lambda x: F.batch_norm(x, *statistics(x)), (2, 2, 2)),
    "batch_norm_relu train": (lambda x, w, b, r: F.batch_norm_relu(x, None, None, w, b, True, 0.1, 0.1, r),
                              (3, 2, 2), (2,), (2,), (3, 2, 2)),
    "batch_norm_relu eval": (lambda x, w, b, r: F.batch_norm_relu(x, *statistics(x), w, b, residual=r),
                             (3, 2, 2), (2,), (2,), (3, 2, 2)),
    "batch_norm_relu eval, plain": (lambda x: F.batch_norm_relu(x, *statistics(x)), (2, 2, 2)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (3, 2), w, b), (2, 3, 2), (3, 2), (3, 2)),
    "layer_norm, bias only": (lambda x, b: F.layer_norm(x, (4,), None, b, eps=0.1), (2, 4), (4,)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (2, 4, 2), (4,), (4,)),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, None, None, w, b), (2, 2, 3), (2,), (2,)),
    "instance_norm eval": (lambda x, w: F.instance_norm(x, *statistics(x), w, None, False), (2, 2, 3), (2,)),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w), (3, 4), (4,)),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3, 0.5, 0.7, 1.2), (1, 4, 3)),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 0), groups=2), (1, 2, 3, 3), (2, 1, 2, 2), (2,)),
    "conv2d_relu": (lambda x, w, b, r: F.conv2d_relu(x, w, b, (2, 1), (1, 0), groups=2, residual=r), (1, 2, 3, 3),
                    (2, 1, 2, 2), (2,), (1, 2, 2, 2)),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2), (1, 2, 2, 2), (2, 1, 2, 2)),
    "linear": (F.linear, (2, 3), (2, 3), (2,)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2, 1), (1, 2, 3, 3)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x * x * x, 2, 1, 1), (1, 2, 3, 2)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x * x, (2, 1)), (1, 2, 3, 2)),
    "cross_entropy": (lambda x: F.cross_entropy(x, LABELS, WEIGHT, label_smoothing=0.2), (3, 4)),
    "cross_entropy, ignoring": (lambda x: F.cross_entropy(x, LABELS, ignore_index=0, reduction="none"), (3, 4)),
    "softmax": (lambda x: F.softmax(x, 1), (2, 3, 2)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (2, 3)),
    "gelu": (lambda x: F.gelu(x), (2, 3)),
    "elu": (lambda x: F.elu(x, 0.7), (2, 4)),
    "silu": (F.silu, (2, 3)),
}
