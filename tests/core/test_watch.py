"""Watching: training takes the same path bit for bit, and what was measured is kept whatever happens."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import json
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, Sampler, Subset, TensorDataset

import reluscope as rs
from reluscope.errors import ArchiveError, NotFiniteError, ObservationError, RecipeError
from reluscope_plugins import geometry, patterns, performance, temperature
from reluscope_plugins.temperature.distance import pattern_distances

LAB = rs.Lab(plugins=[patterns, geometry, performance])
STEP_LAB = rs.Lab(plugins=[patterns, performance, temperature])
METRICS = ["firing_rate", "dead_units", "affine_rank", "loss", "accuracy"]


def data(samples: int = 12) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(samples, 4, generator=generator), torch.randint(3, (samples,), generator=generator)
    )


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 6), nn.LeakyReLU(), nn.Linear(6, 3)
    )


def train(watcher: Callable[[nn.Module, DataLoader[Any]], Any] | None, epochs: int = 2) -> dict[str, Any]:
    """Train with everything that draws: shuffling, dropout, Python's and NumPy's generators."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - a user's loop may draw from it
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        loader: DataLoader[Any] = DataLoader(data(), batch_size=6, shuffle=True)
        trace: list[Any] = []

        def loop(watch: rs.Watch | None) -> None:
            for _ in range(epochs):
                model.train()
                for x, y in loader:
                    optimizer.zero_grad()
                    x = x + random.gauss(0, 0.1) + np.random.normal(0, 0.1)  # noqa: NPY002
                    loss = functional.cross_entropy(model(x), y)
                    loss.backward()
                    optimizer.step()
                    if watch:
                        watch.step()
                    trace.append((loss.item(), [p.grad.tolist() for p in model.parameters()], model.training))
                if watch:
                    watch.epoch()

        dataset = None
        if watcher is None:
            loop(None)
        else:
            with watcher(model, loader) as watch:
                loop(watch)
            dataset = watch.dataset
        state = {name: value.tolist() for name, value in model.state_dict().items()}
        return {"trace": trace, "state": state, "rng": torch.get_rng_state().tolist(), "dataset": dataset}


@pytest.mark.parametrize("every", [1, 2, "1 epoch"])
@pytest.mark.parametrize("own", [False, True], ids=["same loader", "own shuffled loader"])
def test_training_takes_the_same_path_bit_for_bit(every: int | str, own: bool, tmp_path: Path) -> None:
    def watcher(model: nn.Module, loader: DataLoader[Any]) -> rs.Watch:
        source = DataLoader(data(9), batch_size=4, shuffle=True) if own else loader
        return rs.Watch(model, metrics=METRICS, data=source, every=every, archive=tmp_path / "run.nc", lab=LAB)

    without, watched = train(None), train(watcher)
    for part in ("trace", "state", "rng"):
        assert watched[part] == without[part]
    assert watched["dataset"].sizes["step"] == {1: 5, 2: 3, "1 epoch": 3}[every]


class Counting(Sampler[int]):
    """Shuffles by a generator and a count of its own, as samplers of others do."""

    def __init__(self, size: int) -> None:
        self.size, self.rng, self.passes = size, np.random.default_rng(0), 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        order = self.rng.permutation(self.size).tolist()
        return iter(order if self.passes % 2 else order[::-1])


class Jittered(TensorDataset):
    """Moves its samples by a generator and a count of its own."""

    def __init__(self, *tensors: Tensor) -> None:
        super().__init__(*tensors)
        self.rng, self.calls = np.random.default_rng(0), 0

    def __getitem__(self, index: Any) -> Any:
        x, y = super().__getitem__(index)
        self.calls += 1
        return x + self.rng.normal() + self.calls / 100, y


class Stream(IterableDataset[Any]):
    """Begins anew in another order at each pass."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        x, y = data()[:]
        order = torch.randperm(12, generator=torch.Generator().manual_seed(self.passes))
        yield from zip(x[order] + torch.rand(()), y[order], strict=True)


class Around:
    """Somebody's own iterable around a loader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


