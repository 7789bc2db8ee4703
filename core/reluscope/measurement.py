"""Measuring a model on data: one observation a batch, shared by all metrics, and no more than one batch in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import xarray as xr
from torch import nn

from reluscope import monoid
from reluscope.entries import Metric
from reluscope.errors import ObservationError, PluginError, ReluscopeError
from reluscope.lab import Lab
from reluscope.labelling import coordinates
from reluscope.metric_entry import PATTERNS_ALONE
from reluscope.observation import observe
from reluscope.optimizer_step import OptimizerStep
from reluscope.passes import length, one_pass
from reluscope.preserve import preserved

Progress = Callable[[int, int | None], None]
"""Called after each batch with the number of batches done, and of all batches where the data tell."""


def measure(
    model: nn.Module,
    data: Iterable[Any],
    metrics: str | Metric | Sequence[str | Metric],
    *,
    lab: Lab | None = None,
    training: bool = False,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    step: OptimizerStep | None = None,
) -> xr.Dataset:
    """Measure a model on data.

    One forward pass a batch serves all metrics. The model, the global random state and a `DataLoader` are left as they
    were found: it is iterated through a copy with workers of its own, so it may be the one that training draws from.

    Args:
        model: The network.
        data: Batches: pairs (x, y), or x alone; x is a tensor, a tuple of positional arguments or a dict of keyword
            arguments; a `DataLoader` serves.
        metrics: Names or entries.
        lab: Where names are looked up; None takes all that is installed.
        training: Whether the model runs in training mode, as batch normalisation and dropout see it.
        device: Where batches are moved to; None takes that of the model's first parameter.
        progress: Called after each batch.
        step: A step of the network's optimizer, for metrics that look at what it changes; all metrics then see the
            network as it was when the step was made.

    Returns:
        One variable for each metric, and the coordinates `site`, `activation(site)` and `smooth(site)`; attribute
        `samples` counts the samples.

    Raises:
        ObservationError: If there is no batch, a batch cannot be observed, or iterating over the data would disturb
            another iteration that may be under way.

    Example:
        >>> from reluscope_plugins import patterns
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> ds = measure(model, [torch.ones(4, 2), torch.zeros(1, 2)], "firing_rate", lab=Lab(plugins=[patterns]))
        >>> ds.firing_rate.dims, ds.firing_rate.unit_site.values.tolist(), ds.attrs["samples"]
        (('unit',), ['1#0', '1#0', '1#0'], 5)
    """
    chosen = resolve(metrics, lab)
    states = measure_states(
        model, data, chosen, training=training, device=device, lab=lab, progress=progress, step=step
    )
    if any(state is None for state in states):
        raise ObservationError(
            "the data gave no batch, expected at least one; pass a loader with samples in it, and for measuring again "
            "and again one that can be iterated again (a list or a DataLoader, not a generator)"
        )
    return assemble(chosen, states, lab=lab)


def measure_states(
    model: nn.Module,
    data: Iterable[Any],
    metrics: str | Metric | Sequence[str | Metric],
    *,
    lab: Lab | None = None,
    training: bool | None = False,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    step: OptimizerStep | None = None,
) -> list[Any]:
    """Measure, and leave the states unfinished, to be merged with those of other workers.

    Args:
        model: The network.
        data: Batches, as `measure` takes them.
        metrics: Names or entries.
        lab: Where names are looked up; None takes all that is installed.
        training: Whether the model runs in training mode; None leaves it as it is.
        device: Where batches are moved to; None takes that of the model's first parameter.
        progress: Called after each batch.
        step: A step of the network's optimizer.

    Returns:
        One state for each metric; None, the identity of `merge`, where the data gave no batch.

    Raises:
        ObservationError: If a metric needs a step and there is none, or a batch cannot be observed.
    """
    chosen = resolve(metrics, lab)
    _check_data(data)
    affine = any("affine" in metric.needs for metric in chosen)
    patterns_only = all("patterns" in metric.needs and metric.needs <= PATTERNS_ALONE for metric in chosen)
    wanting = next((metric.name for metric in chosen if "step" in metric.needs), "")
    if wanting and step is None:
        raise ObservationError(
            f"metric {wanting!r} looks at what a step of the optimizer changes, but got none; call loss.backward(), "
            "then pass step=reluscope.OptimizerStep(optimizer) before optimizer.step()"
        )
    places = _shared(chosen)
    target_device = _device(model, device)
    total = length(data)
    states: list[Any] = [None] * len(set(places))
    with preserved(model, training=training), one_pass(data) as batches:
        index = 0
        for batch in batches:  # not enumerate, which holds on to the last batch
            x, y = _split(batch, index)
            # with a step, whatever a pass draws or counts starts each time from the same
            alone = preserved(model) if wanting else nullcontext()
            with _blame(None, lab, f"batch {index}"), alone:
                observation = observe(
                    model,
                    _move(x, target_device),
                    target=_move(y, target_device),
                    affine=affine,
                    patterns_only=patterns_only,
                    step=step,
                )
            for position in range(len(states)):
                metric = chosen[places.index(position)]
                with _blame(metric, lab, f"batch {index}"):
                    states[position] = monoid.update(metric, states[position], observation)
            del batch, x, y, observation  # else two batches are in memory while the next one is made
            index += 1
            if progress is not None:
                progress(index, total)
    return [states[place] for place in places]


def assemble(
    metrics: Sequence[Metric], states: Sequence[Any], *, lab: Lab | None = None, references: Sequence[Any] | None = None
) -> xr.Dataset:
    """Finish states and put the results side by side.

    Args:
        metrics: What was measured.
        states: One for each metric.
        lab: Where the plugin is looked up that an error names.
        references: For each metric that compares two moments, the state of the other; None compares with itself.

    Returns:
        One variable for each metric, and the coordinates `site`, `activation(site)` and `smooth(site)`.
    """
    from reluscope import schema

    layout = states[0]["sites"]
    arrays: list[xr.DataArray | xr.Dataset] = [xr.Dataset(coords=coordinates(layout, per_unit=False))]
    finished: dict[int, Any] = {}
    for metric, state, reference in zip(metrics, states, references or [None] * len(states), strict=True):
        with _blame(metric, lab, "at the end"):
            arrays.append(metric.finish(state, reference, finished))
    dataset = xr.merge(arrays, join="outer", compat="equals", combine_attrs="drop_conflicts")
    if dataset["site"].values.tolist() != list(layout):  # a metric that labels by hand has them in another order
        dataset = dataset.sel(site=list(layout))
    dataset.attrs = {"samples": states[0]["samples"]}
    schema.validate(dataset)
    return dataset


def resolve(metrics: str | Metric | Sequence[str | Metric], lab: Lab | None = None) -> list[Metric]:
    """Look metrics up.

    Args:
        metrics: Names or entries.
        lab: Where names are looked up; None takes all that is installed.

    Returns:
        The entries, in the same order, each followed by what it brings and nobody asked for.

    Raises:
        ObservationError: If there is none, two have one name, or one is neither a name nor a metric.
    """
    wanted = [metrics] if isinstance(metrics, (str, Metric)) else list(metrics)
    if not wanted:
        raise ObservationError("got no metric, expected at least one; pass names such as metrics=['firing_rate']")
    if lab is None and any(isinstance(metric, str) for metric in wanted):
        lab = Lab()
    chosen: list[Metric] = []
    for metric in wanted:
        if isinstance(metric, str) and lab is not None:
            metric = lab.metrics[metric]
        if not isinstance(metric, Metric):
            raise ObservationError(
                f"metrics: got {type(metric).__name__}, expected names or entries made by @reluscope.metric; "
                "decorate it"
            )
        if metric.name in [other.name for other in chosen]:
            raise ObservationError(
                f"metrics: {metric.name!r} is there twice; leave one out, or give the second a name of its own with "
                "dataclasses.replace(metric, name=...)"
            )
        chosen.append(metric)
    return with_brought(chosen)


def with_brought(metrics: Sequence[Metric]) -> list[Metric]:
    """Add what metrics bring along.

    Args:
        metrics: Entries.

    Returns:
        Each followed by what it brings, unless one of that name is there already.
    """
    asked = {metric.name for metric in metrics}
    found: dict[str, Metric] = {}
    for metric in metrics:
        found[metric.name] = metric
        for brought in with_brought(metric.brings):
            if brought.name not in asked:
                found.setdefault(brought.name, brought)
    return list(found.values())


def _shared(metrics: Sequence[Metric]) -> list[int]:
    # metrics that finish one class's state share it
    keys = [monoid.state_key(metric) for metric in metrics]
    return [list(dict.fromkeys(keys)).index(key) for key in keys]


def _check_data(data: Any) -> None:
    wrong = ""
    if isinstance(data, torch.Tensor):
        wrong = "a tensor; pass a list of batches: [x] or [(x, y)]"
    elif isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, torch.Tensor) for part in data):
        wrong = "a tuple of two tensors; pass [(x, y)] for one labelled batch, [x1, x2] for two batches"
    elif isinstance(data, torch.utils.data.Dataset) and not isinstance(data, torch.utils.data.IterableDataset):
        wrong = f"{type(data).__name__}, which gives single samples; wrap it: DataLoader(data, batch_size=...)"
    elif isinstance(data, Mapping):
        wrong = "a mapping; pass a list of batches: [{...}] or [({...}, y)]"
    elif not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        wrong = f"{type(data).__name__}; pass a DataLoader or a list of batches"
    if wrong:
        raise ObservationError(f"data: expected an iterable of batches, got {wrong}")


def _split(batch: Any, index: int) -> tuple[Any, Any]:
    if isinstance(batch, (tuple, list)):
        if len(batch) not in (1, 2):
            raise ObservationError(
                f"batch {index}: got {len(batch)} parts, expected (x, y) or x alone; where the model takes several "
                "inputs, x is a tuple of them: ((x1, x2), y)"
            )
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


def _device(model: nn.Module, device: torch.device | str | None) -> torch.device | None:
    if device is not None:
        return torch.device(device)
    first = next(model.parameters(), None)
    return None if first is None else first.device


def _move(value: Any, device: torch.device | None) -> Any:
    if device is None:
        return value
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _move(item, device) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_move(item, device) for item in value)
    return value


@contextmanager
def _blame(metric: Metric | None, lab: Lab | None, where: str) -> Iterator[None]:
    try:
        yield
    except (PluginError, ObservationError) as error:
        plugin = ""
        known = lab.metrics.get(metric.name) if lab is not None and metric is not None else None
        if lab is not None and metric is not None and known is not None and known.definition is metric.definition:
            origin = lab.origin("metrics", metric.name)
            brought = f", {origin.distribution} {origin.version}" if origin.distribution else ""
            plugin = f" (plugin {origin.name!r}{brought})"
        raise type(error)(f"{where}{plugin}: {error}") from (error.__cause__ or error)
    except (ReluscopeError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the model may raise anything; the cause stays chained
        reason = " ".join([*str(error).split(), *(f"({note})" for note in getattr(error, "__notes__", ()))])
        raise ObservationError(
            f"{where}: the model raised {type(error).__name__}: {reason}; expected it to take such a batch; check "
            "shapes, dtypes and devices"
        ) from error
