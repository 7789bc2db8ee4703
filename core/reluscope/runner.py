"""The runner: a recipe, point by point of its sweep, into an archive that survives a kill at any moment."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from reluscope import provenance, random_state
from reluscope import recipe as recipes
from reluscope.archive import ArchiveWriter
from reluscope.bounds import MAX_BYTES
from reluscope.context import Context, Diverged, Interrupted, Record
from reluscope.devices import find_device
from reluscope.entries import Experiment
from reluscope.errors import ArchiveError, RecipeError
from reluscope.lab import Lab
from reluscope.opening import open_archive
from reluscope.progress import Progress, SilentProgress
from reluscope.recipe import Plan, Recipe
from reluscope.sinks import Sinks
from reluscope.sweep import Point


def run(
    recipe: str | Path | Experiment | Mapping[str, Any],
    *,
    scale: str | None = None,
    overrides: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    lab: Lab | None = None,
    data_root: str | Path | None = None,
    progress: Progress | None = None,
) -> xr.DataTree:
    """Run a recipe.

    Args:
        recipe: An experiment or its name, the path of a TOML file, or the recipe as a mapping.
        scale: Which of the recipe's scales to run.
        overrides: `key=value` texts that replace keys of the recipe.
        out: Where the archive goes; None keeps it nowhere but in the result.
        resume: Go on with a run of the same recipe that was stopped; where there is none, start.
        lab: Where names are looked up; None discovers the installed plugins.
        data_root: Folder of the data sets; None leaves it to each data set, which looks at `RELUSCOPE_DATA`.
        progress: Told how far the run is.

    Returns:
        The archive's content.

    Raises:
        Interrupted: If the run was stopped by Ctrl-C or a request to terminate; it can be resumed.

    Example:
        >>> recipe = {
        ...     "title": "One epoch",
        ...     "procedure": "train",
        ...     "epochs": 1,
        ...     "dataset": {"name": "digits"},
        ...     "architecture": {"name": "mlp", "widths": [64, 16, 10]},
        ...     "optimizer": {"name": "sgd", "learning_rate": 0.1},
        ...     "scheduler": {"name": "constant"},
        ... }
        >>> tree = run(recipe, overrides=["batch_size=256"])
        >>> tree["epoch/test_accuracy"].dims, tree["epoch/epoch"].values.tolist()
        (('epoch',), [0, 1])
    """
    with random_state.isolated():  # importing a plugin may draw, too
        lab = lab or Lab()
        plan = recipes.load(recipe, lab=lab, scale=scale, overrides=overrides)
        return execute(plan, out=out, resume=resume, lab=lab, data_root=data_root, progress=progress)


def run_from_archive(
    path: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    lab: Lab | None = None,
    data_root: str | Path | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = MAX_BYTES,
) -> xr.DataTree:
    """Repeat the run that left an archive: same recipe, same number of threads.

    Args:
        path: The archive.
        out: Where the new archive goes; None keeps it nowhere but in the result.
        resume: Go on with a repetition that was stopped.
        lab: Where names are looked up; None discovers the installed plugins.
        data_root: Folder of the data sets.
        progress: Told how far the run is.
        max_bytes: How much memory the old archive may declare, in bytes; None for no bound.

    Returns:
        The new archive's content; its data variables equal the old ones bit for bit on the same torch and device.

    Raises:
        ArchiveError: If the archive does not hold a recipe.
    """
    with random_state.isolated():
        lab = lab or Lab()
        found = json.loads(open_archive(path, max_bytes=max_bytes).attrs["provenance"])
        table, threads = found.get("recipe"), found.get("threads")
        if not isinstance(table, dict):
            raise ArchiveError(
                f"{path}: its provenance holds no recipe, expected one; only what `run` left can be repeated"
            )
        plan = recipes.plan(
            table, lab=lab, name=str(found.get("name", "recipe")), origin=f"recipe of {Path(path).name}"
        )
        return execute(
            plan,
            out=out,
            resume=resume,
            lab=lab,
            data_root=data_root,
            progress=progress,
            threads=threads if isinstance(threads, int) else None,
        )


def execute(
    plan: Plan,
    *,
    out: str | Path | None,
    resume: bool,
    lab: Lab,
    data_root: str | Path | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> xr.DataTree:
    """Run a plan: each point of its sweep in turn, all into one archive.

    Args:
        plan: What to run.
        out: Where the archive goes; None keeps it nowhere but in the result.
        resume: Go on where a stopped run of the same recipe was.
        lab: All entries.
        data_root: Folder of the data sets.
        progress: Told how far the run is.
        threads: Number of torch's threads; None leaves it, or takes that of the run that is resumed.

    Returns:
        The archive's content.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="reluscope-") as folder:
            writer = ArchiveWriter(Path(folder) / f"{plan.name}.nc", attrs=_attrs(plan, lab, threads))
            try:
                return _Run(plan, writer, lab, data_root, progress, threads, kept=False).go()
            finally:
                writer.close()
    out = Path(out)
    parts = out.with_name(f"{out.name}.parts")
    fresh = not parts.exists()
    writer = ArchiveWriter(out, attrs=_attrs(plan, lab, threads), resume=resume)
    try:
        return _Run(plan, writer, lab, data_root, progress, threads, kept=True).go()
    except BaseException as error:
        writer.close()
        if fresh and not any(parts.glob("part-*")):
            shutil.rmtree(parts, ignore_errors=True)  # nothing was recorded, and it would stand in the way
        elif parts.exists() and not isinstance(error, Interrupted):
            error.add_note(f"what was recorded is kept in {parts}; mend the cause and go on with --resume")
        raise
    finally:
        writer.close()