def loaders(kind: str) -> Any:
    generator = torch.Generator().manual_seed(5)
    if kind == "stream":
        return DataLoader(Stream(), batch_size=6)
    if kind == "persistent stream":
        return DataLoader(Stream(), batch_size=6, num_workers=1, persistent_workers=True)
    if kind == "sampler":
        return DataLoader(data(), batch_size=6, sampler=Counting(12))
    if kind == "data set":
        return DataLoader(Subset(Jittered(*data()[:]), list(range(12))), batch_size=6)
    if kind == "wrapped":
        return Around(DataLoader(data(), batch_size=6, shuffle=True, generator=generator))
    shuffled = {"shuffle": True, "generator": generator if "generator" in kind else None}
    persistent = kind.startswith("persistent")
    return DataLoader(data(), batch_size=6, num_workers=1, persistent_workers=persistent, **shuffled)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind",
    ["workers", "persistent", "persistent generator", "persistent stream", "stream", "sampler", "data set", "wrapped"],
)
def test_the_loader_that_training_draws_from_is_left_alone(kind: str) -> None:
    def run(watched: bool) -> tuple[list[Any], Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, loader = network(), loaders(kind)
            watch = rs.Watch(model, "loss", loader, every=1, lab=LAB) if watched else None
            trace = []
            with watch or contextlib.nullcontext():
                for _ in range(2):
                    for x, y in loader:
                        loss = functional.cross_entropy(model(x.float()), y)
                        model.zero_grad()
                        loss.backward()
                        with torch.no_grad():
                            for parameter in model.parameters():
                                parameter -= 0.1 * parameter.grad
                        trace.append((x.tolist(), loss.item()))
                        if watch:
                            watch.step()
            return trace, [value.tolist() for value in (*model.state_dict().values(), torch.get_rng_state())]

    before = set(multiprocessing.active_children())
    watched = run(True)
    assert watched == run(False)
    assert len(watched[0]) == 4
    gc.collect()
    assert set(multiprocessing.active_children()) <= before


def test_workers_of_a_measurement_that_fails_are_gone() -> None:
    loader = loaders("persistent")
    with pytest.raises(ObservationError, match="batch 0") as caught:
        rs.measure(nn.Sequential(nn.Linear(9, 3), nn.ReLU()), loader, "loss", lab=LAB)
    assert caught.value is not None  # its traceback holds on to the frames
    assert not multiprocessing.active_children()
    assert loader._iterator is None


class Selfish(Stream):
    """Is its own iterator."""

    def __iter__(self) -> Iterator[Any]:
        self.rows = iter(list(zip(*data()[:], strict=True)))
        return self

    def __next__(self) -> Any:
        return next(self.rows)


class Endless(Counting):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__(12)
        self.order = (index for index in range(12))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: DataLoader(Selfish(), batch_size=6), "data set Selfish is its own iterator.*generator"),
        (lambda: DataLoader(data(), sampler=Endless()), "sampler BatchSampler cannot be copied.*measure through"),
        (lambda: Around(loaders("persistent")), "Around wraps a DataLoader with persistent_workers=True.*pass that"),
    ],
)
def test_what_cannot_be_left_alone_is_refused(source: Callable[[], Any], message: str) -> None:
    with pytest.raises(ObservationError, match=message), rs.Watch(network(), "loss", source(), lab=LAB):
        pass


def test_a_stream_has_no_length() -> None:
    told: list[Any] = []
    rs.measure(network(), DataLoader(Stream(), batch_size=6), "loss", lab=LAB, progress=lambda *done: told.append(done))
    assert told == [(1, None), (2, None)]
    loader = DataLoader(Selfish(), batch_size=6, num_workers=1)  # each worker has a data set of its own
    assert rs.measure(network(), loader, "loss", lab=LAB).attrs["samples"] == 12
    assert rs.measure(network(), iter(DataLoader(Selfish(), batch_size=6)), "loss", lab=LAB).attrs["samples"] == 12


def test_values_are_those_of_measure_at_that_step() -> None:
    model = network()
    source = [tuple(data()[:])]
    expected = [rs.measure(model, source, METRICS, lab=LAB)]
    with rs.Watch(model, METRICS, source, every="2 steps", lab=LAB) as watch:
        for step in range(1, 6):
            with torch.no_grad():
                model[0].weight.mul_(1.5)
            watch.step()
            if step % 2 == 0:
                expected.append(rs.measure(model, source, METRICS, lab=LAB))
    dataset = watch.dataset
    assert dataset.step.values.tolist() == [0, 2, 4]
    assert dataset["epoch"].dims == ("step",)
    assert dataset.firing_rate.dims == ("step", "unit")
    for index, one in enumerate(expected):
        xr.testing.assert_equal(dataset.isel(step=index).drop_vars(["step", "epoch"]), one)
    assert dataset.firing_rate.attrs == expected[0].firing_rate.attrs


