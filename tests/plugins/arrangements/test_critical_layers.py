"""The procedure `critical_layers`: what it resets, what it keeps over a kill, and what it refuses."""

from __future__ import annotations

import copy
import os
import signal
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import xarray as xr
from torch import nn

import reluscope as rs
from reluscope.context import Context, Interrupted
from reluscope.errors import ObservationError, RecipeError, ReluscopeError
from reluscope_plugins.arrangements import critical_layers as module
from reluscope_plugins.arrangements.critical_layers import correlation_over_runs
from reluscope_plugins.procedures.train import Training

LAB = rs.Lab()
LAYERS = ["conv1.weight", "conv2.weight", "conv3.weight", "conv4.weight", "head.weight"]
CONSTANT = {"name": "constant"}
RECIPE: dict[str, Any] = {
    "title": "Critical layers of a small network",
    "procedure": "critical_layers",
    "epochs": 3,
    "snapshots": [2, 0],
    "batch_size": 64,
    "shift": 1,
    "flip": True,
    "flush_seconds": 0.0,
    "dataset": {"name": "subset", "train": 640, "test": 100, "dataset": {"name": "digits"}},
    "architecture": {
        "name": "small_cnn",
        "input_shape": [1, 8, 8],
        "channels": [4, 6, 6, 6],
        "pool_every": 2,
        "global_pool": False,
    },
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "scheduler": {"name": "step_decay"},
}


def right(model: nn.Module, data: Any) -> float:
    hits = [int(model(x[None]).argmax()) == int(y) for x, y in data]
    return sum(hits) / len(hits)


@pytest.fixture(scope="module")
def trained() -> tuple[xr.DataTree, dict[int, nn.Module], Any]:
    """The archive, copies of the network after each epoch, and the test samples."""
    kept: dict[int, nn.Module] = {}
    seen: list[Training] = []
    run = Training.run

    def with_copies(self: Training, after_epoch: Any = None) -> None:
        def look(epoch: int) -> None:
            kept[epoch] = copy.deepcopy(self.model).eval()
            after_epoch(epoch)

        seen.append(self)
        run(self, look)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", with_copies)
        tree = rs.run(RECIPE, lab=LAB)
    for name, value in seen[0].model.state_dict().items():
        assert torch.equal(value, kept[3].state_dict()[name])  # the network is as trained
    return tree, kept, seen[0].data["test"]


def test_the_drop_is_that_of_a_network_put_together_by_hand(trained: Any) -> None:
    tree, kept, data = trained
    found = tree["critical_layers"].to_dataset()
    assert found["layer"].values.tolist() == LAYERS
    assert found["epoch"].values.tolist() == [0, 2]
    whole = right(kept[3], data)
    assert found["trained_accuracy"].item() == whole == tree["epoch/test_accuracy"].sel(epoch=3).item()
    for layer in LAYERS:
        name = layer.removesuffix(".weight")
        for epoch in (0, 2):
            mixed = copy.deepcopy(kept[3])
            setattr(mixed, name, getattr(kept[epoch], name))
            expected = whole - right(mixed, data)
            assert found["accuracy_drop"].sel(layer=layer, epoch=epoch).item() == pytest.approx(expected, abs=1e-12)
    assert found["accuracy_drop"].sel(epoch=0).max() > 0.1


def test_share_and_correlation_are_those_of_the_trained_network(trained: Any) -> None:
    tree, kept, _ = trained
    found = tree["critical_layers"].to_dataset()
    shares = []
    for layer in LAYERS:
        weight = kept[3].get_parameter(layer).detach().double().numpy()
        shares.append(np.mean([one.sum() <= 0 for one in weight]))
    np.testing.assert_array_equal(found["negative_projection_share"], shares)
    drops = found["accuracy_drop"].sel(epoch=0)
    expected = scipy.stats.spearmanr(np.abs(np.array(shares) - 0.5), drops).statistic
    assert found["share_drop_correlation"].item() == pytest.approx(expected)
    lower, upper = found["share_drop_correlation_interval"].values
    assert lower < expected < upper


def test_it_trains_as_train_does(trained: Any) -> None:
    plain = {key: value for key, value in RECIPE.items() if key != "snapshots"}
    expected = rs.run({**plain, "procedure": "train"}, lab=LAB)
    for group in ("step", "epoch", "data"):
        assert trained[0][group].to_dataset().identical(expected[group].to_dataset())