class _Run:
    """One run of a plan: the clock, the stop request, the records on their way."""

    def __init__(
        self,
        plan: Plan,
        writer: ArchiveWriter,
        lab: Lab,
        data_root: str | Path | None,
        progress: Progress | None,
        threads: int | None,
        *,
        kept: bool,
    ) -> None:
        self.plan = plan
        self.writer = writer
        self.lab = lab
        self.data_root = Path(data_root) if data_root else None
        self.progress = progress or SilentProgress()
        self.kept = kept
        found = json.loads(writer.attrs["provenance"])
        _same_recipe(found, plan, writer.path)
        self.threads = threads or int(found["threads"])
        self.diverged = 0
        self.stop = False
        self.flushed = 0.0
        self.index = 0
        self.point: Point = {}

    def go(self) -> xr.DataTree:
        if self.writer.finished:
            return self.writer.finish()
        saved = self.writer.checkpoint or {}
        first, state = int(saved.get("point", 0)), saved.get("state")
        self.diverged = int(saved.get("diverged", 0))
        points = self.plan.points
        self.done = 0.0
        with self._bar(), _listening(self._ask_to_stop), _threads(self.threads), Sinks(self.lab) as self.sinks:
            if not saved:
                self._flush(0, None)
            for self.index in range(first, len(points)):
                self.point, recipe = points[self.index]
                self.advance(0.0)
                self._run_point(recipe, state)
                state = None
                self.advance(1.0)
                self._flush(self.index + 1, None)
                if self.stop and self.index + 1 < len(points):
                    raise self._interrupted()
            tree = self.writer.finish()
        if self.diverged == len(points):
            reasons = "; ".join(dict.fromkeys(map(str, tree["outcome"].ds["reason"].values.ravel())))
            where = (
                f"what was recorded is in {self.writer.path}" if self.kept else "pass out= to keep what was recorded"
            )
            raise Diverged(f"nothing was trained to its end: {reasons}; {where}")
        return tree

    @contextmanager
    def _bar(self) -> Iterator[None]:
        self.progress.start(self.plan.recipe.title, float(len(self.plan.points)))
        try:
            yield
        finally:
            self.progress.finish()

    def _run_point(self, recipe: Recipe, state: Mapping[str, Any] | None) -> None:
        context = Context(
            lab=self.lab,
            recipe=recipe,
            point=self.point,
            state=state,
            record=self.record,
            checkpoint=self.checkpoint,
            advance=self.advance,
            data_root=self.data_root,
            recorded=lambda group: self.writer.recorded(group, self.point),
        )
        procedure = self.lab.procedures[recipe.procedure]
        reason = ""
        with random_state.isolated(context.seed(0)):
            try:
                procedure.run(context, **recipe.parameters)
            except Diverged as error:
                reason = str(error)
                self.diverged += 1
                self.progress.message(f"{_title(self.point)}: {reason}")
            except RecipeError as error:
                raise RecipeError(f"{self.plan.origin}: {error}") from error
        self.record("outcome", _outcome(reason))

    def record(self, group: str, data: xr.Dataset) -> None:
        self.writer.append(group, data, self.point)
        self.sinks.send(Record(str(self.writer.path), group, dict(self.point), data))

    def checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        if self.stop or self._due():
            self._flush(self.index, state())
            if self.stop:
                raise self._interrupted()

    def advance(self, share: float) -> None:
        done = self.index + share
        self.progress.advance(done - self.done)
        self.done = done

    def _due(self) -> bool:
        return time.monotonic() - self.flushed >= self.plan.recipe.flush_seconds

    def _flush(self, point: int, state: Mapping[str, Any] | None) -> None:
        self.writer.flush({"point": point, "state": state, "diverged": self.diverged})
        self.flushed = time.monotonic()

    def _ask_to_stop(self) -> None:
        self.stop = True

    def _interrupted(self) -> Interrupted:
        stopped = f"stopped at {100 * self.done / len(self.plan.points):.0f} %"
        if not self.kept:
            return Interrupted(f"{stopped}; nothing is kept of a run without out=")
        return Interrupted(
            f"{stopped}; everything recorded is kept in {self.writer.path}.parts; go on with the same command and "
            "--resume"
        )


