"""A metric is a monoid: the states of batches merge in any order, and a finished state is a labelled array.

What a state of the kernel holds is plain data (nested dicts and lists of numbers, strings, numpy arrays): it can be
written to a checkpoint, sent between processes and merged there. It carries the layout of the sites, so that `finish`
can label without the network.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from reluscope.errors import ObservationError, PluginError, nearest
from reluscope.labelling import check_values, label, plain_fault, to_numpy
from reluscope.metric_entry import Count

if TYPE_CHECKING:
    from reluscope.entries import Metric
    from reluscope.observation import Observation

State = dict[str, Any]
"""`{"metric": name, "samples": int, "sites": {site: [index, activation, smooth, units]}, "value": ...}`."""


def measure(metric: Metric, observation: Observation) -> State:
    """Measure one batch.

    Args:
        metric: What to measure.
        observation: What one forward pass showed.

    Returns:
        A state, to be merged with those of other batches.

    Raises:
        ObservationError: If the metric needs targets or patterns, and the observation has none.
        PluginError: If the metric raises, or its state is not plain data.
    """
    if "targets" in metric.needs and observation.target is None:
        raise ObservationError(
            f"metric {metric.name!r} needs targets, got inputs alone; pass batches of (x, y), or observe(..., target=y)"
        )
    if "patterns" in metric.needs and not observation.sites:
        raise ObservationError(
            f"metric {metric.name!r} needs patterns of activation functions, got a network that bends at max-pools "
            "alone; leave it out"
        )
    if _has_class(metric):
        value = _call(metric, "measure", _instance(metric).measure, observation)
        fault = plain_fault(value)
        if fault:
            raise PluginError(
                f"metric {metric.name!r}: its state holds {fault}, expected plain data (dicts and lists of numbers, "
                "strings and numpy arrays); convert in measure, a tensor by .cpu().numpy()"
            )
    else:
        returned = _call(metric, "measure", metric.implementation(), observation, **metric.params)
        value = _weigh(metric, returned, observation)
    return {
        "metric": owner(metric),
        "samples": int(observation.samples),
        "sites": _layout(observation),
        "value": value,
    }


def owner(metric: Metric) -> str:
    """Name what a metric's states are of.

    Args:
        metric: A metric.

    Returns:
        Its name, or that of the class whose states it shares with others.
    """
    counted = metric.counted()
    return metric.name if counted is None else counted.__name__


def state_key(metric: Metric) -> tuple[Any, ...]:
    """Say which metrics have one state: those with equal keys.

    Args:
        metric: A metric.

    Returns:
        A key.
    """
    counted = metric.counted()
    if counted is None:
        return (id(metric),)
    return (counted, *sorted((name, repr(value)) for name, value in metric.state_params().items()))


def update(metric: Metric, state: State | None, observation: Observation) -> State:
    """Measure one batch and merge, where the state may be changed in place: it must not be shared.

    Args:
        metric: What to measure.
        state: What was measured so far, or None.
        observation: What one forward pass showed.

    Returns:
        The state of all. A class with a method `update(value, observation)` changes its value in place, which saves
        the memory of a second one; without, it is measured and merged.

    Raises:
        PluginError: If the metric raises, or its `update` returns something in place of changing the state.
    """
    if state is None or not _has_class(metric) or not hasattr(_instance(metric), "update"):
        return merge(metric, state, measure(metric, observation)) or {}
    _check_owner(metric, state)
    sites = _merge_sites(metric, state["sites"], _layout(observation))
    returned = _call(metric, "update", _instance(metric).update, state["value"], observation)
    if returned is not None:  # whoever returns a new state has not changed the old one
        raise PluginError(
            f"metric {metric.name!r}: update returned {type(returned).__name__}, expected None: it changes the state "
            "that it is given; mend it, or leave update out and let measure and merge do"
        )
    return {**state, "samples": state["samples"] + int(observation.samples), "sites": sites}


def merge(metric: Metric, first: State | None, second: State | None) -> State | None:
    """Merge two states; None is the identity.

    Args:
        metric: What was measured.
        first: A state, or None.
        second: A state, or None.

    Returns:
        The state of both together.

    Raises:
        PluginError: If a state is of another metric, or the metric raises.
    """
    _check_owner(metric, first)
    _check_owner(metric, second)
    if first is None or second is None:
        return second if first is None else first
    sites = _merge_sites(metric, first["sites"], second["sites"])
    if _has_class(metric):
        value = _call(metric, "merge", _instance(metric).merge, first["value"], second["value"])
        fault = plain_fault(value)
        if fault:
            raise PluginError(f"metric {metric.name!r}: merge gave {fault}, expected plain data as measure gives")
    else:
        value = {
            key: [_add(metric, key, *pair) for pair in zip(one, other, strict=True)] if one and other else one or other
            for key in [*first["value"], *(key for key in second["value"] if key not in first["value"])]
            for one, other in [(first["value"].get(key), second["value"].get(key))]
        }
    return {"metric": owner(metric), "samples": first["samples"] + second["samples"], "sites": sites, "value": value}


def finish(
    metric: Metric, state: State | None, reference: State | None = None, finished: dict[int, Any] | None = None
) -> xr.DataArray:
    """Turn a state into a labelled array.

    Args:
        metric: What was measured.
        state: The state of all that was measured.
        reference: For a metric that compares two moments, the state of the other; None compares with itself.
        finished: What the class of a shared state made of it, by the state's identity; filled as it goes, so that the
            metrics of one state share that too.

    Returns:
        The result in float64, with dims, units, long_name and coordinates. Values that leave the declared range by
        rounding alone are set to its end.

    Raises:
        ObservationError: If nothing was measured.
        PluginError: If the metric raises, or what it gives is not as declared: dims, units, range, finite values.
    """
    if state is None:
        raise ObservationError(f"metric {metric.name!r}: nothing was measured; pass at least one batch")
    _check_owner(metric, state)
    if metric.of is not None:
        reference = state if reference is None else reference
        _check_owner(metric, reference)
        _merge_sites(metric, state["sites"], reference["sites"])
        values = _finished(metric, [state, reference] if metric.compared_with else [state], finished)
    elif _has_class(metric):
        values = _call(metric, "finish", _instance(metric).finish, state["value"])
    else:
        means = {key: total / weight for key, (total, weight) in state["value"].items()}
        values = means if _by_site(metric) else means[""]
    array = label(metric, values, state["sites"])
    return check_values(metric, array)


def kept(metric: Metric, state: State) -> xr.Dataset:
    """Lay a shared state out as a table to keep.

    Args:
        metric: Whose class has `kept`.
        state: One of its states.

    Returns:
        The table of one moment.

    Raises:
        PluginError: If the class raises, or gives something else.
    """
    table = _call(metric, "kept", _instance(metric).kept, state["value"])
    if not isinstance(table, xr.Dataset):
        raise PluginError(f"metric {metric.name!r}: kept gave {type(table).__name__}, expected an xarray.Dataset")
    return table


def restored(metric: Metric, table: xr.Dataset, sites: Mapping[str, list[Any]]) -> State:
    """Undo `kept`.

    Args:
        metric: Whose class has `restored`.
        table: Of one moment.
        sites: The layout of the state's sites.

    Returns:
        The state; of how many samples, it no longer says.

    Raises:
        PluginError: If the class raises.
    """
    value = _call(metric, "restored", _instance(metric).restored, table)
    return {
        "metric": owner(metric),
        "samples": 0,
        "sites": {name: list(site) for name, site in sites.items()},
        "value": value,
    }


def _has_class(metric: Metric) -> bool:
    return metric.of is not None or inspect.isclass(metric.implementation())


def _finished(metric: Metric, states: list[State], finished: dict[int, Any] | None) -> Any:
    finished = {} if finished is None else finished
    for state in states:
        if id(state) not in finished:
            finished[id(state)] = _call(metric, "finish", _instance(metric).finish, state["value"])
    own = inspect.signature(metric.implementation()).parameters
    params = {name: value for name, value in metric.params.items() if name in own}
    given = [finished[id(state)] for state in states]
    return _call(metric, "its function", metric.implementation(), *given, **params)


def _layout(observation: Observation) -> dict[str, list[Any]]:
    return {
        name: [index, str(site.activation), bool(site.smooth), int(site.units)]
        for index, (name, site) in enumerate((name, observation.site[name]) for name in observation.sites)
    }


def _check_owner(metric: Metric, state: State | None) -> None:
    if state is not None and state["metric"] != owner(metric):
        raise PluginError(
            f"metric {metric.name!r}: got a state of {state['metric']!r}; merge and finish only its own states"
        )


def _by_site(metric: Metric) -> bool:
    return bool({"site", "unit"} & set(metric.dims))


def _instance(metric: Metric) -> Any:
    counted = metric.counted()
    definition: Any = metric.implementation() if counted is None else counted
    for method in ("measure", "merge", "finish"):
        if not callable(getattr(definition, method, None)):
            raise PluginError(
                f"metric {metric.name!r}: class {definition.__name__} has no method {method!r}, expected measure, "
                "merge and finish; write it"
            )
    return _call(metric, "its constructor", definition, **metric.state_params())


def _call(metric: Metric, what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except PluginError:
        raise
    except ObservationError as error:
        if repr(metric.name) in str(error):
            raise
        raise ObservationError(f"metric {metric.name!r}: {error}") from error
    except Exception as error:  # third-party code may raise anything; the cause stays chained
        reason = " ".join(str(error).split())
        raise PluginError(
            f"metric {metric.name!r}: {what} raised {type(error).__name__}: {reason}; expected it to work on every "
            "observation; mend the metric or leave it out"
        ) from error


def _weigh(metric: Metric, returned: Any, observation: Observation) -> dict[str, list[Any]]:
    # Site to [weighted sum, weight]; one value without a site stands under the name "".
    if isinstance(returned, xr.DataArray):
        raise PluginError(
            f"metric {metric.name!r}: its function returned a DataArray, expected a number or a mapping from site to "
            "values, which are averaged; write a class with measure, merge and finish to label by hand"
        )
    if not _by_site(metric):
        if isinstance(returned, Mapping):
            raise PluginError(
                f"metric {metric.name!r}: got a mapping, but its dims {metric.dims} hold neither 'site' nor 'unit'; "
                "return one value or declare the dim"
            )
        return {"": _total(metric, "", returned, int(observation.samples))}
    if not isinstance(returned, Mapping):
        raise PluginError(
            f"metric {metric.name!r}: got {type(returned).__name__}, expected a mapping from site to values for dims "
            f"{metric.dims}; return {{site: ... for site in observation.sites}}"
        )
    sums: dict[str, list[Any]] = {}
    for site, value in returned.items():
        if site not in observation.sites:
            raise PluginError(f"metric {metric.name!r}: unknown site {site!r}. {nearest(str(site), observation.sites)}")
        if value is not None:
            # of the pattern: where patterns alone are kept, there is no pre-activation to count
            rows = observation.site[site].positions * observation.samples or len(observation.packed[site])
            sums[site] = _total(metric, site, value, rows)
    return sums


def _total(metric: Metric, site: str, value: Any, rows: int) -> list[Any]:
    if not isinstance(value, Count):
        return [to_numpy(metric, site, value) * rows, rows]
    total = to_numpy(metric, site, value.total)
    whole = total.astype(np.int64) if (np.abs(total) < 2**53).all() else None
    if (
        whole is None
        or (whole != total).any()
        or isinstance(value.of, bool)
        or value.of != int(value.of)
        or value.of < 1
    ):
        where = f" at site {site!r}" if site else ""
        raise PluginError(
            f"metric {metric.name!r}: got {value!r:.80}{where}, expected whole numbers, and how many they are the sum "
            "of; return the mean itself for what is not counted"
        )
    return [whole, int(value.of)]


def _add(metric: Metric, key: str, first: Any, second: Any) -> Any:
    if np.shape(first) != np.shape(second):
        where = f" at site {key!r}" if key else ""
        raise PluginError(
            f"metric {metric.name!r}: values{where} of shapes {np.shape(first)} and {np.shape(second)} in two batches, "
            "expected one shape for all; a mean over samples must not keep the sample dim"
        )
    return first + second


def _merge_sites(metric: Metric, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    # The least call number decides the order, which makes the join associative and commutative.
    if first == second:
        return {name: list(site) for name, site in first.items()}
    joined: dict[str, list[Any]] = {}
    for name in {**first, **second}:
        one, other = first.get(name, second.get(name)), second.get(name, first.get(name))
        if one is None or other is None or list(one[1:]) != list(other[1:]):
            raise ObservationError(
                f"metric {metric.name!r}: site {name!r} is {one} in one state and {other} in another (call number, "
                "activation, smooth, units); merge only states of one network"
            )
        joined[name] = [min(one[0], other[0]), *one[1:]]
    return dict(sorted(joined.items(), key=lambda item: (item[1][0], item[0])))
