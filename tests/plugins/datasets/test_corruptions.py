"""Corruptions of any data set: in memory and lazy, ours and anybody's, and what is wrong in a recipe."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from reluscope import recipe
from reluscope.entries import Dataset as Entry
from reluscope.errors import ReluscopeError
from reluscope.hookspecs import hookimpl
from reluscope.lab import Lab
from reluscope_plugins import architectures, datasets, performance, procedures, schedulers
from reluscope_plugins.datasets.pixel_shuffle import pixel_order
from reluscope_plugins.datasets.samples import ByteSamples, Samples

SPLITS = ("train", "validation", "test")
SAMPLES = 60


class Lazy(Dataset[Any]):
    """Counts what it loads. Its labels are Python integers, as torchvision's are."""

    def __init__(self, own: Sequence[int], **attributes: Any) -> None:
        self.values = torch.arange(len(own) * 60).reshape(-1, 3, 4, 5).float()
        self.true = list(own)
        self.loaded: list[int] = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.true)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.loaded.append(index)
        return self.values[index], self.true[index]


class Doubling(TensorDataset):
    """In memory, but what it gives is not what its tensors hold."""

    def __getitem__(self, index: Any) -> Any:
        inputs, labels = super().__getitem__(index)
        return 2 * inputs, labels


LABELS = [i * 7 % 3 for i in range(SAMPLES)]


def lazy_with_targets(split: str, root: object) -> Lazy:
    return Lazy(LABELS, targets=LABELS, classes=["a", "b", "c", "d"], mean=np.array([0.5] * 3))


def lazy_without(split: str, root: object) -> Lazy:
    return Lazy(LABELS, labels=["not", "numbers"])


def part(split: str, root: object) -> Subset[Any]:
    return Subset(
        Lazy([0, 1, 2] * SAMPLES, targets=[0, 1, 2] * SAMPLES, classes=("a", "b", "c")), range(1, SAMPLES + 1)
    )


def tensors(split: str, root: object) -> TensorDataset:
    return TensorDataset(torch.arange(SAMPLES * 6, dtype=torch.float64).reshape(-1, 6), torch.tensor(LABELS))


def doubling(split: str, root: object) -> Doubling:
    return Doubling(torch.arange(SAMPLES * 21).reshape(-1, 3, 7), torch.tensor(LABELS))


def as_bytes(split: str, root: object) -> ByteSamples:
    images = torch.arange(SAMPLES * 3 * 20).remainder(256).reshape(-1, 3, 4, 5)
    return ByteSamples(images, torch.tensor(LABELS), name="as_bytes", classes="abc", mean=[0.5] * 3, std=[0.1] * 3)


def empty(split: str, root: object) -> Lazy:
    return Lazy([])


class Endless(IterableDataset[Any]):
    """Without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter([])


def endless(split: str, root: object) -> Any:
    return Endless()


def one_class(split: str, root: object) -> Lazy:
    return Lazy([0] * SAMPLES, targets=[0] * SAMPLES)


def disagreeing(split: str, root: object) -> Lazy:
    return Lazy(LABELS, targets=[1] * SAMPLES, classes=["a", "b", "c"])


def too_few_classes(split: str, root: object) -> Lazy:
    return Lazy(LABELS, targets=LABELS, classes=["a", "b"])


def regression(split: str, root: object) -> TensorDataset:
    return TensorDataset(torch.ones(SAMPLES, 6), torch.ones(SAMPLES))


def halves(split: str, root: object) -> Lazy:
    return Lazy([0.5] * SAMPLES)  # type: ignore[list-item]


def negative(split: str, root: object) -> Lazy:
    return Lazy([-1] * SAMPLES)


def numbers(split: str, root: object) -> TensorDataset:
    return TensorDataset(torch.ones(SAMPLES), torch.tensor(LABELS))


class Arrays(Lazy):
    """Its inputs are no tensors."""

    def __getitem__(self, index: int) -> Any:
        return np.ones((3, 4)), 0


def arrays_out(split: str, root: object) -> Lazy:
    return Arrays(LABELS)


class Triples(Lazy):
    """Its samples are no pairs."""

    def __getitem__(self, index: int) -> Any:
        return torch.ones(3), 0, 1


def triples(split: str, root: object) -> Lazy:
    return Triples(LABELS)


THIRD_PARTY = [
    lazy_with_targets,
    lazy_without,
    part,
    tensors,
    doubling,
    as_bytes,
    empty,
    endless,
    one_class,
    disagreeing,
    too_few_classes,
    regression,
    halves,
    negative,
    numbers,
    arrays_out,
    triples,
]


class Plugin:
    """Somebody's."""

    @hookimpl
    def reluscope_datasets(self) -> list[Entry]:
        return [
            Entry(name=f.__name__, summary="Somebody's.", definition=f, licence="none", source="here")
            for f in THIRD_PARTY
        ]