@pytest.mark.parametrize("stops", [5, 10, 30, 31])
def test_a_resumed_run_is_the_same_to_the_bit(
    trained: Any, stops: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at a checkpoint: within an epoch, after one, when the first snapshot was measured, and the second."""
    checkpoint, left = Context.checkpoint, [stops]

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    monkeypatch.setattr(Context, "checkpoint", interrupted)
    with pytest.raises(Interrupted):
        rs.run(RECIPE, lab=LAB, out=tmp_path / "run.nc")
    resumed = rs.run(RECIPE, lab=LAB, out=tmp_path / "run.nc", resume=True)
    for group in ("step", "epoch", "critical_layers"):
        assert resumed[group].to_dataset().equals(trained[0][group].to_dataset())


def test_a_resumed_run_does_not_measure_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Context.checkpoint
    calls: list[int] = []

    def interrupted(context: Context, state: Any) -> None:
        if calls:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    def counted(training: Any, split: str) -> float:
        calls.append(1)
        return accuracy(training, split)

    accuracy = module._accuracy
    monkeypatch.setattr(module, "_accuracy", counted)
    with monkeypatch.context() as patch:
        patch.setattr(Context, "checkpoint", interrupted)
        with pytest.raises(Interrupted):
            rs.run(RECIPE, lab=LAB, out=tmp_path / "run.nc")
    assert len(calls) == 1 + len(LAYERS)
    rs.run(RECIPE, lab=LAB, out=tmp_path / "run.nc", resume=True)
    assert len(calls) == 2 * (1 + len(LAYERS))


def test_few_layers_have_no_correlation() -> None:
    recipe = {
        **RECIPE,
        "epochs": 1,
        "snapshots": [0],
        "architecture": {"name": "small_cnn", "input_shape": [1, 8, 8], "channels": [4, 4]},
        "split": "validation",
    }
    found = rs.run(recipe, lab=LAB)["critical_layers"].to_dataset()
    assert found["layer"].size == 3
    assert found["share_drop_correlation"].isnull().all()
    assert found["share_drop_correlation_interval"].isnull().all()
    assert not found["negative_projection_share"].isnull().any()


def test_several_runs_are_joined() -> None:
    values = [0.5, 0.9, 0.1, np.nan]
    group = xr.Dataset({"share_drop_correlation": ("seed", values)}, {"seed": [0, 1, 2, 3]})
    found = correlation_over_runs(xr.DataTree.from_dict({"/critical_layers": group}))
    test = scipy.stats.ttest_1samp(values[:3], 0).confidence_interval(0.95)
    assert found["share_drop_correlation"].item() == pytest.approx(0.5)
    assert found["runs"].item() == 3
    expected = [max(test.low, -1.0), min(test.high, 1.0)]
    np.testing.assert_allclose(found["share_drop_correlation_interval"], expected)
    narrow = correlation_over_runs(group, confidence=0.5)["share_drop_correlation_interval"]
    np.testing.assert_allclose(narrow, scipy.stats.ttest_1samp(values[:3], 0).confidence_interval(0.5))


def test_other_dims_of_a_sweep_are_kept() -> None:
    group = xr.Dataset(
        {"share_drop_correlation": (("depth", "seed"), [[0.2, 0.4], [0.3, np.nan]])},
        {"depth": [11, 19], "seed": [0, 1]},
    )
    found = correlation_over_runs(group)
    assert found["share_drop_correlation"].dims == ("depth",)
    assert not found["share_drop_correlation_interval"].sel(depth=11).isnull().any()
    assert found["share_drop_correlation_interval"].sel(depth=19).isnull().all()


def test_the_accuracy_is_that_of_the_split_and_a_network_that_overflows_is_wrong() -> None:
    inputs = torch.eye(3)
    labels = {"test": torch.tensor([0, 0, 0]), "validation": torch.tensor([0, 1, 0])}
    data = {split: torch.utils.data.TensorDataset(inputs, one) for split, one in labels.items()}
    training: Any = types.SimpleNamespace(
        model=nn.Identity(), data=data, device=torch.device("cpu"), evaluation_batch_size=2
    )
    assert module._accuracy(training, "test") == 1 / 3
    assert module._accuracy(training, "validation") == 2 / 3
    for value in (np.nan, np.inf, -np.inf):
        training.model = nn.Linear(3, 3)
        nn.init.constant_(training.model.bias, value)  # argmax gives 0, the label
        assert module._accuracy(training, "test") == 0.0


def test_the_chosen_split_is_measured() -> None:
    tree = rs.run({**RECIPE, "epochs": 1, "snapshots": [0, 1], "split": "validation", "scheduler": CONSTANT}, lab=LAB)
    found = tree["critical_layers"].to_dataset()
    last = tree["epoch"].to_dataset().sel(epoch=1)
    assert last["validation_accuracy"].item() != last["test_accuracy"].item()
    assert found["trained_accuracy"].item() == last["validation_accuracy"].item()
    assert (found["accuracy_drop"].sel(epoch=1) == 0.0).all()  # nothing was reset
    assert (found["accuracy_drop"].sel(epoch=0) != 0.0).any()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    group = xr.Dataset({"share_drop_correlation": ("seed", [0.5, 0.6])}, {"seed": [0, 1]})
    with pytest.raises(ObservationError, match="confidence: got"):
        correlation_over_runs(group, confidence=confidence)


def test_what_cannot_be_joined() -> None:
    with pytest.raises(ObservationError, match="got dict, expected an archive"):
        correlation_over_runs({"share_drop_correlation": 0.5})  # type: ignore[arg-type]
    with pytest.raises(ObservationError, match="run the procedure 'critical_layers'"):
        correlation_over_runs(xr.DataTree())
    group = xr.Dataset({"share_drop_correlation": ("seed", [0.5, 0.7])}, {"seed": [0, 1]})
    assert correlation_over_runs(xr.DataTree(group))["runs"].item() == 2


def test_one_run_cannot_be_joined() -> None:
    with pytest.raises(ObservationError, match="along 'seed'"):
        correlation_over_runs(xr.Dataset({"share_drop_correlation": ((), 0.5)}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"snapshots": []}, "expected at least one epoch"),
        ({"snapshots": [0, 2, 0]}, "each epoch once"),
        ({"snapshots": [0, 4]}, "there are 3 epochs, expected none after the last"),
        ({"snapshots": [-1]}, "snapshots"),
        ({"dataset": {"name": "gaussian"}, "architecture": {"name": "mlp", "widths": [10, 2]}}, "expected an image"),
        ({"shift": 8}, "an image has 8 x 8 pixels, expected a number below 8"),
        ({"split": "tset"}, "split"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ReluscopeError, match=words):
        rs.run({**RECIPE, **changes}, lab=LAB)


def test_a_network_without_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "resettable_layers", lambda model: {})
    with pytest.raises(RecipeError, match="'small_cnn': it has no convolution"):
        rs.run(RECIPE, lab=LAB)
