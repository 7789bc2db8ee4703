"""What the entries declare, without loading anything but the digits."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from reluscope.errors import RecipeError
from reluscope.lab import Lab
from reluscope_plugins import datasets

LAB = Lab(plugins=[datasets])


def test_all_are_there() -> None:
    names = {"arrays", "checkerboard", "cifar10", "cifar100", "digits", "fashion_mnist", "gaussian", "imagenet"}
    names |= {"mislabel", "mnist", "pixel_shuffle", "random_labels", "speech_commands", "subset"}
    names |= {"rescale", "tiny_imagenet"}
    assert set(LAB.datasets) == names
    for entry in LAB.datasets.values():
        assert entry.licence
        assert entry.source
        assert callable(entry.implementation())


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_declarations_fit_together(name: str) -> None:
    entry = LAB.datasets[name]
    assert len(entry.shape) == 3
    assert len(entry.mean) == len(entry.std) == entry.shape[0]
    assert len(set(entry.classes)) == len(entry.classes) == (100 if name == "cifar100" else 10)


def test_declaring_imports_nothing_heavy() -> None:
    code = "import sys, reluscope_plugins.datasets as d; d.reluscope_datasets(); print(sys.modules.get('torch'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_digits_are_those_of_scikit_learn() -> None:
    parts = [LAB.datasets["digits"].load(split, normalise=False) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1294, 144, 359]
    images = torch.cat([part.inputs for part in parts])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.float32
    assert torch.cat([part.labels for part in parts]).dtype == torch.int64
    raw = load_digits()
    got = sorted(
        (*(16 * x).flatten().tolist(), y)
        for part in parts
        for x, y in zip(part.inputs, part.labels.tolist(), strict=True)
    )
    assert got == sorted((*x.flatten().tolist(), y) for x, y in zip(raw.images, raw.target.tolist(), strict=True))


def test_digits_constants_are_those_of_the_data() -> None:
    entry = LAB.datasets["digits"]
    pixels = torch.cat([entry.load(split, normalise=False).inputs for split in ("train", "validation")]).double()
    assert pixels.mean().item() == pytest.approx(entry.mean[0], abs=5e-5)
    assert pixels.std().item() == pytest.approx(entry.std[0], abs=5e-5)


def test_digits_are_normalised_by_the_declared_constants() -> None:
    entry = LAB.datasets["digits"]
    data, raw = entry.load("train"), entry.load("train", normalise=False)
    assert torch.allclose(data.inputs, (raw.inputs - entry.mean[0]) / entry.std[0], atol=1e-6)
    assert (data.mean, data.std, data.classes, data.name) == (entry.mean, entry.std, entry.classes, "digits")
    assert (raw.mean, raw.std) == ((), ())
    assert isinstance(data, TensorDataset)
    batch, labels = data[torch.tensor([3, 1])]
    assert batch.shape == (2, 1, 8, 8)
    assert labels.tolist() == data.labels[[3, 1]].tolist()


def test_digits_validation_moves_with_the_seed_and_the_test_set_does_not() -> None:
    entry = LAB.datasets["digits"]
    assert not torch.equal(entry.load("validation").inputs, entry.load("validation", split_seed=1).inputs)
    assert torch.equal(entry.load("test").inputs, entry.load("test", split_seed=1).inputs)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'train'"):
        LAB.datasets["digits"].load("training")
