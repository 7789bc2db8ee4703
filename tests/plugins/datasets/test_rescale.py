"""Rescaled inputs of any data set."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from reluscope.entries import Dataset as Entry
from reluscope.errors import ReluscopeError
from reluscope.hookspecs import hookimpl
from reluscope.lab import Lab
from reluscope_plugins import datasets
from reluscope_plugins.datasets.samples import ByteSamples, Samples

IMAGES = torch.randint(0, 256, (20, 1, 3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(20) % 4


class Lazy(Dataset[Any]):
    mean, std, mislabelled = (0.5,), (0.2,), LABELS > 2

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return IMAGES[index].float(), int(LABELS[index])


class Words(Lazy):
    def __getitem__(self, index: int) -> Any:
        return "word", 0


def lazy(split: str, root: object) -> Lazy:
    return Lazy()


def words(split: str, root: object) -> Words:
    return Words()


def as_bytes(split: str, root: object) -> ByteSamples:
    return ByteSamples(IMAGES, LABELS, name="as_bytes", mean=[0.5], std=[0.2])


def plain(split: str, root: object) -> Samples:
    return Samples(IMAGES.float(), LABELS, name="plain", classes="abcd", mean=[0.5], std=[0.2])


def bare(split: str, root: object) -> Samples:
    return Samples(IMAGES.float(), LABELS, name="bare")


def bare_bytes(split: str, root: object) -> ByteSamples:
    return ByteSamples(IMAGES, LABELS, name="bare_bytes")


class Own:
    @hookimpl
    def reluscope_datasets(self) -> list[Entry]:
        return [
            Entry(name=f.__name__, summary="For the tests", definition=f, licence="none", source="here")
            for f in (lazy, words, as_bytes, plain, bare, bare_bytes)
        ]


LAB = Lab(plugins=[datasets, Own()])


@pytest.mark.parametrize("inner", ["lazy", "as_bytes", "plain"])
def test_an_offset_is_added_and_the_constants_follow(inner: str) -> None:
    whole = LAB.datasets[inner].load("train")
    made: Any = LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": inner}, factor=2, offset=-1.0)
    (x, y), (own_x, own_y) = (next(iter(DataLoader(data, batch_size=20))) for data in (made, whole))
    torch.testing.assert_close(x, 2 * own_x - 1, rtol=0, atol=0)
    assert torch.equal(y, own_y)
    # the values from before normalisation lead to the new inputs
    raw = own_x * 0.2 + 0.5
    torch.testing.assert_close((raw - made.mean[0]) / made.std[0], x, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("inner", ["bare", "bare_bytes"])
def test_of_what_is_not_normalised_the_constants_are_of_all_channels(inner: str) -> None:
    made: Any = LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": inner}, factor=2.0, offset=-1.0)
    assert made.mean == (0.5,)
    assert made.std == (0.5,)
    again: Any = LAB.datasets["rescale"].load(
        "train",
        lab=LAB,
        dataset={"name": "rescale", "dataset": {"name": inner}, "factor": 2.0, "offset": -1.0},
        factor=4.0,
        offset=3.0,
    )
    raw = next(iter(DataLoader(LAB.datasets[inner].load("train"), batch_size=20)))[0]
    x = next(iter(DataLoader(again, batch_size=20)))[0]
    torch.testing.assert_close((raw - again.mean[0]) / again.std[0], x, rtol=1e-5, atol=1e-4)


def test_a_bad_offset() -> None:
    with pytest.raises(ReluscopeError, match="offset is nan, expected a finite number"):
        LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": "plain"}, factor=2, offset=float("nan"))


@pytest.mark.parametrize("inner", ["lazy", "as_bytes", "plain"])
def test_inputs_are_multiplied_and_nothing_else(inner: str) -> None:
    whole = LAB.datasets[inner].load("train")
    made: Any = LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": inner}, factor=2.5)
    (x, y), (own_x, own_y) = (next(iter(DataLoader(data, batch_size=20))) for data in (made, whole))
    torch.testing.assert_close(x, 2.5 * own_x, rtol=0, atol=0)
    assert torch.equal(y, own_y)
    assert made.std == (0.2 / 2.5,)
    assert made.mean == (0.5,)
    assert made.name == "rescale"
    assert getattr(whole, "std", ()) in ((0.2,), [0.2])
    torch.testing.assert_close(next(iter(DataLoader(whole, batch_size=20)))[0], own_x, rtol=0, atol=0)
    assert isinstance(made, TensorDataset) == (inner == "plain")


def test_what_is_known_of_the_labels_is_kept() -> None:
    inner = {"name": "mislabel", "k": 5, "dataset": {"name": "plain"}}
    made: Any = LAB.datasets["rescale"].load("train", lab=LAB, dataset=inner, factor=2)
    assert int(made.mislabelled.sum()) == 5
    assert made.classes == ("a", "b", "c", "d")
    unloaded: Any = LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": "lazy"}, factor=2)
    assert torch.equal(unloaded.mislabelled, LABELS > 2)


@pytest.mark.parametrize("factor", [0, -1.0, float("inf"), float("nan"), True])
def test_bad_factors_are_named(factor: object) -> None:
    with pytest.raises(ReluscopeError, match="factor"):
        LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": "plain"}, factor=factor)


def test_what_is_no_tensor_is_named() -> None:
    made: Any = LAB.datasets["rescale"].load("train", lab=LAB, dataset={"name": "words"}, factor=2.0)
    with pytest.raises(ReluscopeError, match="sample 3 of Words is str, expected a tensor"):
        made[3]
