"""Watching a network in one's own training loop: two lines, and training does not notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import xarray as xr
from torch import nn
from torch.optim import Optimizer

from reluscope.cadence import Cadence
from reluscope.entries import Metric
from reluscope.errors import ObservationError
from reluscope.joining import Increment, join
from reluscope.lab import Lab
from reluscope.measurement import resolve, with_brought
from reluscope.optimizer_step import OptimizerStep
from reluscope.series import Series

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from reluscope.archive import ArchiveWriter

GROUP = "watch"
"""Where an archive holds what was watched."""


class Watch:
    """Measures a network every so often while it is trained.

    It measures at the start, then every so many steps or epochs or at chosen ones, in evaluation mode. Parameters,
    buffers, gradients, modes and the global random state are as before after each measurement, so training takes the
    same path, bit for bit, as without.

    Where a metric looks at the optimizer's next step, all are measured as late as that: when `optimizer.step()` is
    called, before it is taken, with the gradients at hand. Those that look at the step then see the network in the mode
    that it is in. What would be measured after the last step has no next one, and is left out.

    Args:
        model: The network.
        metrics: Names or entries.
        data: Batches to measure on, again and again: a list or a `DataLoader`, not a generator.
        every: A number of optimizer steps, `"100 steps"`, `"1 epoch"`, or chosen ones: `"steps 1, 40 and epochs 2"`.
        archive: File to write, `"run.nc"`; each measurement is on disk before training goes on. None keeps the
            measurements in memory only.
        lab: Where names are looked up; None takes all that is installed.
        optimizer: For metrics that look at its next step; any but LBFGS, whose `step` is called inside the watch
            without a closure.

    Raises:
        ObservationError: If the data can be iterated only once, or a metric looks at the optimizer's next step and no
            optimizer was passed.

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
        optimizer: Optimizer | None = None,
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
        stepping = with_brought([metric for metric in self._metrics if "step" in metric.needs])
        if stepping and not isinstance(optimizer, Optimizer):
            got = "got none" if optimizer is None else f"got {type(optimizer).__name__}"
            raise ObservationError(
                f"watch: metric {stepping[0].name!r} looks at the optimizer's next step, but {got}, expected a "
                "torch.optim.Optimizer; pass Watch(..., optimizer=optimizer), of what wraps one the one inside"
            )
        self._optimizer = optimizer if stepping else None
        later = {metric.name for metric in stepping}
        plain = [metric for metric in self._metrics if metric.name not in later]
        self._series = Series(plain, lab=self._lab)
        self._of_step = Series(stepping, lab=self._lab)
        self._kept: dict[str, list[xr.Dataset]] = {name: [] for name in (*self._series.keeps, *self._of_step.keeps)}
        self._data = data
        self._path = None if archive is None else Path(archive)
        self._writer: ArchiveWriter | None = None
        self._measured: list[xr.Dataset] = []
        self._open = False
        self._due = False
        self._hook: RemovableHandle | None = None

    def __enter__(self) -> Watch:
        if self._measured:
            raise ObservationError("watch: entered a second time, expected once; make a new Watch for a new run")
        if self._optimizer is not None:
            self._due = True
            self._hook = self._optimizer.register_step_pre_hook(self._before_step)
        else:
            try:
                self._keep(self._measure())
            except BaseException:
                self._close()
                raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._hook is not None:
            self._hook.remove()
        if not self._measured:
            if error is not None:
                return
            raise ObservationError(
                f"watch: no step of the {type(self._optimizer).__name__} that was passed was taken, so nothing was "
                "measured; pass the optimizer that the loop steps"
            )
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
            self._now_or_before_next_step()

    def epoch(self) -> None:
        """Mark the end of an epoch; measure if it is time.

        Raises:
            ObservationError: If it is time, and no step was counted since the last measurement.
        """
        self._check_open("epoch")
        self.epochs += 1
        if not self._cadence.due(epoch=self.epochs, step=self.steps):
            return
        if self._measured and int(self._measured[-1]["step"][-1]) == self.steps:
            raise ObservationError(
                f"watch: end of epoch {self.epochs}, but no step since the last measurement at step {self.steps}; call "
                "watch.step() after each optimizer.step(), or the measurements have no place on the axis of steps"
            )
        self._now_or_before_next_step()

    @property
    def dataset(self) -> xr.Dataset:
        """What was measured so far: dim `step`, coordinate `epoch(step)`, one variable for each metric.

        Raises:
            ObservationError: If nothing was measured yet.
        """
        if not self._measured:
            raise ObservationError(
                "watch: nothing was measured yet; use it as a context manager, with Watch(...) as watch, and where a "
                "metric looks at the optimizer's next step, call optimizer.step() inside"
            )
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

    def _now_or_before_next_step(self) -> None:
        if self._optimizer is not None:
            self._due = True
        else:
            self._keep(self._measure())

    # Called by the optimizer: only now are the gradients of the step known.
    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._due:
            return
        if args[1:2] not in ((), (None,)) or kwargs.get("closure") is not None:
            raise ObservationError(
                f"watch, step {self.steps}: optimizer.step() got a closure, so the gradients of the step are not known "
                "before it; call loss.backward() first, and optimizer.step() without a closure"
            )
        # a fused optimizer is called even where the loss scaling overflowed, and skips the step by itself
        if float(getattr(optimizer, "found_inf", None) or 0):
            return
        self._due = False
        self._keep(self._measure())

    def _measure(self) -> xr.Dataset:
        parts: list[xr.Dataset] = []
        try:
            if self._series.metrics:
                parts.append(self._measured_by(self._series))
            if self._optimizer is not None:
                step = OptimizerStep(self._optimizer)
                mode = None  # as the network is: parts of it may not be trained
                parts.append(self._measured_by(self._of_step, training=mode, step=step))
        except ObservationError as error:
            raise type(error)(f"watch, step {self.steps}: {error}") from error
        return self._dated(xr.merge(parts, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts"))

    def _measured_by(self, series: Series, **options: Any) -> xr.Dataset:
        dataset, kept = series.measure(self._model, self._data, **options)
        for name, table in kept.items():
            self._kept[name].append(self._dated(table))
        return dataset

    def _dated(self, dataset: xr.Dataset) -> xr.Dataset:
        dataset = dataset.expand_dims(step=[self.steps])
        return dataset.assign_coords(
            step=("step", dataset["step"].values, {"long_name": "optimizer steps taken", "units": "1"}),
            epoch=("step", [self.epochs], {"long_name": "epochs completed", "units": "1"}),
        )

    def _keep(self, dataset: xr.Dataset) -> None:
        if self._measured:
            self._check_layout(dataset)
        elif self._path is not None:  # not before, so that data that do not fit leave no file behind
            self._writer = self._make_writer(self._path)
        self._measured.append(dataset)
        if self._writer is not None:
            self._writer.append(GROUP, dataset)
            for name, tables in self._kept.items():
                self._writer.append(name, tables.pop())  # which holds it from now on
            self._writer.flush()

    def _compare_with_last(self) -> None:
        tables = {name: self._tables(name) for name in self._kept}
        found = [series.compared_with_last(tables, "step") for series in (self._series, self._of_step) if series.keeps]
        compared = xr.merge(found, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
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
