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
    assert doctest.testmod(importlib.import_module(name), extraglobs=as_a_user).failed == 0
