"""Data sets that torchvision reads: real ones where there are any, else tiny ones in the official layouts."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import shutil
import struct
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from numpy.exceptions import VisibleDeprecationWarning

from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import datasets

LAB = Lab(plugins=[datasets])
FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}


def write_pickle(path: Path, content: dict[str, Any]) -> str:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Tiny CIFAR-10 and CIFAR-100 folders under tmp_path, whose checksums torchvision takes for the official ones."""
    generator = np.random.default_rng(0)

    def content(samples: int, key: str, classes: int) -> dict[str, Any]:
        return {
            "data": generator.integers(0, 256, (samples, 3072), dtype=np.uint8),
            key: generator.integers(0, classes, samples).tolist(),
        }

    written: dict[str, Any] = {}
    for reader, key, labels, train in (
        ("CIFAR10", "labels", 10, [f"data_batch_{n}" for n in range(1, 6)]),
        ("CIFAR100", "fine_labels", 100, ["train"]),
    ):
        official = getattr(torchvision.datasets, reader)
        folder = tmp_path / official.base_folder
        folder.mkdir()
        test = [official.test_list[0][0]]
        batches = {name: content(20, key, labels) for name in [*train, *test]}
        sums = {name: write_pickle(folder / name, batch) for name, batch in batches.items()}
        names = [f"class {n}" for n in range(labels)]
        meta = write_pickle(folder / official.meta["filename"], {official.meta["key"]: names})
        monkeypatch.setattr(official, "train_list", [[name, sums[name]] for name in train])
        monkeypatch.setattr(official, "test_list", [[name, sums[name]] for name in test])
        monkeypatch.setattr(official, "meta", {**official.meta, "md5": meta})
        written[reader.lower()] = {
            split: (np.concatenate([batches[n]["data"] for n in part]), [y for n in part for y in batches[n][key]])
            for split, part in (("train", train), ("test", test))
        }
    return written


def write_idx(folder: Path, stem: str, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">iiii", 2051, *images.shape) + images.tobytes())
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, len(labels)) + labels.tobytes())


@pytest.fixture
def tiny_mnist(tmp_path: Path) -> tuple[Path, np.ndarray]:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    for folder in FOLDERS.values():
        for stem in ("train", "t10k"):
            write_idx(tmp_path / folder, stem, images, (np.arange(30) % 10).astype(np.uint8))
    return tmp_path, images