LAB = Lab(plugins=[datasets, Plugin(), architectures, performance, procedures, schedulers])
GOOD = [lazy_with_targets, lazy_without, part, tensors, doubling, as_bytes]


def load(name: str, split: str = "train", *, inner: str = "digits", lab: Lab | None = LAB, **params: Any) -> Any:
    return LAB.datasets[name].load(split, lab=lab, dataset={"name": inner}, **params)


def rows(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    samples = [data[i] for i in range(len(data))]
    return torch.stack([x for x, _ in samples]), torch.tensor([int(y) for _, y in samples])


@pytest.mark.parametrize("inner", [f.__name__ for f in GOOD])
def test_labels_of_any_data_set_change_and_nothing_else(inner: str) -> None:
    plain_x, plain_y = rows(LAB.datasets[inner].load("train"))
    data = load("mislabel", inner=inner, k=17)
    x, y = rows(data)
    assert torch.equal(x, plain_x)
    assert int((y != plain_y).sum()) == 17
    assert torch.equal(data.mislabelled, y != plain_y)
    assert torch.equal(data.clean_labels, plain_y)
    assert torch.equal(data.labels, y)
    batch = next(iter(DataLoader(data, batch_size=SAMPLES)))
    assert torch.equal(batch[1], y)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(rows(copy)[1], y)


@pytest.mark.parametrize("order", ["fixed", "per_image"])
@pytest.mark.parametrize("inner", [f.__name__ for f in GOOD])
def test_pixels_of_any_data_set_move_and_nothing_else(inner: str, order: str) -> None:
    for split in SPLITS:
        plain_x, plain_y = rows(LAB.datasets[inner].load(split))
        data = load("pixel_shuffle", split, inner=inner, order=order, seed=3)
        x, y = rows(data)
        assert torch.equal(y, plain_y)
        assert x.dtype == plain_x.dtype
        assert not torch.equal(x, plain_x)
        for i, (image, plain) in enumerate(zip(x, plain_x, strict=True)):
            # The reference: pixel by pixel, all channels together.
            planes = plain.reshape(1 if plain.dim() == 1 else len(plain), -1)
            own = {"split": split, "index": i} if order == "per_image" else {}
            comes_from = pixel_order(planes.shape[1], seed=3, **own).tolist()
            expected = torch.stack([planes[:, pixel] for pixel in comes_from], dim=1).reshape(plain.shape)
            assert torch.equal(image, expected)


@pytest.mark.parametrize(("name", "params"), [("mislabel", {"k": 5}), ("random_labels", {}), ("pixel_shuffle", {})])
def test_what_is_in_memory_stays_there_and_keeps_its_type(name: str, params: dict[str, Any]) -> None:
    for inner, kind in (("digits", Samples), ("as_bytes", ByteSamples), ("tensors", TensorDataset)):
        plain, data = LAB.datasets[inner].load("train"), load(name, inner=inner, **params)
        assert type(data) is kind
        batch, labels = data[torch.tensor([3, 1])]
        one, label = data[3]
        assert torch.equal(batch[0], one)
        assert labels[0] == label
        assert data.tensors[0].dtype == plain.tensors[0].dtype
        for attribute in ("classes", "mean", "std"):
            assert getattr(data, attribute, None) == getattr(plain, attribute, None)
        if kind is Samples:
            assert data.inputs is data.tensors[0]
            assert data.labels is data.tensors[1]
            assert data.name == name
    assert not isinstance(load(name, inner="doubling", **params), TensorDataset), "an index of many would be wrong"


@pytest.mark.parametrize(("name", "params"), [("mislabel", {"k": 5}), ("random_labels", {}), ("pixel_shuffle", {})])
def test_what_is_lazy_stays_lazy(name: str, params: dict[str, Any]) -> None:
    data = load(name, inner="lazy_with_targets", **params)
    assert data._data.loaded == []
    data[7]
    assert data._data.loaded == [7]
    assert not isinstance(data, TensorDataset)
    assert data.classes == ("a", "b", "c", "d")
    assert data.mean == (0.5, 0.5, 0.5)
    assert data.std == ()


def test_lazy_images_in_files_are_covered(tmp_path: Path) -> None:
    from PIL import Image

    for side, count in (("train", 8), ("val", 2)):
        for word in ("x", "y"):
            (tmp_path / "imagenet" / side / word).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (9, 7), (20 * i, 0, 0)).save(tmp_path / f"imagenet/{side}/{word}/{i}.png")
    inner = {"name": "imagenet", "validation": 4, "resize": 6, "crop": 4}
    noisy = LAB.datasets["mislabel"].load("train", tmp_path, lab=LAB, dataset=inner, k=3)
    plain = LAB.datasets["imagenet"].load("train", tmp_path, **{k: v for k, v in inner.items() if k != "name"})
    (noisy_x, noisy_y), (x, y) = rows(noisy), rows(plain)
    assert torch.equal(noisy_x, x)
    assert int((noisy_y != y).sum()) == 3
    assert noisy.classes == ("x", "y")
    assert noisy.mean == plain.mean


