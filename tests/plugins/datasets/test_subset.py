"""Fewer samples: in memory and lazy, and what is wrong in a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch.utils.data import Dataset

from reluscope.entries import Dataset as Entry
from reluscope.errors import RecipeError
from reluscope.hookspecs import hookimpl
from reluscope.lab import Lab
from reluscope_plugins import datasets
from reluscope_plugins.datasets.samples import Samples

LABELS = [2, 0, 1, 1, 0]


class Lazy(Dataset[Any]):
    """Computes each sample, and has its labels at hand as torchvision's data sets do."""

    classes = ("a", "b", "c")
    targets = LABELS

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((2,), float(index)), LABELS[index]


def lazy(split: str, root: object) -> Lazy:
    return Lazy()


class Plugin:
    """Offers the lazy data set."""

    @hookimpl
    def reluscope_datasets(self) -> list[Entry]:
        return [Entry(name="lazy", summary="Computed", definition=lazy, licence="none", source="made up")]


LAB = Lab(plugins=[datasets, Plugin()])


def load(name: str, split: str, **params: Any) -> Any:
    return LAB.datasets[name].load(split, lab=LAB, **params)


def places(data: Any, found: Any) -> list[int]:
    """Say where in a data set the samples of another are; each is there once."""
    rows = {tuple(x.flatten().tolist()): place for place, x in enumerate(data.inputs)}
    return [rows[tuple(x.flatten().tolist())] for x in found.inputs]


def test_samples_of_each_split_in_memory() -> None:
    whole = {split: load("digits", split) for split in ("train", "validation", "test")}
    counts = {"train": 100, "test": 90}
    for split, data in whole.items():
        found = load("subset", split, dataset={"name": "digits"}, **counts)
        assert type(found) is Samples
        assert len(found) == counts.get(split, len(data))
        where = places(data, found)
        assert len(set(where)) == len(where)
        assert torch.equal(found.labels, data.labels[where])
        assert torch.equal(found.tensors[0], found.inputs)
        assert (found.classes, found.mean, found.std) == (data.classes, data.mean, data.std)
    small = load("subset", "train", dataset={"name": "digits"}, train=3)
    assert small.inputs.untyped_storage().nbytes() == 3 * 64 * 4  # what was left out is not in memory


def test_draws() -> None:
    few, many, others = (
        load("subset", "train", dataset={"name": "digits"}, train=train, seed=seed).inputs
        for train, seed in ((50, 0), (200, 0), (50, 1))
    )
    assert torch.equal(few, many[:50])
    assert not torch.equal(few, others)


def test_every_sample_is_drawn_as_often() -> None:
    """2,000 seeds; null: each of the five is drawn first with probability 1/5; chi-square, error probability 1e-6."""
    first = [
        int(load("subset", "train", dataset={"name": "lazy"}, train=1, seed=seed)[0][0][0]) for seed in range(2000)
    ]
    assert scipy.stats.chisquare(np.bincount(first, minlength=5)).pvalue > 1e-6


def test_what_is_loaded_one_by_one_stays_so() -> None:
    found = load("subset", "train", dataset={"name": "lazy"}, train=3)
    assert len(found) == 3
    where = [int(found[i][0][0]) for i in range(3)]
    assert len(set(where)) == 3
    assert found.classes == ("a", "b", "c")
    assert found.targets == [found[i][1] for i in range(3)] == [LABELS[place] for place in where]
    with pytest.raises(IndexError):
        found[3]


def test_more_than_there_are_keeps_all() -> None:
    assert len(load("subset", "train", dataset={"name": "lazy"}, train=6)) == 5
    assert len(load("subset", "test", dataset={"name": "lazy"}, train=1)) == 5


def test_corruptions_go_below_and_above() -> None:
    inner = {"name": "mislabel", "dataset": {"name": "digits"}, "k": 500}
    found = load("subset", "train", dataset=inner, train=200)
    assert len(found.mislabelled) == len(found.clean_labels) == 200
    assert np.array_equal(found.labels != found.clean_labels, found.mislabelled)
    above = load("mislabel", "train", dataset={"name": "subset", "dataset": {"name": "digits"}, "train": 200}, k=50)
    assert (len(above), int(above.mislabelled.sum())) == (200, 50)


def test_a_seed_that_is_none() -> None:
    with pytest.raises(RecipeError, match="seed is -1"):
        load("subset", "train", dataset={"name": "lazy"}, seed=-1)


@pytest.mark.parametrize("samples", [0, -1, True, 2.5])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_number_that_is_none(split: str, samples: Any) -> None:
    with pytest.raises(RecipeError, match=f"'subset': {split} is {samples!r}, expected an integer of at least 1"):
        load("subset", "train", dataset={"name": "digits"}, **{split: samples})