@pytest.mark.parametrize("name", FOLDERS)
def test_idx_files_are_read(name: str, tiny_mnist: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    root, images = tiny_mnist
    entry = LAB.datasets[name]
    test = entry.load("test", root)
    expected = (torch.from_numpy(images).double()[:, None] / 255 - entry.mean[0]) / entry.std[0]
    assert torch.allclose(test.inputs.double(), expected, atol=1e-6)
    assert test.labels.tolist() == [n % 10 for n in range(30)]
    assert (test.classes, test.mean, test.std, test.name) == (entry.classes, entry.mean, entry.std, name)
    monkeypatch.setenv("RELUSCOPE_DATA", str(root))
    parts = [entry.load(split, normalise=False) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [27, 3]
    together = torch.cat([part.inputs for part in parts]).mul(255).round().to(torch.uint8).flatten(1)
    assert sorted(together.tolist()) == sorted(images.reshape(30, -1).tolist())


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_batches_are_read(name: str, classes: int, cifar: dict[str, Any], tmp_path: Path) -> None:
    entry = LAB.datasets[name]
    test = entry.load("test", tmp_path)
    rows, labels = cifar[name]["test"]
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (entry.mean, entry.std))
    expected = (torch.from_numpy(rows.reshape(-1, 3, 32, 32)).double() / 255 - mean) / std
    assert torch.allclose(test.inputs.double(), expected, atol=1e-5)
    assert test.labels.tolist() == labels
    assert len(test.classes) == classes
    rows, labels = cifar[name]["train"]
    parts = [entry.load(split, tmp_path, normalise=False) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [round(0.9 * len(rows)), round(0.1 * len(rows))]
    together = torch.cat([part.inputs for part in parts]).mul(255).round().to(torch.uint8).flatten(1).tolist()
    pairs = zip(together, torch.cat([part.labels for part in parts]).tolist(), strict=True)
    assert sorted(pairs) == sorted(zip(rows.tolist(), labels, strict=True))


@pytest.mark.parametrize(
    ("message", "passes"),
    [("dtype(): align should be passed as Python or NumPy boolean but got `align=0`.", True), ("another one", False)],
)
@pytest.mark.usefixtures("cifar")
def test_only_the_warning_about_old_pickles_is_kept_back(
    message: str, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some numpy 2.4 warn where they read the official files; which versions do must not matter."""

    def load(*args: Any, **options: Any) -> Any:
        warnings.warn(VisibleDeprecationWarning(message), stacklevel=1)
        return pickle.load(*args, **options)

    monkeypatch.setattr(torchvision.datasets.cifar, "pickle", SimpleNamespace(load=load))
    with contextlib.nullcontext() if passes else pytest.raises(VisibleDeprecationWarning, match="another one"):
        LAB.datasets["cifar10"].load("test", tmp_path)


def test_an_altered_cifar_file_is_never_unpickled(cifar: dict[str, Any], tmp_path: Path) -> None:
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    file = tmp_path / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ReluscopeError, match="corrupted"):
        LAB.datasets["cifar10"].load("test", tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("name", "layout"),
    [*FOLDERS.items(), ("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")],
)
def test_missing_data_say_where_they_were_looked_for(name: str, layout: str, tmp_path: Path) -> None:
    with pytest.raises(ReluscopeError) as caught:
        LAB.datasets[name].load("train", tmp_path)
    message = str(caught.value)
    assert str(tmp_path / layout) in message
    assert "RELUSCOPE_DATA" in message
    assert "download = true" in message
    assert "\n" not in message
    assert not any(tmp_path.iterdir())


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELUSCOPE_DATA", raising=False)
    with pytest.raises(ReluscopeError, match="RELUSCOPE_DATA"):
        LAB.datasets["mnist"].load("train")


def test_download_happens_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, **_: Any) -> None:
        asked.append(url)
        raise RuntimeError("no network\nhere")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    with pytest.raises(ReluscopeError):
        LAB.datasets["fashion_mnist"].load("train", tmp_path)
    assert not asked
    with pytest.raises(ReluscopeError, match="no network here"):
        LAB.datasets["fashion_mnist"].load("train", tmp_path, download=True)
    assert asked


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "labels"])
def test_damaged_files_are_one_line(damage: str, tiny_mnist: tuple[Path, np.ndarray]) -> None:
    root, images = tiny_mnist
    file = root / "MNIST/raw/t10k-images-idx3-ubyte"
    if damage == "labels":
        write_idx(root / "MNIST/raw", "t10k", images, np.zeros(29, dtype=np.uint8))
    else:
        content = file.read_bytes()
        file.write_bytes({"cut": content[:1000], "empty": b"", "header": b"\xff" * 64}[damage])
    with pytest.raises(ReluscopeError) as caught:
        LAB.datasets["mnist"].load("test", root)
    assert "\n" not in str(caught.value)
    assert "mnist" in str(caught.value)


@pytest.mark.parametrize("params", [{"download": "yes"}, {"normalise": 1}, {"split_seed": 0.5}])
def test_parameters_have_types(params: dict[str, Any], tiny_mnist: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(RecipeError, match=next(iter(params))):
        LAB.datasets["mnist"].load("train", tiny_mnist[0], **params)


@pytest.mark.data
@pytest.mark.parametrize("name", FOLDERS)
def test_real_constants_and_splits(name: str, data_root: Path) -> None:
    entry = LAB.datasets[name]
    parts = [entry.load(split, data_root, normalise=False) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [54_000, 6_000]
    pixels = torch.cat([part.inputs for part in parts])
    assert pixels.shape[1:] == entry.shape
    assert pixels.double().mean().item() == pytest.approx(entry.mean[0], abs=5e-5)
    assert pixels.double().std().item() == pytest.approx(entry.std[0], abs=5e-5)
    official = getattr(torchvision.datasets, {"mnist": "MNIST"}.get(name, "FashionMNIST"))
    if name == "fashion_mnist":
        assert entry.classes == tuple(official.classes)
    # A sum over each sample, with its label, tells whether all are there and still paired.
    reference = official(data_root, train=True)
    expected = torch.stack([reference.data.sum((1, 2)), reference.targets], 1)
    labels = torch.cat([part.labels for part in parts])
    got = torch.stack([pixels.mul(255).round().long().sum((1, 2, 3)), labels], 1)
    assert sorted(got.tolist()) == sorted(expected.tolist())
    test = entry.load("test", data_root)
    assert len(test) == 10_000
    assert torch.bincount(test.labels).shape == (10,)


@pytest.mark.data
def test_loading_is_fast(data_root: Path) -> None:
    LAB.datasets["fashion_mnist"].load("test", data_root)
    start = time.process_time()
    LAB.datasets["fashion_mnist"].load("train", data_root)
    assert time.process_time() - start < 2


@pytest.mark.data
def test_training_arrays_do_not_share_memory_with_the_files(data_root: Path, tmp_path: Path) -> None:
    shutil.copytree(data_root / "MNIST", tmp_path / "MNIST")
    data = LAB.datasets["mnist"].load("test", tmp_path)
    before = data.inputs.clone()
    shutil.rmtree(tmp_path / "MNIST")
    assert torch.equal(before, data.inputs)