def _title(point: Point) -> str:
    return ", ".join(f"{dim}={label}" for dim, label in point.items()) or "the run"


def _outcome(reason: str) -> xr.Dataset:
    return xr.Dataset(
        {
            "diverged": ((), bool(reason), {"long_name": "Whether training left the finite numbers", "units": "1"}),
            "reason": ((), reason, {"long_name": "How it did", "units": "1"}),
        }
    )


def _attrs(plan: Plan, lab: Lab, threads: int | None) -> dict[str, Any]:
    used = {
        (kind, choice.name)
        for _, recipe in plan.points
        for kind, choice in (
            ("datasets", recipe.dataset),
            ("architectures", recipe.architecture),
            ("schedulers", recipe.scheduler),
            *(("metrics", metric) for metric in recipe.metrics),
        )
        if choice is not None
    }
    for _, recipe in plan.points:
        used.add(("procedures", recipe.procedure))
        used |= {("metrics", name) for name in lab.procedures[recipe.procedure].metrics}
    if plan.experiment in lab.experiments:
        used.add(("experiments", plan.experiment))
    plugins = {lab.origin(kind, name) for kind, name in used}
    found = provenance.collect(
        recipe=plan.table,
        seeds=sorted({recipe.seed for _, recipe in plan.points}),
        plugins=plugins,
        device=str(find_device(str(plan.recipe.parameters.get("device", "auto")))),
    )
    if threads is not None:
        found["threads"] = found["torch"]["threads"] = threads  # which are set once the run begins
    return {
        "title": plan.recipe.title,
        "source": plan.recipe.source,
        "provenance": json.dumps({"name": plan.name, **found}),
        "sweep_dims": json.dumps(plan.sweep_dims),
    }


def _same_recipe(found: Mapping[str, Any], plan: Plan, path: Path) -> None:
    old, new = found.get("recipe"), json.loads(json.dumps(plan.table, default=str))
    if old == new:
        return
    old = old if isinstance(old, dict) else {}
    key = next(key for key in [*new, *old] if old.get(key) != new.get(key))
    raise RecipeError(
        f"{path} is of another recipe: {key} was {old.get(key)!r} and is now {new.get(key)!r}; resume with the recipe "
        "that started it, choose another --out, or move it away"
    )


@contextmanager
def _listening(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C or request to terminate into a stop at the next checkpoint; the second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def heard(number: int, frame: types.FrameType | None) -> None:
        ask_to_stop()
        for each in numbers:
            signal.signal(each, signal.default_int_handler)

    try:
        for number in numbers:
            signal.signal(number, heard)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
