"""The procedure `sample_by_sample`: each sample's metrics, which samples, and what is made of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope.errors import ReluscopeError

LAB = rs.Lab()
INNER = {"name": "subset", "train": 60, "validation": 20, "test": 20, "dataset": {"name": "digits"}}
NOISY = {"name": "mislabel", "k": 12, "dataset": INNER}
RECIPE: dict[str, Any] = {
    "title": "Sample by sample",
    "procedure": "sample_by_sample",
    "epochs": 2,
    "batch_size": 16,
    "quantities": ["edge_distance", "slope", "loss"],
    "samples": 48,
    "mislabelled": 12,
    "bins": [0.0, 0.5, 5],
    "dataset": NOISY,
    "architecture": {"name": "mlp", "widths": [64, 12, 10]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "scheduler": {"name": "constant"},
}


def run(**changes: Any) -> Any:
    return rs.run({**RECIPE, **changes}, lab=LAB)


def test_the_mean_over_all_samples_is_the_metric() -> None:
    metrics = [{"name": name, "split": "train"} for name in ("edge_distance", "slope")]
    tree = run(metrics=metrics, looks=[0, 2])
    single, whole = tree["samples"].to_dataset(), tree["epoch"].to_dataset()
    assert single.sizes == {"epoch": 2, "sample": 60}
    for name, metric in (("edge_distance", "edge_distance"), ("slope", "slope"), ("loss", "train_loss")):
        assert single[name].std("sample").min() > 0
        expected = whole[metric].sel(epoch=[0, 2]).values
        np.testing.assert_allclose(single[name].mean("sample").values, expected, rtol=1e-5)


def test_which_samples() -> None:
    data: Any = LAB.datasets["mislabel"].load("train", lab=LAB, dataset=INNER, k=12)
    chosen = run(samples=20, mislabelled=5, looks=[1])["samples"].to_dataset().isel(epoch=0)
    index = chosen["index"].values
    assert chosen["epoch"].item() == 1
    assert len(set(index.tolist())) == 25
    wrong = chosen["mislabelled"].values.astype(bool)
    assert wrong.sum() == 5
    assert (data.mislabelled.numpy()[index] == wrong).all()
    assert (data.labels.numpy()[index] == chosen["label"].values).all()
    other = run(samples=20, mislabelled=5, looks=[1], seed=1)["samples"]["index"].values
    assert set(other.ravel()[5:].tolist()) != set(index[5:].tolist())


def test_detection_and_histogram_are_those_of_the_samples() -> None:
    tree = run(looks=[2])
    single = tree["samples"].to_dataset().isel(epoch=0)
    wrong = single["mislabelled"].values.astype(bool)
    found = tree["detection"].to_dataset().isel(epoch=0)
    for name in RECIPE["quantities"]:
        values = single[name].values
        pairs = [(x < y) + (x == y) / 2 for x, y in itertools.product(values[wrong], values[~wrong])]
        assert found[f"{name}_auroc"].item() == pytest.approx(np.mean(pairs), abs=1e-12)
        lower, upper = found[f"{name}_auroc_interval"].sel(bound=["lower", "upper"]).values
        assert lower < np.mean(pairs) < upper
    histogram = tree["histogram"].to_dataset().isel(epoch=0)
    np.testing.assert_allclose(histogram["x"].values, [0.05, 0.15, 0.25, 0.35, 0.45])
    distance = single["edge_distance"].values
    for kind, members in (("wrong label", wrong), ("correct label", ~wrong)):
        for middle in histogram["x"].values:
            inside = np.abs(distance[members] - middle) <= 0.05
            share = histogram["edge_distance_share"].sel({"class": kind, "x": middle}).item()
            assert share == pytest.approx(inside.mean())


def test_without_wrong_labels_there_is_no_detection() -> None:
    tree = run(dataset=INNER, samples=10)
    assert "detection" not in tree.children
    assert tree["histogram/edge_distance_share"].sel({"class": "wrong label"}).isnull().all()
    assert tree["samples"].sizes == {"epoch": 2, "sample": 10}
    without = {key: value for key, value in RECIPE.items() if key != "bins"}
    assert "histogram" not in rs.run({**without, "samples": 10}, lab=LAB).children


def test_training_goes_on_as_without_looking() -> None:
    own = ("quantities", "samples", "mislabelled", "bins")
    plain = rs.run({**{k: v for k, v in RECIPE.items() if k not in own}, "procedure": "train"}, lab=LAB)
    before = torch.get_rng_state()
    assert run(looks=[0, 1, 2])["epoch"].test_loss.values.tolist() == plain["epoch"].test_loss.values.tolist()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantities": ["edge_distances"]}, "Did you mean 'edge_distance'"),
        ({"quantities": ["firing_rate"]}, "'firing_rate' gives more than one number"),
        ({"quantities": ["rank_collapse"]}, "another moment"),
        ({"quantities": []}, "quantities"),
        ({"samples": 49}, "samples = 49: 48 training samples"),
        ({"looks": [3]}, "there are 2 epochs"),
        ({"bins": [1.0, 1.0, 4]}, "expected the lower end"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError, match=message):
        run(**changes)
