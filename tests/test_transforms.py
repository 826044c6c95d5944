"""Transforms: what they do to batches, and that a generator alone decides the random ones."""
import numpy as np
import pytest

from tinycnn.data import load_dataset, transforms
from tinycnn.data.transforms import augmentation


@pytest.fixture
def images(rng):
    return rng.random((1000, 3, 8, 6), np.float32) + np.float32(0.01)        # nothing is zero


def places(image, size, padding):
    """Every crop there is."""
    p, (h, w) = padding, size
    padded = np.pad(image, ((0, 0), (p, p), (p, p)))
    return [padded[:, i:i + h, j:j + w] for i in range(padded.shape[1] - h + 1) for j in range(padded.shape[2] - w + 1)]


@pytest.mark.parametrize("change", [
    transforms.RandomCrop((8, 6), 2), transforms.RandomHorizontalFlip(), transforms.Cutout(3),
    transforms.Compose([transforms.RandomCrop((8, 6), 1), transforms.RandomHorizontalFlip()]),
], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_changes_depend_on_the_generator_alone(images, change, dtype):
    x = (images * 100).astype(dtype)
    before = x.copy()
    a, b, c = (change(x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and a.shape == x.shape and a.dtype == dtype
    assert np.array_equal(x, before)                 # the images themselves stay


@pytest.mark.parametrize("size, padding, count", [((8, 6), 1, 9), ((5, 6), 0, 4), (4, 0, 15), ((8, 6), 0, 1)])
def test_crop(images, rng, size, padding, count):
    """Each image is cropped where it may be, and over many images every place comes about equally often."""
    x = np.broadcast_to(images[:1], images.shape)
    crop = transforms.RandomCrop(size, padding)
    wanted = places(images[0], crop.size, padding)
    assert len(wanted) == count
    often = np.array([(crop(x, rng) == place).all((1, 2, 3)).sum() for place in wanted])
    assert np.array([np.array_equal(c, p) for c in crop(x[:50], rng) for p in wanted]).sum() == 50
    assert (abs(often / len(x) - 1 / count) < 4.5 * np.sqrt(1 / count / len(x))).all()


@pytest.mark.parametrize("p", [0, 0.3, 0.5, 1])
def test_flip(images, rng, p):
    out = transforms.RandomHorizontalFlip(p)(images, rng)
    flipped = (out == images[..., ::-1]).all((1, 2, 3))
    assert (flipped | (out == images).all((1, 2, 3))).all()
    assert abs(flipped.mean() - p) <= 4 * np.sqrt(p * (1 - p) / len(images))


@pytest.mark.parametrize("size", [1, 3, 4, 20])
def test_cutout(images, rng, size):
    out = transforms.Cutout(size)(images, rng)
    hole = out == 0
    assert np.array_equal(out[~hole], images[~hole]) and (hole == hole[:, :1]).all()         # the same in all channels
    rows, columns = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert np.array_equal(hole[:, 0].sum((1, 2)), rows * columns)                            # a rectangle
    assert rows.max() == min(size, 8) and columns.max() == min(size, 6)
    assert rows.min() >= min(-(-size // 2), 4) and columns.min() >= min(-(-size // 2), 3)    # its centre is inside
    if size == 1:
        assert (abs(hole[:, 0].mean(0) * 48 - 1) < 4.5 * np.sqrt(48 / 1000)).all()           # each pixel as often


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup(images, rng, alpha):
    labels = np.arange(1000) % 10
    mix = transforms.Mixup(10, alpha)
    mixed, soft = mix(images, labels, rng)
    assert mixed.shape == images.shape and mixed.dtype == soft.dtype == np.float32 and soft.shape == (1000, 10)
    assert np.allclose(soft.sum(1), 1, atol=1e-6) and abs(mixed.mean() - images.mean()) < 1e-5
    again = mix(images, labels, np.random.default_rng(3))
    assert all(np.array_equal(u, v) for u, v in zip(again, mix(images, labels, np.random.default_rng(3))))
    shares = []
    for seed in range(400):                          # of two images: the share tells how they were mixed
        two, hot = mix(images[:2], np.array([4, 7]), np.random.default_rng(seed))
        share = hot[0, 4]
        assert np.allclose(two[0], share * images[0] + (1 - share) * images[1], atol=1e-6)
        shares.append(share)
    share = np.array([s for s in shares if s < 1])   # half of the permutations of two change nothing
    variance = 1 / (4 * (2 * alpha + 1))             # of Beta(alpha, alpha)
    assert 150 < len(share) < 260 and abs(share.mean() - 0.5) < 4 * np.sqrt(variance / len(share))
    assert abs(share.var() / variance - 1) < 0.3


def test_to_float_and_normalize(images):
    raw = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    scaled = transforms.ToFloat()(raw)
    assert scaled.dtype == np.float32 and scaled.min() == 0 and scaled.max() == 1
    assert np.array_equal(scaled * 255, raw.astype(np.float32))
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    normalize = transforms.Normalize(mean, std)
    for dtype, close in ((np.float32, 1e-6), (np.float64, 1e-15)):
        x = images.astype(dtype)
        out = normalize(x)
        assert out.dtype == dtype and np.array_equal(normalize(x[0]), out[0])
        for c in range(3):
            assert np.allclose(out[:, c], (x[:, c] - mean[c]) / std[c], rtol=0, atol=close)


def test_compose_is_one_after_the_other(images):
    parts = [transforms.RandomCrop(5), transforms.Cutout(2)]
    rng = np.random.default_rng(8)
    assert np.array_equal(transforms.Compose(parts)(images, np.random.default_rng(8)),
                          parts[1](parts[0](images, rng), rng))
    assert repr(transforms.Compose(parts)) == "Compose(transforms=[RandomCrop(size=(5, 5), padding=0), Cutout(size=2)])"


@pytest.mark.parametrize("size", [(5, 9), 16, (3, 4), (8, 6), (1, 1), (40, 2)])
def test_resize_is_pillows(images, size):
    """Floats equal; bytes within 1, for Pillow rounds between its two passes and takes either one first."""
    image = pytest.importorskip("PIL.Image", reason="the comparison needs Pillow")
    x = (images[:4] * 250).astype(np.uint8)
    h, w = (size, size) if isinstance(size, int) else size
    for name, method in (("bilinear", image.Resampling.BILINEAR), ("nearest", image.Resampling.NEAREST)):
        ours = transforms.Resize(size, name)(x)
        theirs = np.array([[np.asarray(image.fromarray(c).resize((w, h), method)) for c in i] for i in x])
        off = abs(ours.astype(int) - theirs)
        assert ours.dtype == np.uint8 and off.max() <= (name == "bilinear")
        theirs = np.array([[np.asarray(image.fromarray(c).resize((w, h), method)) for c in i] for i in images[:4]])
        ours = transforms.Resize(size, name)(images[:4])
        assert ours.dtype == np.float32 and np.allclose(ours, theirs, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------- by name

def test_augmentation_by_name(images):
    assert augmentation("none", (8, 6), 10) is None
    labels = np.arange(1000) % 10
    out, same = augmentation("crop", (8, 6), 10)(images, labels, np.random.default_rng(2))
    assert np.array_equal(out, transforms.RandomCrop((8, 6), 1)(images, np.random.default_rng(2)))
    assert np.array_equal(same, labels)
    out, soft = augmentation("mixup+flip+cutout+crop", (8, 6), 10)(images, labels, np.random.default_rng(2))
    assert out.shape == images.shape and out.dtype == np.float32 and soft.shape == (1000, 10)
    for wrong in ("", "none+crop", "crop,flip", "Crop"):
        with pytest.raises(ValueError, match="is none of crop, flip, cutout, mixup"):
            augmentation(wrong, (8, 6), 10)


def test_a_data_set_changes_only_what_it_trains_on():
    train, test = load_dataset("digits", augment="flip")
    indices = np.arange(len(test))
    x, y = test.batch(indices, np.random.default_rng(0))
    assert np.array_equal(x, np.stack([test[i][0] for i in indices])) and np.array_equal(y, test.labels)
    plain = np.stack([train[i][0] for i in indices])
    x, _ = train.batch(indices, np.random.default_rng(0))
    flipped = (x == plain[..., ::-1]).all((1, 2, 3))
    assert (flipped | (x == plain).all((1, 2, 3))).all() and 0.4 < flipped.mean() < 0.6


X, R = np.zeros((2, 3, 8, 8), np.float32), np.random.default_rng(0)


@pytest.mark.parametrize("make, kind, words", [
    (lambda: transforms.RandomCrop(0), ValueError, "RandomCrop: size must be a positive integer or two.*got 0"),
    (lambda: transforms.RandomCrop((2, 2, 2)), ValueError, "RandomCrop: size"),
    (lambda: transforms.RandomCrop(4, -1), ValueError, "RandomCrop: padding must be .* at least 0, got -1"),
    (lambda: transforms.RandomCrop(11, 1)(X, R), ValueError, "RandomCrop: size .* padded image, 10x10, got .11, 11"),
    (lambda: transforms.RandomCrop(4)(X[0], R), ValueError, r"RandomCrop: expected .*\(N, C, H, W\).*image\[None\]"),
    (lambda: transforms.RandomCrop(4)(X, None), TypeError, "RandomCrop: expected a generator .* got NoneType"),
    (lambda: transforms.Compose([transforms.Cutout(2)])(X), TypeError, "Cutout: expected a generator"),
    (lambda: transforms.RandomHorizontalFlip(1.5), ValueError, "RandomHorizontalFlip: p must be .* got 1.5"),
    (lambda: transforms.Cutout(0), ValueError, "Cutout: size must be a positive integer, got 0"),
    (lambda: transforms.Mixup(10, 0), ValueError, "Mixup: alpha must be positive, got 0"),
    (lambda: transforms.Mixup(0), ValueError, "Mixup: classes"),
    (lambda: transforms.Mixup(10)(X.astype(np.uint8), np.zeros(2, int), R), TypeError, "Mixup: .*uint8.*ToFloat"),
    (lambda: transforms.Normalize((0, 0), (1,)), ValueError, "Normalize: mean and std must be of one length"),
    (lambda: transforms.Normalize((0,), (0,)), ValueError, "Normalize: std must be positive"),
    (lambda: transforms.Normalize((0,), (1,))(X), ValueError, "Normalize: expected images with 1 channels"),
    (lambda: transforms.Normalize((0,) * 3, (1,) * 3)(X.astype(int)), TypeError, "Normalize: .* got int64: ToFloat"),
    (lambda: transforms.ToFloat()(X), TypeError, "ToFloat: expected unsigned bytes .* got float32"),
    (lambda: transforms.Resize(4, "cubic"), ValueError, "Resize: interpolation must be .* got 'cubic'"),
    (lambda: transforms.Resize(2.5), ValueError, "Resize: size must be .* got 2.5"),
    (lambda: transforms.Resize(4)(X[0]), ValueError, r"Resize: expected a batch of images \(N, C, H, W\)"),
])
def test_mistakes_are_named(make, kind, words):
    with pytest.raises(kind, match=words) as caught:
        make()
    assert type(caught.value) is kind
