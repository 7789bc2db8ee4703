"""The runner: same bits again, resumed runs too; stops cleanly; a point that diverges does not take the rest along."""

from __future__ import annotations

import json
import os
import signal
import threading
import types

import numpy as np
import pytest
import torch
import xarray as xr

import reluscope as rs
from reluscope import hookimpl, random_state
from reluscope.context import Context, Diverged, Interrupted
from reluscope.entries import Dataset, Procedure
from reluscope.errors import ArchiveError, RecipeError
from reluscope.runner import run_from_archive
from reluscope_plugins import architectures, datasets, performance, procedures, schedulers


def table(**changes) -> dict:
    base = {
        "title": "A training",
        "procedure": "train",
        "epochs": 2,
        "batch_size": 300,
        "flush_seconds": 0.0,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 16, 10], "batch_norm": True, "dropout": 0.3},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "scheduler": {"name": "one_cycle", "peak": 0.02},
        "metrics": [
            {"name": "firing_rate"},
            {"name": "dead_units", "every": "2 steps", "split": "train", "samples": 90},
        ],
    }
    return {**base, **changes}


@pytest.fixture(scope="module")
def lab() -> rs.Lab:
    return rs.Lab()


def assert_same_bits(left: xr.DataTree, right: xr.DataTree) -> None:
    assert set(left.groups) == set(right.groups)
    compared = 0
    for node in left.subtree:
        other = right[node.path]
        assert set(node.variables) == set(other.variables)
        for name, variable in node.variables.items():
            assert variable.dims == other.variables[name].dims
            assert variable.dtype == other.variables[name].dtype
            assert variable.values.tobytes() == other.variables[name].values.tobytes(), f"{node.path}/{name}"
            compared += 1
    assert compared > 5


