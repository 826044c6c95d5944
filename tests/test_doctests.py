"""The examples in every docstring, each module imported under its real name."""
import doctest
import importlib
import pkgutil

import pytest

import tinycnn
import tinycnn.kernels


def modules():
    for package in (tinycnn, tinycnn.kernels):
        for m in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if m.name != "tinycnn.__main__":
                yield m.name


@pytest.mark.parametrize("name", sorted(set(modules())))
def test_doctests(name):
    as_a_user = {"__name__": "__main__"}              # an example's @op must not join the engine's own
    try:
        module = importlib.import_module(name)
    except (ImportError, UserWarning) as error:      # the latter: CuPy without NCCL
        if not any(library in str(error) for library in ("cupy", "nccl", "mpi")):
            raise
        pytest.skip(f"needs a library of a GPU or a cluster: {error}")
    assert doctest.testmod(module, extraglobs=as_a_user).failed == 0
