"""Optimizer updates, in place: param and its state are written over.  Formulas and their order: PyTorch's.

    sgd       v = momentum*v + (1 - dampening)*g;  param -= lr * v                     Sutskever et al. 2013
    adam      m, v = running means of g and g^2;  param -= lr * m^ / (sqrt(v^) + eps)  Kingma & Ba 2015, algorithm 1
    rmsprop   v = running mean of g^2;  param -= lr * g / (sqrt(v) + eps)              Hinton, lecture 6e
"""
from ._xp import array_module

__all__ = ["sgd_update", "adam_update", "rmsprop_update"]


def sgd_update(param, grad, buf, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """Stochastic gradient descent; buf is the velocity (None without momentum), `first` says it is still empty."""
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


def adam_update(param, grad, m, v, vmax, lr, beta1, beta2, eps, weight_decay, step, decoupled, maximize):
    """Adam, AdamW (decoupled: Loshchilov & Hutter 2019) and AMSGrad (vmax given: Reddi et al. 2018)."""
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


def rmsprop_update(param, grad, v, buf, gavg, lr, alpha, eps, weight_decay, momentum, maximize):
    """RMSprop, centred if gavg (the running mean of g) is given, with momentum if buf is."""
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
