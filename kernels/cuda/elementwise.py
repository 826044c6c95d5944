"""Activations, erf, dropout and optimizer updates on the GPU: see elementwise.cu."""
from __future__ import annotations

from ..reference import activation, math, optim, random
from .arrays import channels_last, dense, in_float, new, new_like, plain
from .launch import launch

__all__ = ["relu", "relu_backward", "erf", "dropout", "sgd_update", "adam_update", "rmsprop_update"]
FILE = "elementwise.cu"


def _map(kernel, x):
    """An elementwise function of x, lying in memory as x does."""
    last = channels_last(x)
    y = new_like(x, *x.shape, last=last)
    launch(FILE, kernel, x.dtype, x.size, (dense(x, last), dense(y, last), x.size))
    return y


@in_float(activation)
def relu(x):
    """max(0, x), elementwise; nan stays nan."""
    return _map("relu", x)


@in_float(activation)
def relu_backward(g, y):
    """g where y > 0 and 0 elsewhere (even where g is nan or infinite): the gradient of relu for its output y."""
    last = channels_last(y)                          # as the activations lie, whatever g does
    gx = new_like(g, *g.shape, last=last)
    launch(FILE, "relu_backward", g.dtype, g.size, (dense(g, last), dense(y, last, g), dense(gx, last), g.size))
    return gx


@in_float(math)
def erf(x):
    """2/sqrt(pi) * the integral of exp(-t^2) from 0 to x, elementwise.  Abramowitz & Stegun 7.1.1."""
    return _map("erf_of", x)


@in_float(random)
def dropout(x, p, seed):
    """Zero each element with probability p and divide the others by 1 - p.  Linear in x for a given seed."""
    if p in (0, 1):
        return random.dropout(x, p, seed)
    y = new(x, *x.shape)
    launch(FILE, "dropout", x.dtype, x.size, (plain(x), y, seed & random.MASK, p, 1 / (1 - p), x.size))
    return y


def _in_place(kernel, param, arrays, scalars):
    """Run an update on plain memory; what it wrote goes back into arrays that are not plain."""
    given = [param, *arrays]
    own = [plain(a) for a in given]
    launch(FILE, kernel, param.dtype, param.size, (*own, *scalars, param.size))
    for a, b in zip(given, own):
        if a is not None and a is not b:
            a[...] = b


@in_float(optim)
def sgd_update(param, grad, buf, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """Stochastic gradient descent; buf is the velocity (None without momentum), `first` says it is still empty."""
    _in_place("sgd", param, (grad.astype(param.dtype, copy=False), buf),
              (lr, momentum, dampening, weight_decay, nesterov, maximize, first))


@in_float(optim)
def adam_update(param, grad, m, v, vmax, lr, beta1, beta2, eps, weight_decay, step, decoupled, maximize):
    """Adam, AdamW (decoupled: Loshchilov & Hutter 2019) and AMSGrad (vmax given: Reddi et al. 2018)."""
    _in_place("adam", param, (grad.astype(param.dtype, copy=False), m, v, vmax),
              (lr, beta1, beta2, eps, weight_decay, lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5, decoupled,
               maximize))


@in_float(optim)
def rmsprop_update(param, grad, v, buf, gavg, lr, alpha, eps, weight_decay, momentum, maximize):
    """RMSprop, centred if gavg (the running mean of g) is given, with momentum if buf is."""
    _in_place("rmsprop", param, (grad.astype(param.dtype, copy=False), v, buf, gavg),
              (lr, alpha, eps, weight_decay, momentum, maximize))