def test_corruptions_build_on_one_another() -> None:
    inner = {
        "name": "mislabel",
        "k": 10,
        "dataset": {"name": "pixel_shuffle", "dataset": {"name": "lazy_with_targets"}},
    }
    data = LAB.datasets["mislabel"].load("train", lab=LAB, k=4, seed=9, dataset=inner)
    assert data.clean_labels.tolist() == LABELS
    once = LAB.datasets["mislabel"].load("train", lab=LAB, **{k: v for k, v in inner.items() if k != "name"})
    assert int((data.labels != once.labels).sum()) == 4
    assert torch.equal(data.mislabelled, data.labels != torch.tensor(LABELS))
    assert torch.equal(rows(data)[0], rows(load("pixel_shuffle", inner="lazy_with_targets"))[0])
    redrawn = {"name": "random_labels", "fraction": 0.5, "dataset": {"name": "digits"}}
    for outer, params in (("pixel_shuffle", {}), ("mislabel", {"k": 1})):
        data = LAB.datasets[outer].load("train", lab=LAB, dataset=redrawn, **params)
        assert 0 < int(data.redrawn.sum()) < len(data)
        assert len(data.mislabelled) == len(data)


@pytest.mark.parametrize("inner", ["digits", "lazy_with_targets"])
def test_which_splits_are_corrupted(inner: str) -> None:
    for name, params in (("mislabel", {"k": 5}), ("random_labels", {})):
        for split in SPLITS:
            plain, default = LAB.datasets[inner].load(split), load(name, split, inner=inner, **params)
            both = load(name, split, inner=inner, splits=["validation", "test"], **params)
            for data, corrupted in ((default, split == "train"), (both, split != "train")):
                assert torch.equal(rows(data)[1], rows(plain)[1]) != corrupted
                assert torch.equal(rows(data)[0], rows(plain)[0])
                assert hasattr(data, "mislabelled") == corrupted
    plain = LAB.datasets["digits"].load("test").inputs
    assert torch.equal(load("pixel_shuffle", "test", splits=["train"]).inputs, plain)
    assert not torch.equal(load("pixel_shuffle", "test").inputs, plain)


def test_a_fixed_order_is_that_of_all_splits_and_random_states_stay() -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    back = pixel_order(64, seed=2).argsort()
    for split in SPLITS:
        shuffled, plain = load("pixel_shuffle", split, seed=2), LAB.datasets["digits"].load(split)
        assert torch.equal(shuffled.inputs.flatten(1)[:, back], plain.inputs.flatten(1))
        load("mislabel", split, k=3, splits=list(SPLITS))
        load("random_labels", split, splits=list(SPLITS))
        load("pixel_shuffle", split, order="per_image")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002


WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("mislabel", {"k": 1295}, ["k is 1295", "'digits' has 1294 samples"]),
    ("mislabel", {"k": -1}, ["k is -1", "at least 0"]),
    ("mislabel", {"k": 2.5}, ["k is 2.5"]),
    ("mislabel", {}, ["'k' is missing"]),
    ("mislabel", {"k": 1, "seed": -1}, ["seed is -1"]),
    ("mislabel", {"k": 1, "splits": "train"}, ["splits is 'train'", "['train']"]),
    ("mislabel", {"k": 1, "splits": ["trian"]}, ["'trian'", "Did you mean 'train'?"]),
    ("mislabel", {"k": 1, "lab": None}, ["no lab", "lab=Lab()"]),
    ("mislabel", {"k": 1, "inner": "digit"}, ["dataset.name = 'digit'", "Did you mean 'digits'?"]),
    ("mislabel", {"k": 1, "inner": "one_class"}, ["1 class", "no wrong"]),
    ("mislabel", {"k": 1, "inner": "too_few_classes"}, ["a label is 2", "only 2 classes"]),
    ("mislabel", {"k": 1, "inner": "empty"}, ["train split of dataset 'empty' is empty"]),
    ("mislabel", {"k": 1, "inner": "endless"}, ["Endless without a length"]),
    ("mislabel", {"k": 1, "inner": "regression"}, ["TensorDataset: its labels", "float32"]),
    ("mislabel", {"k": 1, "inner": "halves"}, ["Lazy: the label of sample 0 is 0.5"]),
    ("mislabel", {"k": 1, "inner": "negative"}, ["a label is -1"]),
    ("mislabel", {"k": 1, "inner": "triples"}, ["Triples: sample 0 is a tuple", "pair"]),
    ("random_labels", {"fraction": 1.5}, ["fraction is 1.5", "from 0 to 1"]),
    ("random_labels", {"fraction": float("nan")}, ["fraction is nan"]),
    ("random_labels", {"fraction": True}, ["fraction is True"]),
    ("pixel_shuffle", {"order": "each"}, ["unknown order 'each'"]),
    ("pixel_shuffle", {"inner": "numbers"}, ["'numbers' is one number"]),
]


@pytest.mark.parametrize(("name", "params", "expected"), WRONG)
def test_what_does_not_fit_is_named(name: str, params: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(ReluscopeError) as caught:
        load(name, **params)
    assert "\n" not in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"name": "mnist", "split_sed": 1}, ["dataset.split_sed", "Did you mean 'split_seed'?"]),
        ({"name": "mnist", "split_seed": "one"}, ["dataset.split_seed", "one", "integer"]),
        ({"name": "arrays"}, ["dataset.path is missing"]),
        ({"name": "mislabel", "k": 3, "dataset": {"name": "minst"}}, ["'minst'", "Did you mean 'mnist'?"]),
        ({"split_seed": 1}, ["expected a table with a name", '{ name = "mnist" }']),
        ({"name": 3}, ["expected a table with a name"]),
        ("mnist", ['dataset = "mnist"', "expected a table with a name"]),
    ],
)
def test_an_inner_data_set_that_does_not_fit_is_named(choice: Any, expected: list[str]) -> None:
    with pytest.raises(ReluscopeError) as caught:
        LAB.datasets["mislabel"].load("train", lab=LAB, k=1, dataset=choice)
    for part in ["dataset 'mislabel'", *expected]:
        assert part in str(caught.value)


def test_labels_that_disagree_with_the_samples_are_seen() -> None:
    data = load("mislabel", inner="disagreeing", k=1)
    with pytest.raises(ReluscopeError, match="sample 0 has the label 0, but its attribute labels or targets says 1"):
        data[0]


def test_samples_that_are_no_tensors_cannot_be_shuffled() -> None:
    with pytest.raises(ReluscopeError, match="sample 0 of Arrays is ndarray, expected a tensor"):
        load("pixel_shuffle", inner="arrays_out")[0]


RECIPE: dict[str, Any] = {
    "title": "Noisy labels",
    "procedure": "train",
    "epochs": 1,
    "dataset": {"name": "mislabel", "k": 100, "dataset": {"name": "digits", "split_seed": 2}},
    "architecture": {"name": "mlp", "widths": [64, 10]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "scheduler": {"name": "constant"},
}


def test_a_recipe_names_the_inner_data_set() -> None:
    plan = recipe.load(RECIPE | {"sweep": {"dataset.k": [0, 50]}}, lab=LAB)
    for (_, point), k in zip(plan.points, (0, 50), strict=True):
        assert point.dataset is not None
        data: Any = LAB.datasets[point.dataset.name].load("train", lab=LAB, **point.dataset.parameters)
        assert int(data.mislabelled.sum()) == k
        expected = LAB.datasets["digits"].load("train", split_seed=2)
        assert torch.equal(data.inputs, expected.inputs)


def test_a_recipe_cannot_set_the_lab() -> None:
    with pytest.raises(ReluscopeError, match=r"dataset\.lab"):
        recipe.load(
            RECIPE | {"dataset": {"name": "mislabel", "k": 1, "dataset": {"name": "digits"}, "lab": 1}}, lab=LAB
        )


def test_a_definition_without_lab_gets_none() -> None:
    assert len(LAB.datasets["digits"].load("test", lab=LAB)) == 359  # type: ignore[arg-type]
    assert "lab" not in LAB.datasets["mislabel"].parameters()
