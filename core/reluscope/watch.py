"""Watching a network in one's own training loop: two lines, and training does not notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import xarray as xr
from torch import nn

from reluscope.cadence import Cadence
from reluscope.entries import Metric
from reluscope.errors import ObservationError
from reluscope.joining import Increment, join
from reluscope.lab import Lab
from reluscope.measurement import resolve
from reluscope.series import Series

if TYPE_CHECKING:
    from reluscope.archive import ArchiveWriter

GROUP = "watch"
"""Where an archive holds what was watched."""


class Watch:
    """Measures a network every so often while it is trained.

    It measures at the start, then every so many steps or epochs or at chosen ones, in evaluation mode. Parameters,
    buffers, gradients, modes and the global random state are as before after each measurement, so training takes the
    same path, bit for bit, as without.

    Args:
        model: The network.
        metrics: Names or entries.
        data: Batches to measure on, again and again: a list or a `DataLoader`, not a generator.
        every: A number of optimizer steps, `"100 steps"`, `"1 epoch"`, or chosen ones: `"steps 1, 40 and epochs 2"`.
        archive: File to write, `"run.nc"`; each measurement is on disk before training goes on. None keeps the
            measurements in memory only.
        lab: Where names are looked up; None takes all that is installed.

    Raises:
        ObservationError: If the data can be iterated only once, or a metric looks at a step of the optimizer.

    Example:
        >>> import torch
        >>> from reluscope_plugins import performance
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> with Watch(model, ["loss"], data, every=2, lab=Lab(plugins=[performance])) as watch:
        ...     for _ in range(5):
        ...         watch.step()  # after optimizer.step()
        >>> watch.dataset.step.values.tolist()
        [0, 2, 4]
    """

    def __init__(
        self,
        model: nn.Module,
        metrics: str | Metric | Sequence[str | Metric],
        data: Iterable[Any],
        every: int | str = 100,
        *,
        archive: str | Path | None = None,
        lab: Lab | None = None,
    ) -> None:
        if isinstance(data, Iterator):  # not iter(data) is data: a DataLoader would draw a seed for its workers
            raise ObservationError(
                f"watch: got {type(data).__name__} as data, which is exhausted after one measurement, expected "
                "something that can be iterated again and again; pass list(data) or a DataLoader"
            )
        self.steps = 0
        self.epochs = 0
        self._model = model
        self._cadence = Cadence.parse(every)
        self._lab = Lab() if lab is None else lab
        self._metrics = resolve(metrics, self._lab)
        stepping = next((metric.name for metric in self._metrics if "step" in metric.needs), "")
        if stepping:
            raise ObservationError(
                f"watch: metric {stepping!r} looks at the optimizer's next step, which Watch does not see; between "
                "loss.backward() and optimizer.step() call reluscope.measure(model, [(x, y)], "
                f"{stepping!r}, step=reluscope.OptimizerStep(optimizer), training=True)"
            )
        self._series = Series(self._metrics, lab=self._lab)
        self._kept: dict[str, list[xr.Dataset]] = {name: [] for name in self._series.keeps}
        self._data = data
        self._path = None if archive is None else Path(archive)
        self._writer: ArchiveWriter | None = None
        self._measured: list[xr.Dataset] = []
        self._open = False

    def __enter__(self) -> Watch:
        if self._measured:
            raise ObservationError("watch: entered a second time, expected once; make a new Watch for a new run")
        first = self._measure()  # before the archive is begun, so that data that do not fit leave no file behind
        if self._path is not None:
            self._writer = self._make_writer(self._path)
        try:
            self._keep(first)
        except BaseException:
            self._close()
            raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        # the loop's own error is the one to be seen; another is noted on it
        try:
            if self._kept:
                self._compare_with_last()
        except Exception as fault:
            if error is None:
                self._close()
                raise
            error.add_note(f"reluscope: what was watched could not be compared with its last moment: {fault}")
        except BaseException:
            self._close()
            raise
        if self._writer is None:
            return
        try:
            try:
                self._writer.finish()
            finally:
                self._close()
        except Exception as fault:
            if error is None:
                raise
            error.add_note(f"reluscope: the archive {self._path} could not be finished: {fault}")

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def step(self) -> None:
        """Count one optimizer step; measure if it is time. To be called after `optimizer.step()`."""
        self._check_open("step")
        self.steps += 1
        if self._cadence.due(epoch=None, step=self.steps):
            self._keep(self._measure())

    def epoch(self) -> None:
        """Mark the end of an epoch; measure if it is time.

        Raises:
            ObservationError: If it is time, and no step was counted since the last measurement.
        """
        self._check_open("epoch")
        self.epochs += 1
        if not self._cadence.due(epoch=self.epochs, step=self.steps):
            return
        if int(self._measured[-1]["step"][-1]) == self.steps:
            raise ObservationError(
                f"watch: end of epoch {self.epochs}, but no step since the last measurement at step {self.steps}; call "
                "watch.step() after each optimizer.step(), or the measurements have no place on the axis of steps"
            )
        self._keep(self._measure())

    @property
    def dataset(self) -> xr.Dataset:
        """What was measured so far: dim `step`, coordinate `epoch(step)`, one variable for each metric.

        Raises:
            ObservationError: If nothing was measured yet.
        """
        if not self._measured:
            raise ObservationError("watch: nothing was measured yet; use it as a context manager: with Watch(...) as w")
        if len(self._measured) > 1:  # joined once, not at every question
            joined = xr.concat(
                self._measured,
                dim="step",
                data_vars="all",
                coords="minimal",
                compat="equals",
                join="exact",
                combine_attrs="drop_conflicts",
            )
            self._measured = [joined.assign_attrs(self._measured[-1].attrs)]
        return self._measured[0].copy(deep=True)

    def _measure(self) -> xr.Dataset:
        try:
            dataset, kept = self._series.measure(self._model, self._data)
        except ObservationError as error:
            raise ObservationError(f"watch, step {self.steps}: {error}") from error
        for name, table in kept.items():
            self._kept[name].append(self._dated(table))
        return self._dated(dataset)

    def _dated(self, dataset: xr.Dataset) -> xr.Dataset:
        dataset = dataset.expand_dims(step=[self.steps])
        return dataset.assign_coords(
            step=("step", dataset["step"].values, {"long_name": "optimizer steps taken", "units": "1"}),
            epoch=("step", [self.epochs], {"long_name": "epochs completed", "units": "1"}),
        )

    def _keep(self, dataset: xr.Dataset) -> None:
        if self._measured:
            self._check_layout(dataset)
        self._measured.append(dataset)
        if self._writer is not None:
            self._writer.append(GROUP, dataset)
            for name, tables in self._kept.items():
                self._writer.append(name, tables.pop())  # which holds it from now on
            self._writer.flush()

    def _compare_with_last(self) -> None:
        compared = self._series.compared_with_last({name: self._tables(name) for name in self._kept}, "step")
        joined = self.dataset
        self._measured = [joined.assign(compared.data_vars)]
        if self._writer is not None:
            self._writer.append(GROUP, compared)

    def _tables(self, name: str) -> xr.Dataset:
        if self._writer is not None:
            return self._writer.recorded(name)
        return join([Increment("/", {}, table) for table in self._kept[name]])[0]["/"]

    def _check_layout(self, dataset: xr.Dataset) -> None:
        first = self._measured[0]
        for name in ("site", "unit_site"):
            if name in first.coords and not first[name].equals(dataset[name]):
                raise ObservationError(
                    f"watch: the activation sites at step {self.steps} are not those at step {int(first.step[0])}, "
                    "expected the same network throughout; make a new Watch for a network that was changed"
                )

    def _make_writer(self, path: Path) -> ArchiveWriter:
        from reluscope import provenance
        from reluscope.archive import ArchiveWriter

        known = [metric for metric in self._metrics if self._lab.metrics.get(metric.name) is not None]
        plugins = {self._lab.origin("metrics", metric.name) for metric in known}
        device = next((str(parameter.device) for parameter in self._model.parameters()), "cpu")
        found = provenance.collect(plugins=sorted(plugins, key=lambda plugin: plugin.name), device=device)
        watched = {
            "model": type(self._model).__qualname__,
            "every": str(self._cadence),
            "metrics": [{"name": metric.name, **metric.params} for metric in self._metrics],
        }
        return ArchiveWriter(path, attrs={"title": "Watched training", "provenance": found, "watched": watched})

    def _check_open(self, method: str) -> None:
        if not self._open:
            raise ObservationError(
                f"watch.{method}(): the watch is not open; call it inside: with Watch(...) as watch: ..."
            )
