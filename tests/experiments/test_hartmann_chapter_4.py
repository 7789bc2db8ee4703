"""Hartmann 2025, chapter 4: the recipes, and on networks that are at hand what the source concludes.

Statistical tests: null, sample size and error probability in each docstring; seeds are fixed.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope import recipe as recipes
from reluscope_plugins.architectures.akamaster import from_akamaster
from reluscope_plugins.architectures.resnet import resnet
from reluscope_plugins.number_systems.attention import attend
from reluscope_plugins.number_systems.receptive_fields import receptive_fields

ERROR = 1e-6
BATCH = 40
Numbers = npt.NDArray[np.float64]
LAB = rs.Lab()
FIGURES = tuple(f"hartmann_figure_4_{number}" for number in range(1, 6))
TABLES = ("hartmann_table_4_1", "hartmann_table_4_2", "hartmann_table_4_2_combined")
COUNTS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", [*FIGURES, *TABLES])
def test_recipes_are_complete(name: str, scale: str) -> None:
    """Names and parameters are checked, and nothing is fetched: trained weights are named, not loaded."""
    plan = recipes.load(name, lab=LAB, scale=scale)
    number = name.removeprefix("hartmann_").split("_4_")[1][0]
    assert plan.recipe.source.startswith("Hartmann 2025, ")
    assert f"{name.split('_')[1]} 4.{number}" in plan.recipe.source
    groups = {*LAB.procedures[plan.recipe.procedure].groups}
    assert plan.recipe.figures
    assert {figure.group for figure in plan.recipe.figures} <= groups


def test_figure_4_1_runs() -> None:
    tree = rs.run("hartmann_figure_4_1", lab=LAB, scale="small", overrides=["points=9", "repeats=100"])
    assert (
        tree["curves/relative_deviation"].sel(bound="formula")
        <= tree["curves/relative_deviation"].sel(bound="bound") + 1e-9
    ).sum() == 3 * 8


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        (
            "hartmann_figure_4_2",
            [
                "epochs=1",
                "dataset.train=64",
                "dataset.validation=32",
                "dataset.test=32",
                "sweep.trained_samples=[0, 1]",
            ],
            "quantise/accuracy",
        ),
        ("hartmann_figure_4_3", ["dataset.test=8"], "quantise/accuracy"),
        ("hartmann_figure_4_4", ["dataset.test=2", "repeats=2"], "errors/relative_error"),
        pytest.param(
            "hartmann_figure_4_5",
            ["dataset.test=4", "sweep.seed=[0]"],
            "attention/refined_accuracy",
            marks=pytest.mark.slow,
        ),
        ("hartmann_table_4_1", ["dataset.test=8", "sweep.seed=[0]", "samples=[16]"], "quantise/accuracy"),
        pytest.param(
            "hartmann_table_4_2",
            ["dataset.test=8", "sweep.prune=[0.0, 0.5]", "samples=[16]"],
            "quantise/accuracy",
            marks=pytest.mark.slow,
        ),
        ("hartmann_table_4_2_combined", ["dataset.test=4"], "attention/refined_accuracy"),
    ],
)
def test_small_scales_run(name: str, changes: list[str], found: str, data_root: Path) -> None:
    table = recipes.load(name, lab=LAB, scale="small", overrides=changes).table
    # What is expected is of points that these changes leave out.
    tree = rs.run({**table, "expected": []}, lab=LAB, data_root=data_root)
    assert np.isfinite(tree[found].values).all()


def trained_resnet20(data_root: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """The shared network, and the 10,000 test images of CIFAR-10 as it takes them, with their labels."""
    model = resnet(20).eval()
    path = data_root / "cifar10" / "resnet20-12fca82f.th"
    model.load_state_dict(from_akamaster(torch.load(path, map_location="cpu", weights_only=True)["state_dict"]))
    with np.load(data_root / "cifar10" / "cifar10_10k.npz") as arrays:
        images, labels = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"]).long()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return model, ((images / 255 - mean) / std).permute(0, 3, 1, 2).contiguous(), labels


def attention_accuracies(data_root: Path, *, batches: int, **asked: Any) -> dict[str, Numbers]:
    """Accuracies `(batch,)` at 2/32 samples and what it cost, weights drawn anew for each batch of 40 images.

    The highest scores and a random choice see the same draws. The test images lie sorted by class; they are shuffled,
    and the first 3,000, on which the score "decision" and the number of batches were chosen, are left out.
    """
    model, images, labels = trained_resnet20(data_root)
    some = torch.randperm(len(images), generator=torch.Generator().manual_seed(5))[3000 : 3000 + batches * BATCH]
    images, labels = images[some], labels[some]
    rs.quantize_(model, "psb")
    fields = receptive_fields(model, images[:1])
    rows: list[dict[str, float]] = []
    for batch in range(batches):
        here = slice(batch * BATCH, (batch + 1) * BATCH)
        row: dict[str, float] = {}
        for select in ("highest", "random"):
            asked["select"] = select
            found = attend(
                model, images[here], base_samples=2, refined_samples=32, fields=fields, seed=1000 + batch, **asked
            )
            cost = found.operations.sum("layer")
            row |= {
                "first": float((found.first_logits.argmax(1) == labels[here]).double().mean()),
                "share": float(found.mask.double().mean()),
                select: float((found.logits.argmax(1) == labels[here]).double().mean()),
                f"{select} cost": float((cost["first"] + cost.extra) / cost.everywhere),
                f"{select} cost redone": float((cost["first"] + cost.extra + cost.redone) / cost.everywhere),
            }
        rows.append(row)
    found_rows = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    print(asked, {key: f"{column.mean():.4f}" for key, column in found_rows.items()})
    return found_rows


def gain(found: dict[str, Numbers]) -> tuple[float, float]:
    """Mean of what the highest scores gain over a random choice, and its standard error, of pairs."""
    difference = found["highest"] - found["random"]
    print(f"gain {difference.mean():.4f} +- {difference.std(ddof=1) / np.sqrt(len(difference)):.4f}")
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


@pytest.mark.slow
@pytest.mark.data
def test_attention_is_two_points_better_than_chance(data_root: Path) -> None:
    """Null: at 2/32 samples refining where it decides gains at most 2 points over refining as much, anywhere.

    n = 175 batches of 40 images, each with its own draws; differences are of pairs with the same images and draws.
    Student's t, error probability 1e-6.
    """
    found = attention_accuracies(data_root, batches=175, score="decision", threshold="batch", carry="scaled")
    mean, spread = gain(found)
    assert (mean - 0.02) / spread > scipy.stats.t.isf(ERROR, 174)
    assert (found["highest cost redone"] < 0.35).all()


@pytest.mark.slow
@pytest.mark.data
def test_attention_by_receptive_fields_costs_less_than_chance(data_root: Path) -> None:
    """Null: by receptive fields, refining where it decides is at best as good as refining as much, anywhere.

    As above; and it takes less than half of the sampled operations of 32 samples everywhere, where chance takes nearly
    all, since the fields of pixels that lie apart cover nearly everything.
    """
    found = attention_accuracies(data_root, batches=175, score="decision", threshold="batch", carry="receptive")
    mean, spread = gain(found)
    assert mean / spread > scipy.stats.t.isf(ERROR, 174)
    assert found["highest cost redone"].mean() < 0.5
    assert found["random cost redone"].mean() > 0.95


@pytest.mark.slow
@pytest.mark.data
def test_attention_is_no_better_than_as_many_operations_everywhere(data_root: Path) -> None:
    """Null: attention with scaled masks gains a point over 8 samples everywhere, which cost as much.

    As above, on the same images with other draws.
    """
    model, images, labels = trained_resnet20(data_root)
    some = torch.randperm(len(images), generator=torch.Generator().manual_seed(5))[3000:]
    rs.quantize_(model, "psb")
    attended, everywhere, costs = [], [], []
    for batch, here in enumerate(some.split(BATCH)):
        found = attend(model, images[here], base_samples=2, refined_samples=32, carry="scaled", seed=5000 + batch)
        cost = found.operations.sum("layer")
        costs.append(float((cost["first"] + cost.extra + cost.redone) / cost.everywhere))
        attended.append(float((found.logits.argmax(1) == labels[here]).double().mean()))
        rs.set_samples_(model, 8)
        with torch.no_grad():
            everywhere.append(float((model(images[here]).argmax(1) == labels[here]).double().mean()))
    difference = np.array(attended) - np.array(everywhere)
    spread = difference.std(ddof=1) / np.sqrt(len(difference))
    print(f"attention {np.mean(attended):.4f}, 8 everywhere {np.mean(everywhere):.4f}")
    print(f"difference {difference.mean():.4f} +- {spread:.4f}")
    assert abs(np.mean(costs) - 8 / 32) < 0.01
    assert (0.01 - difference.mean()) / spread > scipy.stats.t.isf(ERROR, len(difference) - 1)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("carry", ["receptive", "scaled"])
def test_entropy_is_not_two_points_better_than_chance(data_root: Path, carry: str) -> None:
    """Null: at 2/32 samples refining where the pixels' entropy is high gains 2 points over refining anywhere.

    Against table 4.2's 12 points of ResNet-18 on ImageNet. As above.
    """
    found = attention_accuracies(data_root, batches=175, score="entropy", threshold="image", carry=carry)
    mean, spread = gain(found)
    assert (0.02 - mean) / spread > scipy.stats.t.isf(ERROR, 174)
    assert 0.3 < found["share"].mean() < 0.4


def resnet20_accuracies(data_root: Path, *, fold: bool, counts: tuple[int, ...], images: int) -> dict[int, Numbers]:
    """Number of samples (0: floating point) to accuracies `(batch, seed)` of batches of 250, each with its own draws.

    The test images lie sorted by class; they are shuffled first.
    """
    model, x, y = trained_resnet20(data_root)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:images]
    batches = list(zip(x[chosen].split(250), y[chosen].split(250), strict=True))

    def accuracies() -> list[float]:
        return [float((model(inputs).argmax(1) == labels).double().mean()) for inputs, labels in batches]

    with torch.inference_mode():
        found = {0: np.array(accuracies())[:, None]}
        for count in counts:
            columns = []
            for seed in range(5):
                rs.quantize_(model, "psb", samples=count, fold_batchnorm=fold, seed=1000 * count + seed)
                columns.append(accuracies())
                rs.restore_(model)
            found[count] = np.array(columns).T
    return found


def mean_and_error(accuracies: Numbers) -> tuple[float, float]:
    """Mean over the draws of all batches and seeds, and its standard error by the spread over seeds in each batch.

    The images are those of the test set, not a sample: only draws differ.
    """
    batches, seeds = accuracies.shape
    return float(accuracies.mean()), float(np.sqrt(accuracies.var(axis=1, ddof=1).sum() / seeds) / batches)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("fold", [True, False])
def test_accuracy_rises_with_the_samples(data_root: Path, fold: bool) -> None:
    """1 to 64 samples, batch norms folded or not, 2,000 images in 8 batches, 5 seeds; nothing is retrained.

    Four times the samples are better up to 16: null, they are not. No doubling is worse: null, it is not. Normal law of
    the means of 40 draws each, error probability 1e-6 for each comparison.
    """
    found = resnet20_accuracies(data_root, fold=fold, counts=COUNTS, images=2000)
    levels = {count: mean_and_error(found[count]) for count in COUNTS}
    critical = scipy.stats.norm.isf(ERROR)
    for fewer, more in itertools.pairwise(COUNTS):
        error = np.hypot(levels[fewer][1], levels[more][1])
        assert levels[more][0] - levels[fewer][0] > -critical * error
    for fewer, more in ((1, 4), (4, 16)):
        error = np.hypot(levels[fewer][1], levels[more][1])
        assert levels[more][0] - levels[fewer][0] > critical * error


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("fold", [True, False])
def test_64_samples_are_within_0_7_points_of_floating_point(data_root: Path, fold: bool) -> None:
    """Null: the mean accuracy over draws, on the 10,000 test images, is 0.7 points below 91.73 %, or more.

    Batch norms folded or not; 5 seeds of 40 batches: 200 draws. Normal law, error probability 1e-6 each. Source: 69.2
    against 69.7 %.
    """
    found = resnet20_accuracies(data_root, fold=fold, counts=(64,), images=10_000)
    assert found[0].mean() == pytest.approx(0.9173, abs=1e-9)
    mean, error = mean_and_error(found[64])
    assert mean - scipy.stats.norm.isf(ERROR) * error > 0.9173 - 0.007


class Learner:
    """Eight convolutions of 3 x 3 with batch norm, 9,000 training images of CIFAR-10, and its test images."""

    def __init__(self, data_root: Path) -> None:
        table = {"path": "cifar10/cifar10_10k.npz", "mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
        self.x, self.y = LAB.datasets["arrays"].load("train", data_root, **table).tensors
        test = LAB.datasets["arrays"].load("test", data_root, **table)
        chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
        self.batches = list(zip(*(part[chosen].split(50) for part in test.tensors), strict=True))
        self.model = LAB.architectures["small_cnn"].build(
            seed=0, input_shape=[3, 32, 32], channels=[16] * 8, batch_norm=True, pool_every=2
        )

    def train(self, *, epochs: int, rate: float, samples: int = 0) -> None:
        """In floating point where there are no samples; momentum 0.9, weight decay 5e-4, batches of 64, OneCycleLR."""
        if samples:
            rs.quantize_(self.model, "psb", samples=samples, seed=0)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        steps = epochs * -(-len(self.x) // 64)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        order = torch.Generator().manual_seed(0)
        self.model.train()
        for _ in range(epochs):
            for batch in torch.randperm(len(self.x), generator=order).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(self.model(self.x[batch]), self.y[batch]).backward()
                optimizer.step()
                scheduler.step()
        if samples:
            rs.restore_(self.model)
        self.model.eval()

    @torch.no_grad()
    def accuracies(self, samples: int) -> Numbers:
        """Of 200 batches of 50 images, each the mean of three passes with draws of their own."""
        found = np.zeros(len(self.batches))
        for seed in range(3):
            rs.quantize_(self.model, "psb", samples=samples, seed=seed)
            found += [float((self.model(x).argmax(1) == y).double().mean()) / 3 for x, y in self.batches]
            rs.restore_(self.model)
        return found


@pytest.mark.slow
@pytest.mark.data
def test_retrained_at_few_samples_beats_in_place(data_root: Path) -> None:
    """Null: retraining ten epochs at 1, 2 or 4 samples gains nothing there over ten more in floating point.

    All go on from the same network, trained 12 epochs in floating point. Student's t over 200 pairs of batches of the
    same 50 images, each with draws of its own; error probability 1e-6 in all. With two epochs in place of ten the null
    is rejected at 1 sample only (gains of 3.4, 0.6 and -0.1 points).
    """
    counts = (1, 2, 4)
    learner = Learner(data_root)
    learner.train(epochs=12, rate=0.1)
    begin = copy.deepcopy(learner.model.state_dict())
    learner.train(epochs=10, rate=0.05)
    in_place = {count: learner.accuracies(count) for count in counts}
    for count in counts:
        learner.model.load_state_dict(begin)
        learner.train(epochs=10, rate=0.05, samples=count)
        gain = learner.accuracies(count) - in_place[count]
        t = gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain)))
        assert t > scipy.stats.t.isf(ERROR / len(counts), len(gain) - 1)
