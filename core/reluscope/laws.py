"""The laws of a metric, each a check that says by name which one is broken.

Where two different forward passes are compared (a batch with its parts, or in another order), networks and data are in
float64: a matrix product may round otherwise for another number of rows, and in float64 this moves a pre-activation by
some 1e-16, which no pattern or rank notices. What a metric computes is then compared

- exactly where its states hold no floating-point number (counts);
- up to `FLOAT64` relative to the greatest value where only the order of merging differs: merging adds float64 numbers;
- up to `FLOAT32` where the splitting differs: a metric may well compute in float32, whose rounding unit is 6e-8, and a
  mean of a few hundred such terms stays below a hundred of them.

A metric that compares two moments gives the same for whatever state it compares with itself, so wherever two states are
to be the same, each is compared with a third one too.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope import monoid, random_state, schema
from reluscope.entries import Metric
from reluscope.errors import ReluscopeError
from reluscope.joining import Increment, join
from reluscope.labelling import plain_fault
from reluscope.metric_entry import PATTERNS_ALONE
from reluscope.observation import Observation, observe
from reluscope.optimizer_step import OptimizerStep
from reluscope.preserve import preserved

FLOAT64 = 1e-12
FLOAT32 = 1e-5


class Laws:
    """The laws of one metric, to be checked case by case.

    Args:
        metric: The metric.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._reference: Any = None
        self._step: OptimizerStep | None = None

    def declaration(self) -> None:
        """Check that the metric can be used by name alone: each parameter is bound or has a default."""
        with self._law("parameters have defaults"):
            for name, parameter in self.metric.parameters().items():
                if parameter.default is inspect.Parameter.empty and name not in self.metric.params:
                    self._broken("parameters have defaults", f"{name!r} has none; give it one, or bind it")

    def case(self, model: nn.Module, x: Any, y: Tensor, generator: np.random.Generator) -> None:
        """Check all laws on one network and one batch.

        Args:
            model: The network, in evaluation mode.
            x: Inputs `(sample, ...)`: a tensor, a tuple or a dict of tensors.
            y: Labels `(sample,)`.
            generator: Draws the splitting and the order.
        """
        self._reference = None
        self._step = _step(model, x, y) if "step" in self.metric.needs else None
        whole = self._undisturbed(model, x, y)
        self._plain(whole)
        self._labels(whole)
        samples = len(y)
        cuts = np.sort(generator.choice(np.arange(1, samples), size=min(3, samples - 1), replace=False))
        pieces = [
            self._observe(model, _rows(x, rows), y[rows]) for rows in np.split(np.arange(samples), cuts) if len(rows)
        ]
        parts = list(map(self._measured, pieces))
        if self.metric.compared_with:
            self._reference = parts[0]
            self._comparing(whole, parts[0])
        self._patterns_alone(model, x, y, whole)
        self._merging(parts)
        self._updating(pieces)
        if not _is_float64(model):
            return
        rounding = FLOAT32 if any(map(_floating, parts)) else 0.0
        merged = None
        for part in parts:
            merged = self._merge(merged, part)
        sizes = np.diff([0, *cuts, samples]).tolist()
        self._same("a batch is the merge of its parts", whole, merged, rounding, f"parts of {sizes} samples")
        order = generator.permutation(samples)
        shuffled = self._measure(model, _rows(x, order), y[order])
        self._same("the order of samples does not matter", whole, shuffled, rounding, "shuffled")

    def _undisturbed(self, model: nn.Module, x: Any, y: Tensor) -> Any:
        law = "measuring disturbs nothing"
        observation = self._observe(model, x, y)
        shown = {
            "the model": lambda: (dict(model.state_dict()), [module.training for module in model.modules()]),
            "gradients": lambda: [parameter.grad for parameter in model.parameters()],
            "the input": lambda: observation.input,
            "the targets": lambda: observation.target,
            "the output": lambda: observation.output,
            "the pre-activations": lambda: [observation.preactivation[site] for site in observation.sites],
            "the patterns": lambda: [observation.pattern[site] for site in observation.sites],
            "the random state": random_state.capture,
        }
        before = {name: copy.deepcopy(show()) for name, show in shown.items()}
        state = self._measured(observation)
        for name, show in shown.items():
            if not _equal(before[name], show()):
                self._broken(law, f"{name} changed in measure; work on a copy, draw from a generator of your own")
        again = self._measure(model, x, y)
        self._same("measuring twice gives the same", state, again, 0.0, "the same batch")
        return state

    def _plain(self, state: Any) -> None:
        law = "a state is plain data"
        fault = plain_fault(state)
        if fault:
            self._broken(law, f"it holds {fault}")
        restored = _decode(json.loads(json.dumps(_encode(state))))
        self._same(law, state, restored, 0.0, "after a round trip through JSON")

    def _labels(self, state: Any) -> None:
        law = "labels are as declared"
        kept = copy.deepcopy(state)
        array = self._finish(state, law)
        declared = (self.metric.name, self.metric.dims, self.metric.units)
        found = (array.name, array.dims, array.attrs.get("units"))
        if found != declared or not array.attrs.get("long_name"):
            self._broken(law, f"name, dims, units are {found}, declared {declared}")
        if not _equal(kept, state):
            self._broken("finish leaves its state", "it changed; work on a copy")

    def _merging(self, parts: list[Any]) -> None:
        rounding = FLOAT64 if any(map(_floating, parts)) else 0.0
        first, second, third = parts[0], parts[len(parts) // 2], parts[-1]
        for left, right in ((None, first), (first, None)):
            self._same("None is the identity of merge", first, self._merge(left, right), 0.0, "merged with None")
        kept = copy.deepcopy((first, second))
        both = self._merge(first, second)
        if not _equal(kept, (first, second)):
            self._broken("merge leaves its arguments", "a state changed; return a new one")
        self._same("merge is commutative", both, self._merge(second, first), rounding, "the other way round")
        left = self._merge(both, third)
        right = self._merge(first, self._merge(second, third))
        self._same("merge is associative", left, right, rounding, "with other brackets")

    def _updating(self, observations: list[Observation]) -> None:
        definition: Any = self.metric.counted() or self.metric.implementation()
        if not hasattr(definition, "update"):
            return
        law = "update is merge with measure"
        looks = [[o.output, *(o.pattern[s] for s in o.sites), *(o.packed[s] for s in o.sites)] for o in observations]
        first, second, third = observations[0], observations[len(observations) // 2], observations[-1]
        one, other, more = map(self._measured, (first, second, third))
        both = self._merge(one, other)
        expected = self._merge(both, more)
        before = copy.deepcopy((both, other, more, expected, looks))
        with self._law(law):
            grown = monoid.update(self.metric, monoid.update(self.metric, one, second), third)
        alone = _equal(before, (both, other, more, expected, looks))
        with self._law(law):
            merged = monoid.update(self.metric, both, third)
        if not alone or not _equal(before[1:], (other, more, expected, looks)):
            self._broken("update changes no other state", "another state, or an observation, changed; work on a copy")
        fault = plain_fault(grown)
        if fault:
            self._broken("a state is plain data", f"after update it holds {fault}")
        rounding = FLOAT64 if _floating(expected) else 0.0
        self._same(law, expected, grown, rounding, "updated twice")
        self._same(law, expected, merged, rounding, "merged, then updated")

    def _comparing(self, state: Any, reference: Any) -> None:
        kept = copy.deepcopy((state, reference))
        law = "comparing twice gives the same"
        with self._law(law):
            once, again, itself = (self.metric.finish(state, other) for other in (reference, reference, state))
            alone = self.metric.finish(state)
        if not once.identical(again):
            self._broken(law, f"{again.values} the second time, expected {once.values}")
        if not itself.identical(alone):
            self._broken("the first moment is compared with itself", f"{alone.values}, expected {itself.values}")
        if not _equal(kept, (state, reference)):
            self._broken("comparing leaves both states", "one changed; work on a copy")
        if self.metric.compared_with == "last":
            self._keeping(state, reference, once)

    def _keeping(self, state: Any, reference: Any, compared: xr.DataArray) -> None:
        law = "what is kept can be restored"
        counted: Any = self.metric.counted()
        with self._law(law):
            for method in ("kept", "restored"):
                if not callable(getattr(counted, method, None)):
                    self._broken(law, f"{counted.__name__} has no method {method!r}; write it")
            tables = [monoid.kept(self.metric, each) for each in (reference, state)]
            labelled = {"long_name": "optimizer steps taken", "units": "1"}
            moments = [
                table.expand_dims(step=[number]).assign_coords(step=("step", [number], labelled))
                for number, table in enumerate(tables)
            ]
            for moment in moments:
                schema.validate(moment)
            joined = join([Increment("/", {}, moment) for moment in moments])[0]["/"]
            first, last = (monoid.restored(self.metric, joined.isel(step=place), state["sites"]) for place in (0, 1))
            restored = self.metric.finish(last, first)
        if not restored.identical(compared):
            self._broken(law, f"comparing what was restored gave {restored.values}, expected {compared.values}")

    def _patterns_alone(self, model: nn.Module, x: Any, y: Tensor, whole: Any) -> None:
        if "patterns" not in self.metric.needs or not self.metric.needs <= PATTERNS_ALONE:
            return
        law = "what needs patterns looks at nothing else"
        with self._law(law):
            state = self.metric.measure(observe(model, x, target=y, patterns_only=True, step=self._step))
        self._same(law, whole, state, 0.0, "without pre-activations")

    def _observe(self, model: nn.Module, x: Any, y: Tensor) -> Observation:
        return observe(model, x, target=y, affine="affine" in self.metric.needs, step=self._step)

    def _measure(self, model: nn.Module, x: Any, y: Tensor) -> Any:
        return self._measured(self._observe(model, x, y))

    def _measured(self, observation: Observation) -> Any:
        with self._law("measure works on every observation"):
            return self.metric.measure(observation)

    def _merge(self, first: Any, second: Any) -> Any:
        with self._law("any two states merge"):
            return self.metric.merge(first, second)

    def _finish(self, state: Any, law: str) -> xr.DataArray:
        with self._law(law):
            return self.metric.finish(state)

    def _same(self, law: str, first: Any, second: Any, rounding: float, how: str) -> None:
        one, other = self._finish(first, "labels are as declared"), self._finish(second, law)
        self._same_values(law, one, other, rounding, how)
        if self._reference is not None:
            with self._law(law):
                one, other = (self.metric.finish(state, self._reference) for state in (first, second))
            self._same_values(law, one, other, rounding, f"{how}, compared with another moment")

    def _same_values(self, law: str, one: xr.DataArray, other: xr.DataArray, rounding: float, how: str) -> None:
        if one.shape != other.shape:
            self._broken(law, f"shape {other.shape} {how}, expected {one.shape}")
        for name in one.coords:
            if not one[name].equals(other[name]):
                self._broken(law, f"coordinate {name!r} differs {how}")
        a, b = one.values, other.values
        missing = np.isnan(a) & np.isnan(b)
        difference = np.where(missing, 0.0, np.abs(a - b))
        scale = float(np.nanmax(np.abs(np.stack([a, b])), initial=0.0)) if not missing.all() else 0.0
        if not (difference <= rounding * scale).all():
            worst = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
            self._broken(
                law, f"{b.flat[worst]!r} {how}, expected {a.flat[worst]!r} (relative rounding allowed: {rounding:g})"
            )

    @contextmanager
    def _law(self, law: str) -> Iterator[None]:
        try:
            yield
        except ReluscopeError as error:
            raise AssertionError(f"metric {self.metric.name!r} breaks the law {law!r}: {error}") from error

    def _broken(self, law: str, difference: str) -> None:
        raise AssertionError(f"metric {self.metric.name!r} breaks the law {law!r}: {difference}")


def _rows(x: Any, rows: np.ndarray[Any, Any]) -> Any:
    if isinstance(x, dict):
        return {name: part[rows] for name, part in x.items()}
    return tuple(part[rows] for part in x) if isinstance(x, tuple) else x[rows]


# One step for the whole batch and its parts, along the gradient of the whole.
def _step(model: nn.Module, x: Any, y: Tensor) -> OptimizerStep | None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        return None
    with preserved(model), torch.enable_grad():
        output = model(*x) if isinstance(x, tuple) else model(**x) if isinstance(x, dict) else model(x)
        output.double().square().mean().backward()
        return OptimizerStep(torch.optim.SGD(parameters, lr=0.1))


def _is_float64(model: nn.Module) -> bool:
    return all(p.dtype == torch.float64 for p in model.parameters() if p.is_floating_point())


def _floating(state: Any) -> bool:
    if isinstance(state, dict):
        return any(map(_floating, state.values()))
    if isinstance(state, (list, tuple)):
        return any(map(_floating, state))
    return isinstance(state, float) or (isinstance(state, (np.ndarray, np.generic)) and state.dtype.kind in "fc")


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and first.dtype == second.dtype and _bits_equal(first, second)
    if isinstance(first, (np.ndarray, np.generic)):
        return np.array_equal(np.asarray(first), np.asarray(second), equal_nan=first.dtype.kind in "fc")
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(map(_equal, first.values(), second.values()))
        )
    if isinstance(first, (list, tuple)):
        return isinstance(second, type(first)) and len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)


def _bits_equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(((first == second) | ((first != first) & (second != second))).all())


def _encode(state: Any) -> Any:
    if isinstance(state, dict):
        return {"dict": [[key, _encode(value)] for key, value in state.items()]}
    if isinstance(state, (list, tuple)):
        return {type(state).__name__: [_encode(value) for value in state]}
    if isinstance(state, (np.ndarray, np.generic)):
        flat = np.asarray(state).astype(complex).view(float) if state.dtype.kind == "c" else np.asarray(state)
        return {"array": [str(state.dtype), list(state.shape), flat.ravel().tolist()]}
    return {"plain": state}


def _decode(coded: Any) -> Any:
    ((kind, content),) = coded.items()
    if kind == "dict":
        return {key: _decode(value) for key, value in content}
    if kind in ("list", "tuple"):
        return [_decode(value) for value in content] if kind == "list" else tuple(map(_decode, content))
    if kind == "array":
        dtype, shape, values = content
        flat = np.array(values, dtype=float).view(complex) if np.dtype(dtype).kind == "c" else np.array(values)
        return flat.astype(dtype).reshape(shape)
    return content
