"""gradcheck and gradgradcheck: does backward agree with derivatives that need none?"""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from ..autograd import Tensor, grad
from ..backend import device_of, to_device
from ..dtypes import is_floating
from .bound import Bound
from .compare import Comparison, check_deterministic
from .explain import GradcheckError
from .numeric import chosen
from .subject import Subject, listed, wanted


class Report(NamedTuple):
    """What gradcheck found, true if all is right.

    moved    (input, element) that lay at a kink or a tie and were moved, as often as they were; element None: all
    message  what is wrong, or ""
    error    the largest |backward - numeric| of what is right, relative to the largest derivative or to 1
    method   "difference" or "complex"
    full     whether every element was compared, and not random projections
    """
    ok: bool
    moved: list
    message: str
    error: float
    method: str
    full: bool

    def __bool__(self):
        return self.ok


def gradcheck(func: Callable | Subject, inputs: Any, eps: float = 1e-4, atol: float = 1e-8, rtol: float = 1e-7,
              raise_exception: bool = True, nondet_tol: float = 0.0, fast_mode: bool | None = None,
              report: bool = False, method: str = "auto") -> bool | Report:
    """Whether backward through `func` agrees with derivatives that are computed without it.

    func       function of the inputs that returns a Tensor or a tuple of Tensors; or a Subject, which makes one of
               plain functions, PyTorch's, JAX's: with_backward, torch_function, vjp_function
    inputs     one or a sequence; the float64 Tensors that require grad are checked (of a Subject the float64 NumPy
               arrays), the rest is passed on
    eps        the larger of the two steps
    fast_mode  False: compare every element of the Jacobians; True: three random projections u'Jv of each output, and
               if one is off, the element that is; None: the first while inputs and outputs have 1,000 elements
    nondet_tol how much two runs of backward may differ
    report     return a Report, which also counts the elements that lay at a kink (a corner of relu, a tie of max) and
               were moved before they could be checked
    method     "difference"; "complex": a step along the imaginary axis, right to 1e-15 where func is analytic and runs
               on complex arrays (a function of Tensors does so by the kernels in plain NumPy); "auto": the latter for
               plain functions where it is possible, else the former

    Returns True; on disagreement raises GradcheckError naming op, argument and element, or returns False if not
    raise_exception.  Raises ValueError if there is nothing to check, if something is not float64, and for "complex"
    where that is not possible.  As torch.autograd.gradcheck, with tighter tolerances.

    >>> x = Tensor(np.array([0.5, 2.0]), requires_grad=True)
    >>> gradcheck(lambda x: x * x * x, [x])
    True
    """
    bound, message = Bound(func, inputs), ""
    bound.check_inputs()
    check = Comparison(bound, eps, atol, rtol, chosen(bound, bound.point, eps, method), fast_mode)
    try:
        check.run()
        check_deterministic(bound, nondet_tol)
    except GradcheckError as error:
        if raise_exception:
            raise
        message = str(error)
    return Report(not message, check.moved, message, check.error, check.method, check.full) if report else not message


class Check:
    """A gradcheck to be run: by run(), which returns its Report, or by `pytest --gradcheck`, if it is in a test file.

    func, inputs, options  as of gradcheck
    """

    def __init__(self, func: Callable | Subject, inputs: Any, **options: Any):
        self.func, self.inputs, self.options = func, inputs, options

    def run(self) -> Report:
        """The Report of the check."""
        return gradcheck(self.func, self.inputs, **{**self.options, "report": True, "raise_exception": False})


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, eps: float = 1e-4, atol: float = 1e-7,
                  rtol: float = 1e-7, raise_exception: bool = True, nondet_tol: float = 0.0,
                  fast_mode: bool | None = None, method: str = "auto") -> bool:
    """gradcheck of the gradients of `func`, as functions of its inputs and of the incoming gradient.

    grad_outputs  one float64 Tensor per output; by default standard-normal ones

    Arguments, result and errors otherwise as gradcheck; TypeError for a Subject, whose backward says nothing of its own
    derivative: check it as a function of its own.  As torch.autograd.gradgradcheck.
    """
    if isinstance(func, Subject):
        raise TypeError("gradgradcheck: needs a function of Tensors; a Subject's backward is not differentiable: make "
                        "a Subject of it, and gradcheck that")
    inputs = listed(inputs)
    Bound(func, inputs).check_inputs()
    first, grad_outputs = gradient_function(func, inputs, grad_outputs)
    return gradcheck(first, [*inputs, *grad_outputs], eps, atol, rtol, raise_exception, nondet_tol, fast_mode,
                     method=method)


def gradient_function(func: Callable, inputs: Sequence, grad_outputs: Any = None) -> tuple[Callable, list[Tensor]]:
    """The function (inputs, grad_outputs) -> gradients of `func`, differentiable, and grad_outputs to start from."""
    n, rng = len(inputs), np.random.default_rng(8)

    def outputs(point):
        return [y for y in listed(func(*point)) if isinstance(y, Tensor) and is_floating(y.dtype)]
    if grad_outputs is None:
        grad_outputs = [to_device(np.asarray(rng.standard_normal(y.shape)), device_of(y.data)) for y in outputs(inputs)]
    seeds = [Tensor(g.data if isinstance(g, Tensor) else g, requires_grad=True) for g in listed(grad_outputs)]

    def first(*args):
        point = list(args[:n])
        targets = [t for t in point if wanted(t)]
        found = grad(outputs(point), targets, args[n:], create_graph=True, allow_unused=True)
        return tuple(Tensor(t.data * 0) if g is None else g for g, t in zip(found, targets))
    return first, seeds
