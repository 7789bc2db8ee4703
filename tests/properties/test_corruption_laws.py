"""Laws of the corruptions of data sets, in memory and lazy."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset, TensorDataset

from reluscope.entries import Dataset as Entry
from reluscope.hookspecs import hookimpl
from reluscope.lab import Lab
from reluscope_plugins import datasets
from reluscope_plugins.datasets.pixel_shuffle import pixel_order

SPLITS = ("train", "validation", "test")
ERROR = 1e-6


class Lazy(Dataset[Any]):
    """The same as a data set in memory, one sample at a time."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data
        self.targets = data.tensors[1].tolist()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        inputs, label = self.data[index]
        return inputs, int(label)


def drawn(
    split: str, root: object, *, samples: int = 30, classes: int = 3, pixels: int = 6, draw: int = 0, lazy: bool = False
) -> Any:
    generator = torch.Generator().manual_seed(10 * draw + SPLITS.index(split))
    labels = torch.randint(classes, (samples,), generator=generator)
    labels[-1] = classes - 1
    data = TensorDataset(torch.randn(samples, 2, pixels, generator=generator), labels)
    return Lazy(data) if lazy else data


class Plugin:
    """Somebody's."""

    @hookimpl
    def reluscope_datasets(self) -> list[Entry]:
        return [Entry(name="drawn", summary="Drawn.", definition=drawn, licence="none", source="a seed")]


LAB = Lab(plugins=[datasets, Plugin()])
INNER = st.fixed_dictionaries(
    {
        "samples": st.integers(1, 40),
        "classes": st.integers(2, 6),
        "pixels": st.integers(1, 9),
        "draw": st.integers(0, 5),
        "lazy": st.booleans(),
    }
)
SEEDS = st.integers(0, 2**40)


