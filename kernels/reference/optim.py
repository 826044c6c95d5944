"""Optimizer updates, in place: parameters and their states are written over.  Formulas and their order: PyTorch's.

    sgd       v = momentum*v + (1 - dampening)*g;  param -= lr * v                     Sutskever et al. 2013
    adam      m, v = running means of g and g^2;  param -= lr * m^ / (sqrt(v^) + eps)  Kingma & Ba 2015, algorithm 1
    rmsprop   v = running mean of g^2;  param -= lr * g / (sqrt(v) + eps)              Hinton, lecture 6e
    running   kept = (1 - momentum)*kept + momentum*now, for batch norm's statistics   Ioffe & Szegedy 2015, section 3.1

Every argument in the plural is a list with an array for each parameter, all of one dtype and on one device, or None.
`numbers` are those that may change from step to step: a tuple, or a Varying of one (kernels/capture.py).
"""
from itertools import repeat

from ._xp import array_module

__all__ = ["sgd_update", "adam_update", "rmsprop_update", "running_update"]


def rows(*lists):
    """The arrays that belong to one parameter, for each; None for what is not kept."""
    return zip(*(repeat(None) if arrays is None else arrays for arrays in lists))


def sgd_update(params, grads, bufs, numbers, nesterov, maximize, first):
    """Stochastic gradient descent; bufs are the velocities (None without momentum), `first`: they are still empty.

    numbers   (lr, momentum, dampening, weight_decay)
    """
    for param, grad, buf in rows(params, grads, bufs):
        _sgd(param, grad, buf, *numbers, nesterov, maximize, first)


def _sgd(param, grad, buf, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    g = -grad if maximize else grad
    if weight_decay:
        g = g + weight_decay * param
    if momentum:
        if first:
            buf[...] = g
        else:
            buf *= momentum
            buf += (1 - dampening) * g
        g = g + momentum * buf if nesterov else buf
    param -= lr * g


def adam_update(params, grads, ms, vs, vmaxs, numbers, decoupled, maximize):
    """Adam, AdamW (decoupled: Loshchilov & Hutter 2019) and AMSGrad (vmaxs given: Reddi et al. 2018).

    numbers   (lr, beta1, beta2, eps, weight_decay, step), step counted from 1
    """
    for param, grad, m, v, vmax in rows(params, grads, ms, vs, vmaxs):
        _adam(param, grad, m, v, vmax, *numbers, decoupled, maximize)


def _adam(param, grad, m, v, vmax, lr, beta1, beta2, eps, weight_decay, step, decoupled, maximize):
    xp = array_module(param)
    g = -grad if maximize else grad
    if weight_decay and decoupled:
        param *= 1 - lr * weight_decay
    elif weight_decay:
        g = g + weight_decay * param
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * g * g
    largest = v
    if vmax is not None:
        xp.maximum(vmax, v, out=vmax)
        largest = vmax
    step_size, root = lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5
    param -= step_size * m / (xp.sqrt(largest) / root + eps)


def rmsprop_update(params, grads, vs, bufs, gavgs, numbers, maximize):
    """RMSprop, centred if gavgs (the running means of g) are given, with momentum if bufs are.

    numbers   (lr, alpha, eps, weight_decay, momentum)
    """
    for param, grad, v, buf, gavg in rows(params, grads, vs, bufs, gavgs):
        _rmsprop(param, grad, v, buf, gavg, *numbers, maximize)


def _rmsprop(param, grad, v, buf, gavg, lr, alpha, eps, weight_decay, momentum, maximize):
    xp = array_module(param)
    g = -grad if maximize else grad
    if weight_decay:
        g = g + weight_decay * param
    v *= alpha
    v += (1 - alpha) * g * g
    spread = v
    if gavg is not None:
        gavg += (1 - alpha) * (g - gavg)
        spread = v - gavg * gavg
    scaled = g / (xp.sqrt(spread) + eps)
    if momentum:
        buf *= momentum
        buf += scaled
        scaled = buf
    param -= lr * scaled


def running_update(kept, now, momentum, unbias):
    """Running mean and variance (C,) move towards a batch's.

    kept     [mean, variance], either may be None
    now      [mean, biased variance]
    unbias   n / (n - 1), by which the variance is multiplied
    """
    for old, new in zip(kept, (now[0], now[1] * unbias)):
        if old is not None:
            old[...] = old * (1 - momentum) + new * momentum