def test_every_so_many_epochs() -> None:
    dataset = train(lambda model, loader: rs.Watch(model, "loss", loader, every="2 epochs", lab=LAB), epochs=5)[
        "dataset"
    ]
    assert dataset.step.values.tolist() == [0, 4, 8]
    assert dataset["epoch"].values.tolist() == [0, 2, 4]


def test_the_dataset_can_be_read_at_any_time() -> None:
    model = network()
    with rs.Watch(model, "loss", [tuple(data()[:])], every=1, lab=LAB) as watch:
        for done in range(4):
            assert watch.dataset.sizes["step"] == done + 1
            watch.dataset["loss"][:] = 0.0  # a copy
            watch.step()
    assert (watch.dataset.loss > 0).all()


def test_the_archive_holds_what_was_watched(tmp_path: Path) -> None:
    path = tmp_path / "run.nc"
    model = network()
    with rs.Watch(model, METRICS, [tuple(data()[:])], every=1, archive=path, lab=LAB) as watch:
        for _ in range(3):
            watch.step()
            sofar = rs.open_archive(path)["watch"].to_dataset()  # on disk before training goes on
            assert sofar.sizes["step"] == watch.dataset.sizes["step"]
        watch.epoch()
    tree = rs.open_archive(path, verify=True)
    archived = tree["watch"].to_dataset()
    for name in METRICS:
        xr.testing.assert_equal(archived[name].drop_vars("epoch"), watch.dataset[name].drop_vars("epoch"))
    assert archived["epoch"].dims == ("step",)
    provenance = json.loads(tree.attrs["provenance"])
    assert {plugin["module"] for plugin in provenance["plugins"]} == {
        "reluscope_plugins.patterns",
        "reluscope_plugins.geometry",
        "reluscope_plugins.performance",
    }
    watched = json.loads(tree.attrs["watched"])
    assert watched == {"model": "Sequential", "every": "1 step", "metrics": [{"name": name} for name in METRICS]}
    assert not path.with_name("run.nc.parts").exists()


def step_and_raise(watch: rs.Watch, error: BaseException) -> None:
    with watch:
        watch.step()
        raise error


def test_a_loop_that_raises_leaves_its_data(tmp_path: Path) -> None:
    path = tmp_path / "run.nc"
    for number, error in enumerate((ZeroDivisionError("mine"), KeyboardInterrupt())):
        path = tmp_path / f"run{number}.nc"
        watch = rs.Watch(network(), "loss", [tuple(data()[:])], every=1, archive=path, lab=LAB)
        with pytest.raises(type(error)) as caught:
            step_and_raise(watch, error)
        assert caught.value is error
        assert rs.open_archive(path)["watch"].sizes["step"] == 2
        assert watch.dataset.sizes["step"] == 2


def test_an_archive_that_cannot_be_finished_does_not_hide_the_loops_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reluscope.archive import ArchiveWriter

    def full(self: ArchiveWriter) -> None:
        raise ArchiveError("disk is full")

    monkeypatch.setattr(ArchiveWriter, "finish", full)
    watch = rs.Watch(network(), "loss", [tuple(data()[:])], every=1, archive=tmp_path / "a.nc", lab=LAB)
    with pytest.raises(ZeroDivisionError) as caught, watch:
        raise ZeroDivisionError("mine")
    assert "disk is full" in caught.value.__notes__[0]
    watch = rs.Watch(network(), "loss", [tuple(data()[:])], every=1, archive=tmp_path / "b.nc", lab=LAB)
    with pytest.raises(ArchiveError, match="disk is full"), watch:
        pass
    assert rs.open_archive(tmp_path / "b.nc")["watch"].sizes["step"] == 1  # the parts are still there


def test_an_archive_in_the_way_is_refused_before_training(tmp_path: Path) -> None:
    path = tmp_path / "run.nc"
    path.write_text("mine")
    watch = rs.Watch(network(), "loss", [tuple(data()[:])], archive=path, lab=LAB)
    with pytest.raises(ArchiveError, match="exists"):
        watch.__enter__()
    assert path.read_text() == "mine"


