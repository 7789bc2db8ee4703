"""Measuring one network at successive moments, so that metrics may compare a moment with another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope import monoid
from reluscope.entries import Metric
from reluscope.errors import ObservationError, PluginError
from reluscope.lab import Lab
from reluscope.measurement import assemble, measure_states, with_brought


class Series:
    """Measures a network again and again, and keeps what later comparisons need.

    Of a metric that compares with the first or the previous moment that state is held in memory. For one that compares
    with the last, each moment's state is laid out as a table to keep, and the comparison comes at the end.

    Args:
        metrics: Entries.
        lab: Where the plugin is looked up that an error names.

    Raises:
        PluginError: If a metric compares with the last moment, and the class of its states cannot be kept, or two that
            do would keep tables of one name.
    """

    def __init__(self, metrics: Sequence[Metric], *, lab: Lab | None = None) -> None:
        self.metrics = with_brought(metrics)
        self._lab = lab
        self._first: dict[str, Any] = {}
        self._previous: dict[str, Any] = {}
        self._layout: dict[str, list[Any]] = {}
        self._now = [metric for metric in self.metrics if metric.compared_with != "last"]
        self._last = [metric for metric in self.metrics if metric.compared_with == "last"]
        for metric in self._last:
            for method in ("kept", "restored"):
                if not callable(getattr(metric.counted(), method, None)):
                    raise PluginError(
                        f"metric {metric.name!r} compares with the last moment, but {monoid.owner(metric)} has no "
                        f"method {method!r}; write it"
                    )
        self._keepers: dict[str, Metric] = {}
        for metric in self._last:
            self._keepers.setdefault(_slot(metric), metric)
            other = next(m for m in self._keepers.values() if monoid.owner(m) == monoid.owner(metric))
            if _slot(other) != _slot(metric):
                raise PluginError(
                    f"metrics {other.name!r} and {metric.name!r} compare with the last moment tables of one name, "
                    f"{monoid.owner(metric)!r}, but of different parameters or classes; leave one out, or give both "
                    "the same parameters"
                )

    def measure(
        self, model: nn.Module, data: Iterable[Any], **options: Any
    ) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
        """Measure one moment.

        Args:
            model: The network.
            data: Batches, as `reluscope.measure` takes them.
            **options: Of `reluscope.measurement.measure_states`: `training`, `device`, `progress`.

        Returns:
            One variable for each metric that does not wait for the last moment; and by name the tables to keep.

        Raises:
            ObservationError: If the data gave no batch, or the network is not the one of the moment before.
        """
        states = measure_states(model, data, self.metrics, lab=self._lab, **options)
        if any(state is None for state in states):
            raise ObservationError(
                "the data gave no batch, expected at least one; pass a loader with samples in it, and for measuring "
                "again and again one that can be iterated again (a list or a DataLoader, not a generator)"
            )
        found = dict(zip((metric.name for metric in self.metrics), states, strict=True))
        self._check_layout(states[0]["sites"])
        self._layout = states[0]["sites"]
        references = [self._reference(metric) for metric in self._now]
        if self._now:
            dataset = assemble(
                self._now, [found[metric.name] for metric in self._now], lab=self._lab, references=references
            )
        else:
            dataset = xr.Dataset(attrs={"samples": states[0]["samples"]})
        kept = {monoid.owner(metric): monoid.kept(metric, found[metric.name]) for metric in self._keepers.values()}
        for metric in self._now:
            if metric.compared_with == "first":
                self._first.setdefault(_slot(metric), found[metric.name])
            elif metric.compared_with == "previous":
                self._previous[_slot(metric)] = found[metric.name]
        return dataset, kept

    @property
    def keeps(self) -> list[str]:
        """Names of the tables that each moment gives to keep."""
        return [monoid.owner(metric) for metric in self._keepers.values()]

    def compared_with_last(self, kept: Mapping[str, xr.Dataset], dim: str) -> xr.Dataset:
        """Compare every moment with the last one.

        Args:
            kept: By name, the tables of all moments, joined along `dim`.
            dim: `"epoch"` or `"step"`.

        Returns:
            One variable for each metric that waited, along `dim`.
        """
        columns: list[xr.Dataset] = []
        for metric in self._last:
            table = kept[monoid.owner(metric)]
            last = monoid.restored(metric, table.isel({dim: -1}), self._layout)
            rows = []
            for place in range(table.sizes[dim]):  # two moments in memory at a time
                state = monoid.restored(metric, table.isel({dim: place}), self._layout)
                rows.append(assemble([metric], [state], lab=self._lab, references=[last]))
            columns.append(xr.concat(rows, dim=table[dim], combine_attrs="drop_conflicts"))
        merged = xr.merge(columns, join="exact", compat="equals", combine_attrs="drop_conflicts")
        merged.attrs = {}
        return merged

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs.

        Returns:
            Plain types and tensors.
        """
        return {
            "first": _tensors(self._first),
            "previous": _tensors(self._previous),
            "layout": {name: list(site) for name, site in self._layout.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up a state.

        Args:
            state: As `state` returned it.
        """
        self._first, self._previous = _arrays(state["first"]), _arrays(state["previous"])
        self._layout = dict(state["layout"])

    def _reference(self, metric: Metric) -> Any:
        kept = {"first": self._first, "previous": self._previous}.get(metric.compared_with)
        return None if kept is None else kept.get(_slot(metric))

    def _check_layout(self, layout: Mapping[str, list[Any]]) -> None:
        compared = next((metric for metric in self.metrics if metric.compared_with), None)
        if compared is None or not self._layout or layout == self._layout:
            return
        site = next((site for site in (*layout, *self._layout) if layout.get(site) != self._layout.get(site)), "")
        raise ObservationError(
            f"metric {compared.name!r}: site {site!r} was {self._layout.get(site)} at the moment before and is "
            f"{layout.get(site)} now (call number, activation, smooth, units), expected the same network throughout; "
            "begin anew for a network that was changed"
        )


def _slot(metric: Metric) -> str:
    # metrics with one state share one reference too
    counted = metric.counted()
    assert counted is not None
    return "/".join(map(str, (f"{counted.__module__}.{counted.__qualname__}", *sorted(metric.state_params().items()))))


# A state as a checkpoint takes it. torch knows no text, so an array of it becomes a dict of one key; a state's own dict
# of such a key is wrapped.
def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        items = {key: _tensors(item) for key, item in value.items()}
        return {"dict": items} if items.keys() in ({"text"}, {"dict"}) else items
    if isinstance(value, (list, tuple)):
        return type(value)(map(_tensors, value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"text": value.tolist()}
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"text"}:
            return np.array(value["text"], dtype=np.str_)
        items = value["dict"] if value.keys() == {"dict"} else value
        return {key: _arrays(item) for key, item in items.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_arrays, value))
    return value.numpy() if isinstance(value, torch.Tensor) else value
