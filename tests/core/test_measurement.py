"""Measuring: one pass a batch, one batch in memory, nothing left behind, clear errors."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reluscope as rs
from reluscope import measurement, random_state
from reluscope.entries import Dataset, Metric
from reluscope.errors import ObservationError, PluginError, UnknownNameError
from reluscope.measurement import assemble, measure_states
from reluscope.observation import Observation
from reluscope_plugins import architectures, geometry, patterns, performance, procedures, schedulers

LAB = rs.Lab(plugins=[patterns, geometry, performance])
ALL = list(LAB.metrics)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 6),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(6, 5),
            nn.LeakyReLU(),
            nn.Linear(5, 3),
        )


def batches(sizes: tuple[int, ...] = (4, 1, 5), seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 4, generator=generator), torch.randint(3, (n,), generator=generator)) for n in sizes]


def joined(data: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(torch.cat([x for x, _ in data]), torch.cat([y for _, y in data]))]


def test_all_metrics_in_one_labelled_dataset(model: nn.Module) -> None:
    data = batches()
    dataset = rs.measure(model, data, metrics=ALL, lab=LAB)
    assert set(dataset.data_vars) == set(ALL)
    assert dataset.attrs == {"samples": 10}
    assert dataset.site.values.tolist() == ["2#0", "5#0"]
    assert dataset.sizes == {"site": 2, "unit": 11, "bound": 2, "feature": 3, "layer": 4}
    assert all(dataset[name].attrs["units"] and dataset[name].attrs["long_name"] for name in dataset.data_vars)
    xr.testing.assert_allclose(dataset, rs.measure(model, joined(data), metrics=ALL, lab=LAB), rtol=1e-6)
    x, y = joined(data)[0]
    model.eval()
    assert dataset.accuracy.item() == (model(x).argmax(1) == y).double().mean().item()


def test_ten_metrics_cost_one_forward_pass(model: nn.Module) -> None:
    @rs.metric()
    def output(observation: Observation) -> Tensor:
        """Mean of the output."""
        return observation.output.mean()

    copies = [Metric(name=f"copy_{i}", summary="Output", definition=output.definition) for i in range(3)]
    many = [*ALL, *copies]
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    rs.measure(model, batches(), metrics=many, lab=LAB)
    assert len(many) > 10
    assert len(calls) == len(batches())
    rs.measure(model, batches(), metrics=["firing_rate"], lab=LAB)
    assert len(calls) == 2 * len(batches())
    handle.remove()


def test_the_graph_is_kept_only_for_metrics_that_need_it(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    observe = measurement.observe

    def spy(*args: Any, **kwargs: Any) -> Observation:
        asked.append(kwargs["affine"])
        return observe(*args, **kwargs)

    monkeypatch.setattr(measurement, "observe", spy)
    rs.measure(model, batches((3,)), metrics=["firing_rate", "loss"], lab=LAB)
    rs.measure(model, batches((3,)), metrics=["firing_rate", "affine_rank"], lab=LAB)
    assert asked == [False, True]


def test_memory_holds_one_batch(model: nn.Module) -> None:
    alive: list[weakref.ref[Tensor]] = []

    def stream() -> Iterator[tuple[Tensor, Tensor]]:
        for seed in range(6):
            gc.collect()
            assert sum(ref() is not None for ref in alive) == 0
            (batch,) = batches((3,), seed)
            alive.append(weakref.ref(batch[0]))
            yield batch
            del batch

    dataset = rs.measure(model, stream(), metrics=ALL, lab=LAB)
    assert dataset.attrs["samples"] == 18


def snapshot(model: nn.Module) -> Any:
    return copy.deepcopy(
        (
            {name: value.tolist() for name, value in model.state_dict().items()},
            [module.training for module in model.modules()],
            [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            random_state.capture()["torch"].tolist(),
        )
    )


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_left_behind(model: nn.Module, training: bool) -> None:
    model(batches()[0][0]).sum().backward()
    model.train()
    model[1].eval()
    loader = DataLoader(TensorDataset(*joined(batches())[0]), batch_size=5, shuffle=True)
    before = snapshot(model)
    rs.measure(model, loader, metrics=["loss", "firing_rate"], training=training, lab=LAB)
    assert snapshot(model) == before
    with pytest.raises(ObservationError):
        rs.measure(model, [*batches(), (torch.randn(2, 9), None)], metrics=["firing_rate"], training=training, lab=LAB)
    after = snapshot(model)
    assert after[:3] == before[:3]


def test_a_loaders_own_generator_is_left_as_found(model: nn.Module) -> None:
    # It may be the loader that training draws from.
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(*joined(batches())[0]), batch_size=5, shuffle=True, generator=generator)
    state = generator.get_state()
    rs.measure(model, loader, metrics=["loss"], lab=LAB)
    assert torch.equal(generator.get_state(), state)


def test_training_mode_sees_batch_statistics(model: nn.Module) -> None:
    data = batches((8,))
    training = rs.measure(model, data, metrics=["firing_rate"], training=True, lab=LAB)
    evaluation = rs.measure(model, data, metrics=["firing_rate"], lab=LAB)
    assert not training.equals(evaluation)
    with pytest.raises(ObservationError, match="batch 1"):
        rs.measure(model, batches(), metrics=["firing_rate"], training=True, lab=LAB)  # a batch of one has no variance


def test_states_of_workers_merge(model: nn.Module) -> None:
    data = batches((4, 1, 5, 2))
    metrics = measurement.resolve(ALL, LAB)
    first, second, empty = (measure_states(model, part, metrics) for part in (data[:2], data[2:], []))
    assert empty == [None] * len(metrics)
    merged = [m.merge(m.merge(a, c), b) for m, a, b, c in zip(metrics, first, second, empty, strict=True)]
    whole = rs.measure(model, data, metrics=metrics)
    assert assemble(metrics, merged).attrs == whole.attrs
    xr.testing.assert_allclose(assemble(metrics, merged), whole, rtol=1e-14)  # sums of floats, with other brackets


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.relu(self.linear(a) + self.linear(b))


def test_inputs_of_all_forms() -> None:
    model = Two()
    x = batches((6,))[0][0]
    a, b = x[:3], x[3:]
    y = torch.tensor([0, 1, 2])
    expected = rs.measure(model, [((a, b), y)], metrics=["firing_rate"], lab=LAB)
    for batch in ([(a, b), y], ({"a": a, "b": b}, y), {"a": a, "b": b}, [(a, b)], ((a, b),)):
        xr.testing.assert_identical(rs.measure(model, [batch], metrics=["firing_rate"], lab=LAB), expected)


def test_batches_go_to_the_models_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = batches((3,))[0][0]
    moved = []
    to = Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda self, *args, **kwargs: moved.append(args[0]) or to(self, *args, **kwargs))
    rs.measure(model, [x], metrics=["firing_rate"], lab=LAB)
    rs.measure(model, [x], metrics=["firing_rate"], device="cpu", lab=LAB)
    assert moved[0] == moved[-1] == torch.device("cpu")


def test_progress_is_told(model: nn.Module) -> None:
    told: list[tuple[int, int | None]] = []
    rs.measure(model, batches(), metrics=["loss"], lab=LAB, progress=lambda *done: told.append(done))
    rs.measure(model, iter(batches()), metrics=["loss"], lab=LAB, progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3), (1, None), (2, None), (3, None)]


def test_names_and_entries_and_a_single_one(model: nn.Module) -> None:
    one = rs.measure(model, batches(), "loss", lab=LAB)
    other = rs.measure(model, batches(), [performance.loss])
    xr.testing.assert_identical(one, other)
    installed = rs.measure(model, batches(), ["loss"])
    xr.testing.assert_identical(one, installed)


def test_smooth_networks_are_measured_and_flagged() -> None:
    dataset = rs.measure(nn.Sequential(nn.Linear(4, 3), nn.GELU()), [batches()[0][0]], "dead_units", lab=LAB)
    assert dataset.smooth.item() is True
    with pytest.raises(ObservationError, match=r"metric 'affine_rank'.*gelu"):
        rs.measure(nn.Sequential(nn.Linear(4, 3), nn.GELU()), [batches()[0][0]], "affine_rank", lab=LAB)


@pytest.mark.parametrize("metric", ["firing_rate", "loss", "dead_units"])
def test_sites_are_told_whatever_is_measured(metric: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 3), nn.ReLU())
    dataset = rs.measure(model, batches(), metric, lab=LAB)
    with rs.Watch(model, metric, batches(), archive=tmp_path / "run.nc", lab=LAB):
        pass
    for found in (dataset, rs.open_archive(tmp_path / "run.nc")["watch"].to_dataset()):
        assert found.site.values.tolist() == ["1#0", "3#0"]
        assert found.activation.values.tolist() == ["gelu", "relu"]
        assert found.smooth.values.tolist() == [True, False]
        assert found.smooth.dims == found.activation.dims == ("site",)
        assert all(found[name].attrs["units"] == "1" and found[name].attrs["long_name"] for name in found.coords)


def test_an_archive_of_train_tells_what_is_smooth(tmp_path: Path) -> None:
    x, y = joined(batches((30,)))[0]

    def unnamed(split: str, root: object) -> TensorDataset:
        return TensorDataset(x, y)

    class Plain:
        @staticmethod
        @rs.hookimpl
        def reluscope_datasets() -> list[Dataset]:
            return [Dataset(name="unnamed", summary="Plain", definition=unnamed, licence="CC0-1.0", source="a seed")]

    plugins = [patterns, performance, architectures, schedulers, procedures, Plain()]
    recipe = {
        "title": "One metric of units",
        "procedure": "train",
        "epochs": 1,
        "dataset": {"name": "unnamed"},
        "architecture": {"name": "mlp", "widths": [4, 5, 3], "activation": "gelu"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "scheduler": {"name": "constant"},
        "metrics": [{"name": "firing_rate"}],
        "sweep": {"seed": [0, 1]},
    }
    rs.run(recipe, out=tmp_path / "run.nc", lab=rs.Lab(plugins=plugins))
    tree = rs.open_archive(tmp_path / "run.nc")
    assert tree["epoch"].smooth.values.tolist() == [True]
    assert tree["epoch"].activation.values.tolist() == ["gelu"]
    assert tree["epoch"].site.values.tolist() == sorted(set(tree["epoch"].unit_site.values.tolist()))
    assert tree["epoch"].firing_rate.dims == ("seed", "epoch", "unit")
    assert tree["data"]["class"].values.tolist() == ["0", "1", "2"]
    assert all(node.coords[name].attrs["units"] for node in tree.subtree for name in node.coords)


def test_sites_keep_their_order_where_a_metric_labels_by_hand(model: nn.Module) -> None:
    class by_hand:
        def measure(self, observation: Observation) -> int:
            return 1

        def merge(self, first: int, second: int) -> int:
            return 1

        def finish(self, state: int) -> xr.DataArray:
            return xr.DataArray([1.0, 2.0], {"site": ["5#0", "2#0"]}, ["site"])

    entry = Metric(name="by_hand", summary="By hand", definition=by_hand, dims=("site",))
    dataset = rs.measure(model, batches(), [entry, performance.loss])
    assert dataset.site.values.tolist() == ["2#0", "5#0"]
    assert dataset.by_hand.values.tolist() == [2.0, 1.0]
    assert dataset.site.attrs["long_name"]


X = torch.ones(2, 4)
Y = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the data gave no batch"),
        (DataLoader(TensorDataset(X[:0], Y[:0])), "the data gave no batch"),
        (X, "got a tensor; pass a list of batches"),
        ((X, Y), r"a tuple of two tensors; pass \[\(x, y\)\]"),
        (TensorDataset(X, Y), "TensorDataset, which gives single samples; wrap it"),
        ({"a": X}, "a mapping; pass a list of batches"),
        (3, "got int; pass a DataLoader"),
        ([X], r"batch 0.*'loss' needs targets, got inputs alone"),
        ([(X, Y), X], r"batch 1.*'loss' needs targets"),
        ([(X, X, Y)], "batch 0: got 3 parts"),
        ([()], "batch 0: got 0 parts"),
        ([(X, Y), (X, Y + 7)], "batch 1.*'loss': label 7 is out of range"),
        ([(X * float("inf"), Y)], "batch 0"),
        ([(X, Y), (torch.ones(2, 5), Y)], "batch 1: the model raised RuntimeError: .*5.*Linear '0'"),
        ([("text", Y)], "batch 0"),
    ],
)
def test_bad_data(model: nn.Module, data: Any, message: str) -> None:
    with pytest.raises(ObservationError, match=message) as caught:
        rs.measure(model, data, metrics=["loss"], lab=LAB)
    assert "\n" not in str(caught.value)


def test_nan_weights(model: nn.Module) -> None:
    with torch.no_grad():
        model[4].weight[0, 0] = float("nan")
    with pytest.raises(ObservationError, match="4"):
        rs.measure(model, batches(), metrics=["loss"], lab=LAB)


def test_bad_metrics(model: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown metric 'firing_rates'. Did you mean 'firing_rate'?"):
        rs.measure(model, batches(), metrics=["firing_rates"], lab=LAB)
    with pytest.raises(ObservationError, match="got no metric"):
        rs.measure(model, batches(), metrics=[], lab=LAB)
    with pytest.raises(ObservationError, match="got function, expected names or entries"):
        rs.measure(model, batches(), metrics=[lambda observation: 0], lab=LAB)  # type: ignore[list-item]
    with pytest.raises(ObservationError, match="'loss' is there twice"):
        rs.measure(model, batches(), metrics=["loss", performance.loss], lab=LAB)


class ThirdParty:
    """A plugin that breaks in its second batch."""

    @staticmethod
    @rs.hookimpl
    def reluscope_metrics() -> list[Metric]:
        def fragile(observation: Observation) -> float:
            return 1.0 / (observation.samples - 1)

        def late(observation: Observation) -> float:
            return -1.0

        return [
            Metric(name="fragile", summary="Breaks", definition=fragile),
            Metric(name="late", summary="Leaves its range", definition=late, minimum=0.0),
        ]


def test_an_error_in_a_metric_names_metric_plugin_and_batch(model: nn.Module) -> None:
    lab = rs.Lab(plugins=[ThirdParty()])
    with pytest.raises(PluginError) as caught:
        rs.measure(model, batches(), metrics=["fragile"], lab=lab)
    for part in ("'fragile'", "'ThirdParty'", "batch 1", "ZeroDivisionError", "float division by zero"):
        assert part in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(PluginError, match=r"at the end.*'late': gave -1.0, below its minimum 0.0"):
        rs.measure(model, batches(), metrics=["late"], lab=lab)


def test_interrupting_passes_through(model: nn.Module) -> None:
    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    model.train()
    with pytest.raises(KeyboardInterrupt):
        rs.measure(model, batches(), metrics=["loss"], lab=LAB, progress=stop)
    assert model.training


def test_exact_counts_whatever_the_batches() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    x = torch.randn(1001, 3, generator=torch.Generator().manual_seed(0))
    whole = rs.measure(model, [x], ["firing_rate", "dead_units"], lab=LAB)
    parts = rs.measure(model, list(x.split(17)), ["firing_rate", "dead_units"], lab=LAB)
    xr.testing.assert_identical(whole, parts)
    np.testing.assert_array_equal(whole.firing_rate.values, (x > 0).double().mean(0).numpy())