def load(name: str, split: str, inner: dict[str, Any], **params: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
    data: Any = LAB.datasets[name].load(split, lab=LAB, dataset={"name": "drawn", **inner}, **params)
    assert isinstance(data, TensorDataset) != inner.get("lazy", False)
    return (*rows(data), data)


def rows(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    samples = [data[i] for i in range(len(data))]
    return torch.stack([x for x, _ in samples]), torch.tensor([int(y) for _, y in samples])


def plain(split: str, inner: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return rows(LAB.datasets["drawn"].load(split, **inner))


@given(INNER, SEEDS, st.data())
def test_mislabel_changes_exactly_k_labels(inner: dict[str, Any], seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, inner["samples"]))
    inputs, labels = plain("train", inner)
    x, y, made = load("mislabel", "train", inner, k=k, seed=seed)
    assert torch.equal(x, inputs)
    assert int((y != labels).sum()) == k
    assert torch.equal(made.mislabelled, y != labels)
    assert torch.equal(made.clean_labels, labels)
    assert 0 <= int(y.min())
    assert int(y.max()) < inner["classes"]
    # Fewer wrong labels are some of these, and wrong in the same way.
    fewer = data.draw(st.integers(0, k))
    _, before, smaller = load("mislabel", "train", inner, k=fewer, seed=seed)
    assert (smaller.mislabelled <= made.mislabelled).all()
    assert torch.equal(before[smaller.mislabelled], y[smaller.mislabelled])


@given(INNER, SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_random_labels_change_redrawn_samples_only(inner: dict[str, Any], seed: int, one: float, other: float) -> None:
    inputs, labels = plain("train", inner)
    (x, y, made), (_, more_y, more) = (
        load("random_labels", "train", inner, fraction=fraction, seed=seed) for fraction in sorted((one, other))
    )
    assert torch.equal(x, inputs)
    assert torch.equal(y[~made.redrawn], labels[~made.redrawn])
    assert torch.equal(made.mislabelled, y != labels)
    assert 0 <= int(y.min())
    assert int(y.max()) < inner["classes"]
    assert (made.redrawn <= more.redrawn).all()
    assert torch.equal(y[made.redrawn], more_y[made.redrawn])


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (1.0, 30)])
def test_none_or_all_labels_are_redrawn(fraction: float, count: int) -> None:
    assert int(load("random_labels", "train", {}, fraction=fraction)[2].redrawn.sum()) == count


@given(INNER, SEEDS, st.sampled_from(["fixed", "per_image"]), st.sampled_from(SPLITS))
def test_pixel_shuffle_is_a_permutation_that_its_inverse_undoes(
    inner: dict[str, Any], seed: int, order: str, split: str
) -> None:
    inputs, labels = plain(split, inner)
    x, y, _ = load("pixel_shuffle", split, inner, order=order, seed=seed)
    assert torch.equal(y, labels)
    for i, (got, image) in enumerate(zip(x, inputs, strict=True)):
        own = {"split": split, "index": i} if order == "per_image" else {}
        permutation = pixel_order(inner["pixels"], seed=seed, **own)
        assert sorted(permutation.tolist()) == list(range(inner["pixels"]))
        assert torch.equal(got[:, permutation.argsort()], image)


@given(INNER, SEEDS, st.sampled_from(SPLITS))
def test_the_same_seed_gives_the_same_bits_in_memory_and_lazily(inner: dict[str, Any], seed: int, split: str) -> None:
    before = torch.get_rng_state()
    for name, params in (
        ("mislabel", {"k": inner["samples"] // 2}),
        ("random_labels", {"fraction": 0.5}),
        ("pixel_shuffle", {"order": "fixed"}),
        ("pixel_shuffle", {"order": "per_image"}),
    ):
        x, y, _ = load(name, split, inner, seed=seed, **params)
        again_x, again_y, _ = load(name, split, inner | {"lazy": not inner["lazy"]}, seed=seed, **params)
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)
    assert torch.equal(torch.get_rng_state(), before)


@given(INNER, SEEDS, st.sampled_from(["mislabel", "random_labels"]), st.sets(st.sampled_from(SPLITS)))
def test_other_splits_are_untouched(inner: dict[str, Any], seed: int, name: str, corrupted: set[str]) -> None:
    params = {"k": inner["samples"]} if name == "mislabel" else {}
    for split in set(SPLITS) - corrupted:
        x, y, _ = load(name, split, inner, seed=seed, splits=sorted(corrupted), **params)
        inputs, labels = plain(split, inner)
        assert torch.equal(x, inputs)
        assert torch.equal(y, labels)


BIG = {"samples": 30_000, "classes": 5, "pixels": 1}


def in_memory(name: str, **params: Any) -> tuple[torch.Tensor, Any]:
    data: Any = LAB.datasets[name].load("train", lab=LAB, dataset={"name": "drawn", **BIG}, **params)
    return drawn("train", None, **BIG).tensors[1], data


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_the_fraction_of_redrawn_labels(fraction: float) -> None:
    """Null: each of 30,000 labels is redrawn with the fraction's probability, uniformly over 5 classes.

    Three tests for each fraction, of error probability ERROR / 3 each.
    """
    clean, data = in_memory("random_labels", fraction=fraction, seed=11)
    redrawn, wrong = int(data.redrawn.sum()), int(data.mislabelled.sum())
    assert scipy.stats.binomtest(redrawn, 30_000, fraction).pvalue > ERROR / 3
    assert scipy.stats.binomtest(wrong, 30_000, fraction * 4 / 5).pvalue > ERROR / 3
    pairs = torch.bincount(5 * clean[data.redrawn] + data.labels[data.redrawn], minlength=25).reshape(5, 5)
    assert scipy.stats.chi2_contingency(pairs.numpy()).pvalue > ERROR / 3, "the new label knows nothing of the old one"


def test_wrong_labels_are_uniform_over_the_others_and_over_the_samples() -> None:
    """Null: 9,000 of 30,000 samples, uniformly, each with one of 4 wrong labels, uniformly: 6 tests, ERROR / 6 each."""
    clean, data = in_memory("mislabel", k=9_000, seed=4)
    chosen = data.mislabelled
    for label in range(5):
        counts = torch.bincount(data.labels[chosen & (clean == label)], minlength=5)
        assert counts[label] == 0
        others = torch.cat([counts[:label], counts[label + 1 :]])
        assert scipy.stats.chisquare(others.numpy()).pvalue > ERROR / 6
    # In thirty stretches of 1,000 samples: the chi-square of draws without replacement is smaller, by 1 - 0.3.
    counts = chosen.reshape(30, 1000).sum(1).double()
    statistic = ((counts - 300) ** 2 / 300).sum().item() / 0.7
    assert statistic < scipy.stats.chi2.isf(ERROR / 6, 29)


def test_orders_of_pixels_are_uniform() -> None:
    """Null: each of the 24 orders of 4 pixels is as likely, over 12,000 seeds, and over 12,000 images of one seed."""
    shared = [tuple(pixel_order(4, seed=seed).tolist()) for seed in range(12_000)]
    own = [tuple(pixel_order(4, seed=0, split="train", index=i).tolist()) for i in range(12_000)]
    for orders in (shared, own):
        counts = [orders.count(order) for order in set(orders)]
        assert len(counts) == 24
        assert scipy.stats.chisquare(counts).pvalue > ERROR / 2