class StopAfter:
    """Counts how often the clock is looked at; asks the run to stop, as Ctrl-C does, at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.left = count
        original = Context.checkpoint

        def checkpoint(context: Context, state) -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            original(context, state)

        monkeypatch.setattr(Context, "checkpoint", checkpoint)


def test_the_same_recipe_gives_the_same_bits_and_leaves_the_random_state(lab):
    before = random_state.capture()
    first = rs.run(table(), lab=lab)
    after = random_state.capture()
    assert torch.equal(before["torch"], after["torch"])
    assert before["python"] == after["python"]
    torch.manual_seed(99)
    assert_same_bits(first, rs.run(table(), lab=lab))
    other = rs.run(table(seed=1), lab=lab)
    assert not np.array_equal(first["epoch/test_loss"].values, other["epoch/test_loss"].values)


def test_what_is_recorded(lab):
    tree = rs.run(table(sweep={"seed": [0, 1], "scheduler": [{"name": "constant"}, {"name": "step_decay"}]}), lab=lab)
    epoch = tree["epoch"].ds
    assert epoch.train_loss.dims == ("seed", "scheduler", "epoch")
    assert epoch.firing_rate.dims == ("seed", "scheduler", "epoch", "unit")
    assert epoch.epoch.values.tolist() == [0, 1, 2]
    assert epoch.scheduler.values.tolist() == ["constant", "step_decay"]
    assert epoch.test_loss.attrs["units"] == "nat"
    assert epoch.test_accuracy.attrs["long_name"] == "Test accuracy"
    steps = tree["step"].ds
    assert steps.step.values.tolist() == list(range(1, 11))
    assert np.allclose(steps.rate.sel(scheduler="step_decay", seed=0), [0.01] * 5 + [0.001] * 3 + [0.0001] * 2)
    assert not np.isnan(steps.batch_loss).any()
    assert tree["every_2_steps"].ds.step.values.tolist() == [0, 2, 4, 6, 8, 10]
    data = tree["data"].ds
    assert int(data.train_samples.isel(seed=0, scheduler=0).sum()) == 1294
    assert data["class"].size == 10
    provenance = json.loads(tree.attrs["provenance"])
    assert provenance["recipe"]["sweep"]["seed"] == [0, 1]
    assert provenance["threads"] == torch.get_num_threads()


@pytest.mark.parametrize("checkpoint", [1, 3, 4, 5, 8])
def test_a_run_that_was_stopped_ends_with_the_same_bits(lab, tmp_path, monkeypatch, checkpoint):
    recipe = table(sweep={"seed": [3, 4]}, epochs=1)
    whole = rs.run(recipe, lab=lab)
    out = tmp_path / "run.nc"
    with monkeypatch.context() as patch:
        StopAfter(patch, checkpoint)
        with pytest.raises(Interrupted, match="--resume"):
            rs.run(recipe, lab=lab, out=out)
    kept = rs.open_archive(out)
    assert 0 < kept["step/batch_loss"].notnull().sum() < whole["step/batch_loss"].size
    assert not out.exists()
    assert_same_bits(rs.run(recipe, lab=lab, out=out, resume=True), whole)
    assert_same_bits(rs.open_archive(out, verify=True), whole)
    assert not (tmp_path / "run.nc.parts").exists()


def test_the_handlers_of_signals_are_put_back(lab, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    StopAfter(monkeypatch, 1)
    with pytest.raises(Interrupted):
        rs.run(table(), lab=lab, out=tmp_path / "run.nc")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_off_the_main_thread(lab):
    found = []
    thread = threading.Thread(target=lambda: found.append(rs.run(table(epochs=1), lab=lab)))
    thread.start()
    thread.join()
    assert_same_bits(found[0], rs.run(table(epochs=1), lab=lab))


def test_resuming_a_finished_run_returns_it_and_another_recipe_is_refused(lab, tmp_path):
    out = tmp_path / "run.nc"
    whole = rs.run(table(epochs=1), lab=lab, out=out)
    changed = out.stat().st_mtime_ns
    assert_same_bits(rs.run(table(epochs=1), lab=lab, out=out, resume=True), whole)
    assert out.stat().st_mtime_ns == changed
    with pytest.raises(RecipeError, match="epochs was 1 and is now 2"):
        rs.run(table(epochs=2), lab=lab, out=out, resume=True)
    with pytest.raises(ArchiveError, match="exists"):
        rs.run(table(epochs=1), lab=lab, out=out)


def test_resuming_with_another_recipe_is_refused_and_loses_nothing(lab, tmp_path, monkeypatch):
    out = tmp_path / "run.nc"
    with monkeypatch.context() as patch:
        StopAfter(patch, 2)
        with pytest.raises(Interrupted):
            rs.run(table(), lab=lab, out=out)
    kept = rs.open_archive(out)
    with pytest.raises(RecipeError, match="seed was None and is now 7"):
        rs.run(table(seed=7), lab=lab, out=out, resume=True)
    assert_same_bits(rs.open_archive(out), kept)


def test_an_archive_is_enough_to_run_again(lab, tmp_path):
    out = tmp_path / "run.nc"
    first = rs.run(table(sweep={"seed": [0, 5]}), lab=lab, out=out)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        again = run_from_archive(out, lab=lab, out=tmp_path / "again.nc")
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert_same_bits(first, again)
    assert json.loads(again.attrs["provenance"])["recipe"] == json.loads(first.attrs["provenance"])["recipe"]


def test_a_point_that_diverges_leaves_the_others(lab, tmp_path):
    recipe = table(
        architecture={"name": "mlp", "widths": [64, 16, 16, 10]},
        optimizer={"name": "sgd"},
        scheduler={"name": "constant"},
        sweep={"optimizer.learning_rate": [1e20, 0.1]},
        metrics=[],
    )
    tree = rs.run(recipe, lab=lab)
    assert tree["outcome/diverged"].sel(learning_rate=1e20)
    assert not tree["outcome/diverged"].sel(learning_rate=0.1)
    assert "lower the rate" in tree["outcome/reason"].sel(learning_rate=1e20).item()
    assert np.isfinite(tree["epoch/test_loss"].sel(learning_rate=0.1)).all()
    assert np.isnan(tree["epoch/test_loss"].sel(learning_rate=1e20, epoch=2))
    del recipe["sweep"]
    recipe["optimizer"]["learning_rate"] = 1e20
    with pytest.raises(Diverged, match="nothing was trained to its end"):
        rs.run(recipe, lab=lab, out=tmp_path / "run.nc")
    assert rs.open_archive(tmp_path / "run.nc")["outcome/diverged"].item()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs = 0: .*greater than or equal to 1"),
        ({"batch_size": 0}, "batch_size = 0: .*greater than or equal to 1"),
        ({"device": "abacus"}, "device = 'abacus'"),
        ({"architecture": {"name": "mlp", "widths": [64, 16, 9]}}, "label"),
        ({"architecture": {"name": "mlp", "widths": [32, 16, 10]}}, "samples of 32 values"),
        (
            {"architecture": {"name": "torchvision", "model": "resnet18", "num_classes": 10}},
            r"'torchvision' does not take the samples of dataset 'digits', of shape \(1, 8, 8\)",
        ),
        ({"batch_size": 1293}, "batch of one"),
        ({"batch_size": 1}, "batch of one"),
        ({"scheduler": {"name": "one_cycle", "peak": -1.0}}, "peak"),
        ({"metrics": [{"name": "firing_rate"}, {"name": "firing_rate"}]}, "'firing_rate' is measured twice"),
        ({"metrics": [{"name": "loss", "samples": 50}]}, "'loss' is measured twice"),
        ({"metrics": [{"name": "firing_rate", "every": "sometimes"}]}, r'metrics.0.every = "sometimes"'),
    ],
)
def test_what_does_not_fit_is_a_clear_error_and_leaves_nothing_in_the_way(lab, tmp_path, changes, words):
    with pytest.raises(rs.ReluscopeError, match=words):
        rs.run(table(**changes), lab=lab, out=tmp_path / "run.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_metric_on_several_splits_is_named_by_them(lab):
    metrics = [
        {"name": "firing_rate", "split": "train"},
        {"name": "firing_rate"},
        {"name": "firing_rate", "every": "5 steps"},
        {"name": "dead_units"},
        {"name": "loss"},
        {"name": "accuracy", "every": "5 steps", "split": "test", "samples": 30},
    ]
    tree = rs.run(table(epochs=1, metrics=metrics), lab=lab)
    epoch = tree["epoch"].ds
    always = {f"{split}_{name}" for split in ("train", "validation", "test") for name in ("loss", "accuracy")}
    assert set(epoch.data_vars) == always | {"rate", "train_firing_rate", "validation_firing_rate", "dead_units"}
    assert epoch.train_firing_rate.attrs["samples"] == 1294
    assert epoch.validation_firing_rate.attrs["samples"] == 144
    assert not np.array_equal(epoch.train_firing_rate, epoch.validation_firing_rate)
    assert set(tree["every_5_steps"].ds.data_vars) == {"firing_rate", "test_accuracy"}
    assert tree["every_5_steps/test_accuracy"].attrs["samples"] == 30


def test_all_plugins_that_took_part_are_named(lab):
    named = {plugin["name"] for plugin in json.loads(rs.run(table(epochs=1), lab=lab).attrs["provenance"])["plugins"]}
    assert named == {"architectures", "datasets", "patterns", "performance", "procedures", "schedulers"}
    tree = rs.run("quickstart", lab=lab, scale="small", overrides=["epochs=1", "scheduler={ name = 'constant' }"])
    assert {"catalog", "geometry"} <= {plugin["name"] for plugin in json.loads(tree.attrs["provenance"])["plugins"]}


def test_an_empty_split_is_named(lab, monkeypatch):
    empty = torch.utils.data.TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long))
    monkeypatch.setattr(Dataset, "load", lambda entry, split, root=None, **params: empty)
    with pytest.raises(RecipeError, match="'digits': its train split is empty"):
        rs.run(table(), lab=lab)


def procedure_plugin(function) -> types.ModuleType:
    module = types.ModuleType("mine")
    entry = Procedure(name="mine", summary="Mine.", definition=function, groups={"epoch": "numbers"})
    module.reluscope_procedures = hookimpl(lambda: [entry])
    return module


def numbers(context: Context, *, length: int = 4, broken_at: int = -1) -> None:
    start = 0 if context.state is None else context.state["next"]
    for epoch in range(start, length):
        if epoch == broken_at:
            raise ZeroDivisionError("broken")
        about = {"long_name": "A number", "units": "1"}
        draw = ("epoch", [torch.rand(()).item()], about)
        context.record("epoch", xr.Dataset({"number": draw}, coords={"epoch": ("epoch", [epoch], about)}))
        context.checkpoint(lambda epoch=epoch: {"next": epoch + 1, "random": torch.get_rng_state()})


def test_a_procedure_of_a_third_party_gets_the_same_services(tmp_path):
    lab = rs.Lab([procedure_plugin(numbers)])
    tree = rs.run({"title": "T", "procedure": "mine", "length": 3, "sweep": {"seed": [0, 1]}}, lab=lab)
    assert tree["epoch/number"].dims == ("seed", "epoch")
    assert np.unique(tree["epoch/number"]).size == 6
    with pytest.raises(RecipeError, match=r"lenth.*'length'"):
        rs.run({"title": "T", "procedure": "mine", "lenth": 3}, lab=lab)


def test_an_error_in_a_procedure_keeps_what_was_recorded(tmp_path):
    lab = rs.Lab([procedure_plugin(numbers)])
    out = tmp_path / "run.nc"
    with pytest.raises(ZeroDivisionError) as caught:
        rs.run({"title": "T", "procedure": "mine", "broken_at": 2}, lab=lab, out=out)
    assert caught.value.__notes__ == [
        f"what was recorded is kept in {out}.parts; mend the cause and go on with --resume"
    ]
    assert rs.open_archive(out)["epoch"].ds.epoch.values.tolist() == [0, 1]


class Bar:
    """A progress bar that remembers."""

    def __init__(self) -> None:
        self.total, self.done, self.finished = 0.0, 0.0, False

    def start(self, description: str, total: float) -> None:
        self.total = total

    def advance(self, amount: float) -> None:
        self.done += amount

    def message(self, text: str) -> None:
        raise AssertionError(text)

    def finish(self) -> None:
        self.finished = True


def test_progress_ends_also_on_error():
    bar = Bar()
    with pytest.raises(ZeroDivisionError):
        rs.run(
            {"title": "T", "procedure": "mine", "broken_at": 2}, lab=rs.Lab([procedure_plugin(numbers)]), progress=bar
        )
    assert bar.finished


def test_a_lab_without_the_metrics_that_training_needs_says_so(lab):
    from reluscope_plugins import architectures, datasets, procedures, schedulers

    with pytest.raises(RecipeError, match="'loss', which no plugin of this lab offers"):
        rs.run(table(metrics=[]), lab=rs.Lab([architectures, datasets, procedures, schedulers]))


def test_progress_adds_up(lab):
    bar = Bar()
    rs.run(table(sweep={"seed": [0, 1, 2]}), lab=lab, progress=bar)
    assert (bar.total, round(bar.done, 9), bar.finished) == (3.0, 3.0, True)


def metric_plugin(name: str, measure) -> types.ModuleType:
    measure.__name__ = name

    def reluscope_metrics():
        return [rs.metric()(measure)]

    plugin = types.ModuleType(f"plugin_{name}")
    plugin.reluscope_metrics = hookimpl(reluscope_metrics)
    return plugin


def test_an_error_does_not_point_to_a_folder_that_is_gone(lab):
    calls = []

    def fragile(observation):
        """Works twice."""
        calls.append(observation)
        if len(calls) > 2:
            raise ValueError("no more")
        return 1.0

    plugins = [datasets, architectures, schedulers, procedures, performance, metric_plugin("fragile", fragile)]
    recipe = table(epochs=3, metrics=[{"name": "fragile"}])
    with pytest.raises(rs.ReluscopeError, match="no more") as caught:
        rs.run(recipe, lab=rs.Lab(plugins=plugins))
    assert not getattr(caught.value, "__notes__", [])
    diverging = table(optimizer={"name": "sgd", "learning_rate": 1e20}, scheduler={"name": "constant"}, metrics=[])
    with pytest.raises(Diverged, match="pass out= to keep"):
        rs.run(diverging, lab=lab)


@pytest.mark.parametrize(("name", "other"), [("rate", "the learning rate"), ("train_loss", "loss")])
def test_a_metric_does_not_take_the_name_of_what_is_always_recorded(name, other):
    def measure(observation):
        """A number."""
        return 1.0

    plugins = [datasets, architectures, schedulers, procedures, performance, metric_plugin(name, measure)]
    with pytest.raises(RecipeError, match=f"would be called '{name}' in the group 'epoch', as is {other} already"):
        rs.run(table(metrics=[{"name": name}]), lab=rs.Lab(plugins=plugins))
