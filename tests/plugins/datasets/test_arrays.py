"""Anybody's .npz file, good and bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import datasets

ARRAYS = Lab(plugins=[datasets]).datasets["arrays"]
CIFAR10 = Lab(plugins=[datasets]).datasets["cifar10"]
SPLITS = ("train", "validation", "test")


def save(tmp_path: Path, **content: Any) -> str:
    path = tmp_path / "data.npz"
    np.savez(path, **content)
    return str(path)


def features(samples: int = 50, width: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(2.0, 3.0, (samples, width))


def labels(samples: int = 50) -> np.ndarray:
    return np.arange(samples) % 4


def rows(*parts: Any) -> list[tuple[float, ...]]:
    return sorted(
        (*x.flatten().tolist(), int(y)) for part in parts for x, y in zip(part.inputs, part.labels, strict=True)
    )


def test_x_and_y_are_divided_in_three(tmp_path: Path) -> None:
    x, y = features(), labels()
    parts = [ARRAYS.load(split, path=save(tmp_path, x=x, y=y)) for split in SPLITS]
    assert [len(part) for part in parts] == [36, 4, 10]
    assert rows(*parts) == sorted((*a.astype(np.float32).tolist(), int(b)) for a, b in zip(x, y, strict=True))
    assert parts[0].inputs.dtype == torch.float32
    assert parts[0].labels.dtype == torch.int64
    assert parts[0].classes == ("0", "1", "2", "3")
    assert (parts[0].mean, parts[0].std) == ((), ())


def test_an_official_test_set_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=features(), y_train=labels(), x_test=features(7), y_test=labels(7))
    assert [len(ARRAYS.load(split, path=path)) for split in SPLITS] == [45, 5, 7]
    test = ARRAYS.load("test", path=path)
    assert np.array_equal(test.inputs.numpy(), features(7).astype(np.float32))
    assert test.labels.tolist() == labels(7).tolist()


def test_names_of_arrays_can_be_given(tmp_path: Path) -> None:
    path = save(tmp_path, inputs=features(), targets=labels(), other=features(9), more=labels(9), x_train=features(3))
    assert len(ARRAYS.load("train", path=path, x="inputs", y="targets")) == 36
    assert len(ARRAYS.load("test", path=path, x="inputs", y="targets", x_test="other", y_test="more")) == 9


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_images_are_scaled_and_get_channels_first(layout: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)
    stored = images if layout == "NHWC" else images.transpose(0, 3, 1, 2)
    parts = [ARRAYS.load(split, path=save(tmp_path, x=stored, y=labels(40)), layout=layout) for split in SPLITS]
    expected = sorted(
        (*(i.transpose(2, 0, 1).flatten() / np.float32(255)).tolist(), int(n))
        for i, n in zip(images, labels(40), strict=True)
    )
    assert rows(*parts) == expected
    assert parts[0].inputs.shape[1:] == (3, 5, 6)
    assert parts[0].inputs.is_contiguous()


def test_grey_images_get_a_channel(tmp_path: Path) -> None:
    images = np.full((40, 5, 6), 255, dtype=np.uint8)
    data = ARRAYS.load("train", path=save(tmp_path, x=images, y=labels(40)))
    assert data.inputs.shape[1:] == (1, 5, 6)
    assert (data.inputs == 1).all()


@pytest.mark.parametrize("shape", [(80, 3), (80, 4, 5, 3)])
def test_normalising_by_the_train_split(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(2.0, 3.0, shape)
    path = save(tmp_path, x=x, y=labels(80))
    raw, data = ARRAYS.load("train", path=path), ARRAYS.load("train", path=path, normalise=True)
    dims = tuple(d for d in range(data.inputs.dim()) if d != 1)
    mean, std = raw.inputs.numpy().astype(np.float64).mean(dims), raw.inputs.numpy().astype(np.float64).std(dims)
    assert np.allclose(data.mean, mean)
    assert np.allclose(data.std, std)
    assert np.allclose(data.inputs.double().mean(dims), 0, atol=1e-5)
    assert np.allclose(data.inputs.double().std(dims, correction=0), 1, atol=1e-5)
    other = ARRAYS.load("test", path=path, normalise=True)
    assert (other.mean, other.std) == (data.mean, data.std), "the test split is shifted as the train split was"


def test_a_constant_feature_is_shifted_only(tmp_path: Path) -> None:
    x = features()
    x[:, 1] = 7
    data = ARRAYS.load("train", path=save(tmp_path, x=x, y=labels()), normalise=True)
    assert (data.inputs[:, 1] == 0).all()
    assert data.std[1] == 1


def test_given_constants_are_applied(tmp_path: Path) -> None:
    path = save(tmp_path, x=features(), y=labels())
    raw, data = (
        ARRAYS.load("train", path=path),
        ARRAYS.load("train", path=path, mean=[1.0, 2.0, 3.0], std=[1.0, 2.0, 4.0]),
    )
    expected = (raw.inputs - torch.tensor([1.0, 2.0, 3.0])) / torch.tensor([1.0, 2.0, 4.0])
    assert torch.allclose(data.inputs, expected)
    assert (data.mean, data.std) == ((1.0, 2.0, 3.0), (1.0, 2.0, 4.0))


def test_where_a_relative_path_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, x=features(), y=labels())
    assert len(ARRAYS.load("test", tmp_path, path="data.npz")) == 10
    monkeypatch.setenv("RELUSCOPE_DATA", str(tmp_path))
    assert len(ARRAYS.load("test", path="data.npz")) == 10
    monkeypatch.setenv("RELUSCOPE_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ReluscopeError, match="RELUSCOPE_DATA"):
        ARRAYS.load("test", path="data.npz")
    monkeypatch.chdir(tmp_path)
    assert len(ARRAYS.load("test", path="data.npz")) == 10


def test_labels_may_be_whole_floats_or_a_column(tmp_path: Path) -> None:
    data = ARRAYS.load("test", path=save(tmp_path, x=features(), y=labels().astype(float)[:, None]))
    assert data.labels.dtype == torch.int64
    assert set(data.labels.tolist()) <= {0, 1, 2, 3}


def test_class_names(tmp_path: Path) -> None:
    path = save(tmp_path, x=features(), y=labels())
    assert ARRAYS.load("test", path=path, classes=["a", "b", "c", "d", "e"]).classes == ("a", "b", "c", "d", "e")
    with pytest.raises(ReluscopeError, match="labels up to 3"):
        ARRAYS.load("test", path=path, classes=["a", "b", "c"])


NAN = features()
NAN[17, 1] = np.nan
HUGE = features()
HUGE[3, 0] = 1e300
BAD: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no such array": ({"xs": features(), "y": labels()}, {}, ["no array 'x'", "'xs'"]),
    "no test labels": (
        {"x_train": features(), "y_train": labels(), "x_test": features(5)},
        {},
        ["no array 'y_test'", "x_test, y_test"],
    ),
    "lengths": ({"x": features(50), "y": labels(49)}, {}, ["'x' has 50", "'y' has 49"]),
    "test shape": (
        {"x_train": features(), "y_train": labels(), "x_test": features(5, 4), "y_test": labels(5)},
        {},
        ["'x_test'", "(4,)", "(3,)"],
    ),
    "empty test": (
        {"x_train": features(), "y_train": labels(), "x_test": features(0), "y_test": labels(0)},
        {},
        ["'x_test' holds no samples"],
    ),
    "nan": ({"x": NAN, "y": labels()}, {}, ["'x' holds 1 NaN or Inf", "sample 17"]),
    "nan in test": (
        {"x_train": features(), "y_train": labels(), "x_test": NAN, "y_test": labels()},
        {},
        ["'x_test' holds 1 NaN or Inf"],
    ),
    "beyond float32": ({"x": HUGE, "y": labels()}, {}, ["as float32", "sample 3"]),
    "half labels": ({"x": features(), "y": labels() + 0.5}, {}, ["labels 'y' hold 0.5", "integers"]),
    "nan labels": ({"x": features(), "y": np.full(50, np.nan)}, {}, ["labels 'y' hold NaN"]),
    "negative labels": ({"x": features(), "y": labels() - 1}, {}, ["labels 'y' hold -1"]),
    "one-hot": ({"x": features(), "y": np.eye(4)[labels()]}, {}, ["labels 'y' have shape (50, 4)", "one-hot"]),
    "text": ({"x": features(), "y": labels().astype(str)}, {}, ["'y'", "expected plain numbers"]),
    "complex": ({"x": features() + 1j, "y": labels()}, {}, ["'x'", "complex128"]),
    "objects": ({"x": np.array([{}] * 50), "y": labels()}, {}, ["'x' cannot be read", "objects"]),
    "flat": ({"x": features()[:, 0], "y": labels()}, {}, ["shape (50,)"]),
    "scalar": ({"x": 3.0, "y": labels()}, {}, ["0-dimensional"]),
    "too few": ({"x": features(2), "y": labels(2)}, {}, ["2 samples leave none"]),
    "layout": ({"x": features(), "y": labels()}, {"layout": "HWC"}, ["layout is 'HWC'"]),
    "only mean": ({"x": features(), "y": labels()}, {"mean": [1.0]}, ["only one of mean and std"]),
    "mean length": ({"x": features(), "y": labels()}, {"mean": [1.0], "std": [1.0]}, ["list of 3 numbers"]),
    "std zero": ({"x": features(), "y": labels()}, {"mean": [1, 1, 1], "std": [1, 0, 1]}, ["std holds 0"]),
    "mean text": ({"x": features(), "y": labels()}, {"mean": ["a", 1, 1], "std": [1, 1, 1]}, ["mean holds 'a'"]),
    "test labels only": ({"x": features(), "y": labels()}, {"y_test": "y"}, ["give both or none"]),
    "unknown parameter": ({"x": features(), "y": labels()}, {"normalize": True}, ["Did you mean 'normalise'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_and_parameters_are_named(case: str, tmp_path: Path) -> None:
    content, params, expected = BAD[case]
    path = save(tmp_path, **content)
    with pytest.raises(ReluscopeError) as caught:
        ARRAYS.load("validation" if case == "too few" else "test", path=path, **params)
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short", b"\x80\x04pickle."])
def test_files_that_are_no_npz(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(ReluscopeError, match=r"numpy\.savez"):
        ARRAYS.load("test", path=str(path))


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", features())
    with pytest.raises(ReluscopeError, match="single array"):
        ARRAYS.load("test", path=str(tmp_path / "data.npy"))


def test_a_flipped_byte_is_seen(tmp_path: Path) -> None:
    path = Path(save(tmp_path, x=features(), y=labels()))
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ReluscopeError, match="array 'x' cannot be read"):
        ARRAYS.load("test", path=str(path))


@pytest.mark.data
def test_real_cifar10(data_root: Path) -> None:
    """Constants declared for CIFAR-10 against a class-balanced fifth of its training set.

    Null: a simple random sample of 10,000 of 50,000 images. The standard deviation of an image's channel mean is below
    0.16, that of its mean square below 0.2, so the sample's mean and standard deviation are within 0.01 of the whole
    set's with error probability below 1e-9 (normal bound, six standard errors).
    """
    parts = [ARRAYS.load(split, data_root, path="cifar10/cifar10_10k.npz", classes=CIFAR10.classes) for split in SPLITS]
    assert [len(part) for part in parts] == [9_000, 1_000, 10_000]
    assert parts[0].classes == CIFAR10.classes
    train = torch.cat([part.inputs for part in parts[:2]]).double()
    assert train.shape[1:] == CIFAR10.shape
    assert torch.bincount(torch.cat([part.labels for part in parts[:2]])).tolist() == [1000] * 10
    assert train.mean((0, 2, 3)).tolist() == pytest.approx(CIFAR10.mean, abs=0.01)
    assert train.std((0, 2, 3)).tolist() == pytest.approx(CIFAR10.std, abs=0.01)
    with np.load(data_root / "cifar10/cifar10_10k.npz", allow_pickle=False) as file:
        assert np.array_equal((parts[2].inputs[7] * 255).round().numpy(), file["x_test"][7].transpose(2, 0, 1))
        assert parts[2].labels.tolist() == file["y_test"].tolist()
