"""Resizing: the weights of the filters, worked out by hand; the rest is in the rows of cases/image.py."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.nn import functional as F


@pytest.mark.parametrize("mode, weights", [("bilinear", [3, 3, 1, 0]), ("bicubic", [111, 111, 29, -9])])
def test_antialias_averages_what_a_pixel_covers(mode, weights):
    """Half the width: the triangle, and the cubic with a = -1/2, at distances 1/4, 3/4 and 5/4."""
    pixels = tc.Tensor(np.eye(4).reshape(4, 1, 1, 4))                    # image i is pixel i
    found = F.interpolate(pixels, (1, 2), mode=mode, antialias=True).data[:, 0, 0]
    np.testing.assert_allclose(found, np.array([weights, weights[::-1]]).T / sum(weights), atol=1e-15)


def test_antialias_changes_no_enlargement():
    image = np.random.default_rng(0).standard_normal((1, 2, 5, 4))
    for size in ((5, 4), (10, 13)):
        sharp, smooth = (F.interpolate(image, size, mode="bilinear", antialias=a).data for a in (False, True))
        np.testing.assert_allclose(smooth, sharp, atol=1e-14)


def test_antialias_goes_with_two_modes():
    with pytest.raises(ValueError, match="antialias goes with modes 'bilinear' and 'bicubic', not with 'nearest'"):
        F.interpolate(tc.ones(1, 1, 4, 4), 2, mode="nearest", antialias=True)