def test_data_that_cannot_be_measured_leave_no_file(tmp_path: Path) -> None:
    watch = rs.Watch(network(), "loss", [torch.ones(2, 4)], archive=tmp_path / "run.nc", lab=LAB)
    with pytest.raises(ObservationError, match=r"watch, step 0: .*needs targets"):
        watch.__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_generator_is_refused_at_once() -> None:
    def stream() -> Iterator[tuple[Tensor, ...]]:
        yield data()[:]

    with pytest.raises(ObservationError, match=r"exhausted after one measurement.*pass list"):
        rs.Watch(network(), "loss", stream(), lab=LAB)


def test_data_that_run_out_later() -> None:
    class Once:
        def __init__(self) -> None:
            self.stream = iter([data()[:]])

        def __iter__(self) -> Iterator[Any]:
            return self.stream

    with (
        pytest.raises(ObservationError, match=r"step 1: the data gave no batch.*can be iterated again"),
        rs.Watch(network(), "loss", Once(), every=1, lab=LAB) as watch,
    ):
        watch.step()


def test_making_it_draws_nothing() -> None:
    with torch.random.fork_rng(devices=[]):
        model = network()
        state = torch.get_rng_state()
        rs.Watch(model, "loss", DataLoader(data(), shuffle=True), lab=LAB)
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("every", [0, -1, "often", "1 year", True, 2.5, "0 epochs"])
def test_a_bad_cadence(every: Any) -> None:
    with pytest.raises(RecipeError, match="expected a number of steps or epochs"):
        rs.Watch(network(), "loss", [tuple(data()[:])], every=every, lab=LAB)


def test_wrong_order_of_calls() -> None:
    watch = rs.Watch(network(), "loss", [tuple(data()[:])], every="1 epoch", lab=LAB)
    with pytest.raises(ObservationError, match=r"watch.step\(\): the watch is not open"):
        watch.step()
    with pytest.raises(ObservationError, match="nothing was measured yet"):
        _ = watch.dataset
    with pytest.raises(ObservationError, match=r"no step since the last measurement.*call watch.step\(\)"), watch:
        watch.epoch()
    with pytest.raises(ObservationError, match=r"watch.epoch\(\): the watch is not open"):
        watch.epoch()
    with pytest.raises(ObservationError, match="entered a second time"):
        watch.__enter__()


def test_a_network_that_changes_its_sites() -> None:
    model = network()
    with rs.Watch(model, "firing_rate", [tuple(data()[:])], every=1, lab=LAB) as watch:
        model.append(nn.ReLU())
        with pytest.raises(ObservationError, match="sites at step 1 are not those at step 0"):
            watch.step()


PATTERNS = ["pattern_jaccard_first", "pattern_jaccard_previous", "pattern_jaccard_last", "pattern_total"]


def jumping(watch: rs.Watch, model: nn.Sequential, steps: int) -> list[nn.Module]:
    """Move a network about under a watch; what it was at each step."""
    found = [copy.deepcopy(model)]
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        watch.step()
        found.append(copy.deepcopy(model))
    return found


def similarity(one: nn.Module, other: nn.Module, site: str) -> float:
    x = data()[:][0]
    first, second = (Counter(map(tuple, rs.observe(model.eval(), x).pattern[site].tolist())) for model in (one, other))
    every = set(first) | set(second)
    return sum(min(first[p], second[p]) for p in every) / sum(max(first[p], second[p]) for p in every)


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "archive"])
def test_moments_are_compared_with_the_first_the_previous_and_the_last(kept: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.nc" if kept else None
    model = network()
    with rs.Watch(model, PATTERNS, [tuple(data()[:])], every=1, archive=path, lab=LAB) as watch:
        models = jumping(watch, model, 4)
        assert "pattern_jaccard_last" not in watch.dataset  # it is not known yet
    for found in [watch.dataset, *([rs.open_archive(path, verify=True)["watch"].to_dataset()] if path else [])]:
        for step, site in itertools.product(range(5), found.site.values.tolist()):
            at = found.sel(step=step, site=site)
            assert float(at.pattern_jaccard_first) == similarity(models[step], models[0], site)
            assert float(at.pattern_jaccard_previous) == similarity(models[step], models[max(0, step - 1)], site)
            assert float(at.pattern_jaccard_last) == similarity(models[step], models[-1], site)
        assert found.pattern_jaccard_last.attrs["units"] == "1"
        assert found.pattern_jaccard_last.dims == ("step", "site")
    if path:
        tables = rs.open_archive(path)["pattern_counts"].to_dataset()
        assert tables.step.values.tolist() == [0, 1, 2, 3, 4]
        between = patterns.similarity.between_moments(tables, "step")
        assert float(between[1, 3, 0]) == similarity(models[1], models[3], str(between.site.values[0]))
        assert not watch._kept["pattern_counts"]  # the archive holds them


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "archive"])
@pytest.mark.parametrize("names", [PATTERNS, ["pattern_jaccard_last"]], ids=["several", "last alone"])
def test_one_moment_alone_is_compared_with_itself(names: list[str], kept: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.nc" if kept else None
    with rs.Watch(network(), names, [tuple(data()[:])], every=1, archive=path, lab=LAB) as watch:
        pass
    for found in [watch.dataset, *([rs.open_archive(path)["watch"].to_dataset()] if path else [])]:
        assert found.pattern_jaccard_last.values.tolist() == [[1.0, 1.0]]
        assert found.step.values.tolist() == [0]
        assert found.activation.values.tolist() == ["relu", "leaky_relu"]


def test_a_loop_that_raises_is_compared_too(tmp_path: Path) -> None:
    model = network()
    watch = rs.Watch(model, PATTERNS, [tuple(data()[:])], every=1, archive=tmp_path / "run.nc", lab=LAB)

    def loop() -> None:
        with watch:
            jumping(watch, model, 2)
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        loop()
    found = rs.open_archive(tmp_path / "run.nc")["watch"].to_dataset()
    assert found.pattern_jaccard_last.notnull().all()
    xr.testing.assert_equal(found.pattern_jaccard_last, watch.dataset.pattern_jaccard_last)


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "archive"])
def test_a_comparison_that_fails_does_not_hide_the_loops_error(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reluscope.series import Series

    def broken(self: Series, *_: Any) -> Any:
        raise ObservationError("no comparison")

    monkeypatch.setattr(Series, "compared_with_last", broken)

    def watched(name: str) -> rs.Watch:
        path = tmp_path / name if kept else None
        return rs.Watch(network(), PATTERNS, [tuple(data()[:])], every=1, archive=path, lab=LAB)

    with pytest.raises(ZeroDivisionError) as caught, watched("a.nc"):
        raise ZeroDivisionError("mine")
    assert "no comparison" in caught.value.__notes__[0]
    with pytest.raises(ObservationError, match="no comparison"), watched("b.nc"):
        pass
    if kept:
        assert rs.open_archive(tmp_path / "a.nc")["watch"].sizes["step"] == 1
        assert rs.open_archive(tmp_path / "b.nc")["watch"].sizes["step"] == 1  # the parts are there
        watched("c.nc")  # nothing holds on to a lock
        with pytest.raises(ArchiveError, match="holds a run that was not finished"), watched("b.nc"):
            pass


def test_what_one_moment_says_of_itself_is_not_said_of_all() -> None:
    model = network()
    with rs.Watch(model, "pattern_total", [tuple(data()[:])], every=1, lab=LAB) as watch:
        jumping(watch, model, 2)
    assert watch.dataset.pattern_total.attrs["units"] == "1"
    assert watch.dataset.attrs["samples"] == 12


def test_a_network_that_changes_under_a_comparison_is_refused() -> None:
    model = network()
    with rs.Watch(model, PATTERNS, [tuple(data()[:])], every=1, lab=LAB) as watch:
        model.append(nn.ReLU())
        with pytest.raises(ObservationError, match=r"watch, step 1: .*site '7#0' was None.* expected the same network"):
            watch.step()


OF_STEP = ["pattern_distance", "mean_pattern_temperature", "divergence_warning", "loss", "firing_rate"]


def step_train(
    kind: type[torch.optim.Optimizer],
    watcher: Callable[[nn.Module, Any, torch.optim.Optimizer], rs.Watch] | None,
    before_step: Callable[[int, nn.Module, torch.optim.Optimizer], None] = lambda *_: None,
) -> dict[str, Any]:
    """Train with dropout, batch normalisation, shuffling and a schedule, two steps an epoch for three epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network()
        optimizer = kind(model.parameters(), lr=0.05, weight_decay=0.01)  # type: ignore[call-arg]
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        loader: DataLoader[Any] = DataLoader(data(), batch_size=6, shuffle=True)
        trace: list[Any] = []

        def loop(watch: rs.Watch | None) -> None:
            for _ in range(3):
                for x, y in loader:
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(model(x), y)
                    loss.backward()
                    before_step(len(trace), model, optimizer)
                    optimizer.step()
                    scheduler.step()
                    if watch:
                        watch.step()
                    trace.append((loss.item(), [p.grad.tolist() for p in model.parameters()], model.training))
                if watch:
                    watch.epoch()

        dataset = None
        if watcher is None:
            loop(None)
        else:
            with watcher(model, loader, optimizer) as watch:
                loop(watch)
            dataset = watch.dataset
        assert not optimizer._optimizer_step_pre_hooks
        state = {name: value.tolist() for name, value in model.state_dict().items()}
        kept = [
            {key: value.tolist() if isinstance(value, Tensor) else value for key, value in one.items()}
            for one in optimizer.state_dict()["state"].values()
        ]
        rng = torch.get_rng_state().tolist()
        return {"trace": trace, "state": state, "optimizer": kept, "rng": rng, "dataset": dataset}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Rprop])
@pytest.mark.parametrize("every", [1, 2, "1 epoch", "steps 0, 3 and epochs 1, 2"])
def test_watching_the_optimizers_steps_leaves_training_as_it_is(
    kind: type[torch.optim.Optimizer], every: int | str, tmp_path: Path
) -> None:
    def watcher(model: nn.Module, loader: Any, optimizer: torch.optim.Optimizer) -> rs.Watch:
        path = tmp_path / "run.nc"
        return rs.Watch(model, OF_STEP, loader, every=every, lab=STEP_LAB, archive=path, optimizer=optimizer)

    def plain(model: nn.Module, **settings: Any) -> torch.optim.Optimizer:
        settings.pop("weight_decay") if kind is torch.optim.Rprop else None
        return kind(model, **settings)

    without, watched = step_train(plain, None), step_train(plain, watcher)  # type: ignore[arg-type]
    for part in ("trace", "state", "optimizer", "rng"):
        assert watched[part] == without[part]
    dataset = watched["dataset"]
    steps = {1: [0, 1, 2, 3, 4, 5], 2: [0, 2, 4], "1 epoch": [0, 2, 4]}.get(every, [0, 2, 3, 4])
    assert dataset.step.values.tolist() == steps  # after the last step there is no next one
    assert dataset.epoch.values.tolist() == [step // 2 for step in steps]
    assert set(OF_STEP) <= set(dataset.data_vars)
    archived = rs.open_archive(tmp_path / "run.nc", verify=True)["watch"].to_dataset()
    for name in OF_STEP:
        xr.testing.assert_equal(archived[name].drop_vars("epoch"), dataset[name].drop_vars("epoch"))


def test_watched_steps_are_those_of_the_optimizer() -> None:
    source = [tuple(data()[:])]
    expected: list[xr.Dataset] = []

    def before_step(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if step % 2 == 0:
            taken = rs.OptimizerStep(optimizer)
            found = rs.measure(model, source, OF_STEP[:2], lab=STEP_LAB, step=taken, training=True)
            plain = rs.measure(model, source, OF_STEP[-2:], lab=STEP_LAB)
            expected.append(found.assign(plain.data_vars))

    def watcher(model: nn.Module, _: Any, optimizer: torch.optim.Optimizer) -> rs.Watch:
        return rs.Watch(model, OF_STEP, source, every=2, lab=STEP_LAB, optimizer=optimizer)

    dataset = step_train(torch.optim.SGD, watcher, before_step)["dataset"]
    assert len(expected) == dataset.sizes["step"] == 3
    for index, one in enumerate(expected):
        for name in (*OF_STEP[:2], *OF_STEP[-2:]):
            xr.testing.assert_equal(dataset[name][index].drop_vars(["step", "epoch"]), one[name])
    assert len(set(dataset.pattern_distance.values[:, 0])) > 1


def test_a_part_that_is_not_trained_stays_in_its_mode() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    norm = model[1]
    x, y = data()[:]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    functional.cross_entropy(model.eval()(x), y).backward()
    step = rs.OptimizerStep(optimizer)
    expected = []
    for mode in (True, False):
        norm.train(mode)
        expected.append(pattern_distances(model, x, step, [0.3]).values[0].tolist())
    assert expected[0] != expected[1]
    model.train()
    norm.eval()
    with rs.Watch(model, "pattern_distance", [(x, y)], lab=STEP_LAB, optimizer=optimizer) as watch:
        optimizer.step()
    assert watch.dataset.pattern_distance.values[0].tolist() == expected[1]
    assert [module.training for module in model] == [True, False, True, True]


def test_moments_of_steps_and_of_patterns_are_compared_side_by_side() -> None:
    metrics = [*PATTERNS, "pattern_distance"]

    def watcher(model: nn.Module, _: Any, optimizer: torch.optim.Optimizer) -> rs.Watch:
        return rs.Watch(model, metrics, [tuple(data()[:])], every=1, lab=STEP_LAB, optimizer=optimizer)

    dataset = step_train(torch.optim.SGD, watcher)["dataset"]
    assert dataset.sizes["step"] == 6
    assert (dataset.pattern_jaccard_last[-1] == 1).all()
    assert (dataset.pattern_jaccard_last[0] < 1).any()


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_losses(fused: bool) -> None:
    """A step that the scaler skips is not measured, and the scale is no part of the step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network().eval()
    x, y = data()[:]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    functional.cross_entropy(model(x), y).backward()
    expected = rs.measure(model, [x], "pattern_distance", lab=STEP_LAB, step=rs.OptimizerStep(optimizer))
    with rs.Watch(model, "pattern_distance", [x], every=1, lab=STEP_LAB, optimizer=optimizer) as watch:
        for factor in (torch.inf, 1.0):
            optimizer.zero_grad()
            scaler.scale(functional.cross_entropy(model(x), y) * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            watch.step()
    assert watch.dataset.step.values.tolist() == [1]
    np.testing.assert_array_equal(watch.dataset.pattern_distance[0], expected.pattern_distance)
    assert (expected.pattern_distance > 0).any()


def test_a_metric_of_the_optimizers_step_is_refused_with_what_to_do() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    for optimizer, got in ((None, "none"), ("sgd", "str")):
        message = rf"'pattern_distance' looks at the optimizer's next step, but got {got}.*optimizer=optimizer"
        with pytest.raises(ObservationError, match=message):
            rs.Watch(model, ["pattern_distance"], [torch.ones(4, 2)], optimizer=optimizer)  # type: ignore[arg-type]


def test_what_cannot_be_watched_of_an_optimizer_is_said() -> None:
    model, x = network(), data()[:][0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lbfgs = torch.optim.LBFGS(model.parameters())

    def watch(one: torch.optim.Optimizer) -> rs.Watch:
        return rs.Watch(model, "pattern_distance", [x], lab=STEP_LAB, optimizer=one)

    def closure() -> float:
        return float(model(x).square().mean())

    with pytest.raises(ObservationError, match=r"watch, step 0: optimizer.step\(\) got a closure"), watch(optimizer):
        optimizer.step(closure)
    with pytest.raises(ObservationError, match=r"step 0: .*closure"), watch(lbfgs):
        lbfgs.step(closure)
    with pytest.raises(ObservationError, match=r"step 0: no parameter .* has a gradient"), watch(optimizer):
        optimizer.step()
    with pytest.raises(ObservationError, match=r"no step of the SGD .* nothing was measured"), watch(optimizer):
        pass
    with pytest.raises(ZeroDivisionError, match="mine"), watch(optimizer):
        raise ZeroDivisionError("mine")
    assert not optimizer._optimizer_step_pre_hooks
    model(x).square().mean().backward()
    model[0].weight.grad[0, 0] = torch.nan  # type: ignore[index,union-attr]
    with pytest.raises(NotFiniteError, match=r"watch, step 0: the gradient of parameter 0 "), watch(optimizer):
        optimizer.step()
    optimizer.zero_grad()
    model(x).square().mean().backward()
    uncounted = rs.Watch(model, "pattern_distance", [x], "1 epoch", lab=STEP_LAB, optimizer=optimizer)
    with uncounted:
        optimizer.step()
        with pytest.raises(ObservationError, match=r"no step since the last.*call watch.step\(\)"):
            uncounted.epoch()


def test_an_optimizer_that_no_metric_looks_at_changes_nothing() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rs.Watch(model, "loss", [tuple(data()[:])], every=1, lab=LAB, optimizer=optimizer) as watch:
        assert not optimizer._optimizer_step_pre_hooks
        watch.step()
    assert watch.dataset.step.values.tolist() == [0, 1]
