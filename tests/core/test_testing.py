"""The kit finds the liars, each by the law that it breaks, and lets the honest pass."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from torch import nn

from reluscope import zoo
from reluscope.entries import Metric
from reluscope.observation import Observation, observe
from reluscope.testing import batches, check_metric, networks, observations
from reluscope_plugins.geometry import affine_rank
from reluscope_plugins.patterns import firing_rate

pytest_plugins = ["pytester"]


def made(definition: Any, **declared: Any) -> Metric:
    return Metric(name="liar", summary="Made for a test", definition=definition, **declared)


def spread(observation: Observation) -> float:
    return float(observation.output.double().abs().mean())


class Honest:
    """A weighted mean of the output, as a class: what each liar is but for one thing."""

    def measure(self, observation: Observation) -> Any:
        return {"sum": spread(observation) * observation.samples, "samples": observation.samples}

    def merge(self, first: Any, second: Any) -> Any:
        return {key: first[key] + second[key] for key in first}

    def finish(self, state: Any) -> Any:
        return state["sum"] / state["samples"]


class ForgetsWeights(Honest):
    def measure(self, observation: Observation) -> Any:
        return {"sum": spread(observation), "samples": 1}


class AveragesAverages(Honest):
    def measure(self, observation: Observation) -> Any:
        return {"mean": spread(observation)}

    def merge(self, first: Any, second: Any) -> Any:
        return {"mean": (first["mean"] + second["mean"]) / 2}

    def finish(self, state: Any) -> Any:
        return state["mean"]


class KeepsTheFirst(Honest):
    def measure(self, observation: Observation) -> Any:
        return {"first": float(observation.output.double()[0, 0])}

    def merge(self, first: Any, second: Any) -> Any:
        return first

    def finish(self, state: Any) -> Any:
        return state["first"]


class LooksAtTheFirstSample(Honest):
    def measure(self, observation: Observation) -> Any:
        first = float(observation.output.double()[0].abs().mean())
        return {"sum": first * observation.samples, "samples": observation.samples}


class CountsNeighbours(Honest):
    def measure(self, observation: Observation) -> Any:
        signs = (observation.output[:, 0] > 0).int()
        return {"sum": int((signs.diff() != 0).sum()), "samples": observation.samples}


class MergesInPlace(Honest):
    def merge(self, first: Any, second: Any) -> Any:
        first["sum"] += second["sum"]
        first["samples"] += second["samples"]
        return first


class FinishesInPlace(Honest):
    def finish(self, state: Any) -> Any:
        state["sum"] /= state["samples"]
        return state["sum"]


class StateOfTensors(Honest):
    def measure(self, observation: Observation) -> Any:
        return {"sum": observation.output.double().sum(), "samples": observation.samples}


class ForgetsOnCopy(Honest):
    """Keeps what it knows beside the state, which another process does not see."""

    known: dict[int, float] = {}  # noqa: RUF012

    def measure(self, observation: Observation) -> Any:
        state: dict[str, Any] = {"samples": observation.samples}
        self.known[id(state)] = spread(observation) * observation.samples
        keep.append(state)
        return state

    def merge(self, first: Any, second: Any) -> Any:
        state = {"samples": first["samples"] + second["samples"]}
        self.known[id(state)] = self.known[id(first)] + self.known[id(second)]
        keep.append(state)
        return state

    def finish(self, state: Any) -> Any:
        return self.known[id(state)] / state["samples"]


keep: list[Any] = []


class ChangesTheModel(Honest):
    def measure(self, observation: Observation) -> Any:
        with torch.no_grad():
            next(observation.model.parameters()).add_(1e-3)
        return super().measure(observation)


class ChangesTheMode(Honest):
    def measure(self, observation: Observation) -> Any:
        observation.model.train()
        return super().measure(observation)


class ChangesTheInput(Honest):
    def measure(self, observation: Observation) -> Any:
        observation.input.clamp_(min=0)
        return super().measure(observation)


class ChangesThePreactivations(Honest):
    def measure(self, observation: Observation) -> Any:
        observation.preactivation[observation.sites[0]].relu_()
        return super().measure(observation)


class DrawsFromTorch(Honest):
    def measure(self, observation: Observation) -> Any:
        torch.rand(1)
        return super().measure(observation)


class DrawsFromPython(Honest):
    def measure(self, observation: Observation) -> Any:
        random.random()
        return super().measure(observation)


class IsNeverTheSame(Honest):
    calls = 0

    def measure(self, observation: Observation) -> Any:
        type(self).calls += 1
        return {"sum": float(self.calls), "samples": 1}


class WantsAParameter(Honest):
    def __init__(self, *, base: float) -> None:
        self.base = base


class FailsOnSmallBatches(Honest):
    def measure(self, observation: Observation) -> Any:
        return {"sum": 1 / (observation.samples - 1), "samples": 1}


LIARS = {
    "forgets weights": (made(ForgetsWeights), "a batch is the merge of its parts"),
    "averages averages": (made(AveragesAverages), "merge is associative"),
    "keeps the first": (made(KeepsTheFirst), "merge is commutative"),
    "looks at the first sample": (made(LooksAtTheFirstSample), "a batch is the merge of its parts"),
    "counts neighbours": (made(CountsNeighbours), "a batch is the merge of its parts"),
    "merges in place": (made(MergesInPlace), "merge leaves its arguments"),
    "finishes in place": (made(FinishesInPlace), "finish leaves its state"),
    "state of tensors": (made(StateOfTensors), "measure works on every observation"),
    "forgets on copy": (made(ForgetsOnCopy), "a state is plain data"),
    "changes the model": (made(ChangesTheModel), "measuring disturbs nothing"),
    "changes the mode": (made(ChangesTheMode), "measuring disturbs nothing"),
    "changes the input": (made(ChangesTheInput), "measuring disturbs nothing"),
    "changes the pre-activations": (made(ChangesThePreactivations), "measuring disturbs nothing"),
    "draws from torch": (made(DrawsFromTorch), "measuring disturbs nothing"),
    "draws from Python": (made(DrawsFromPython), "measuring disturbs nothing"),
    "is never the same": (made(IsNeverTheSame), "measuring twice gives the same"),
    "wants a parameter": (made(WantsAParameter), "parameters have defaults"),
    "fails on small batches": (made(FailsOnSmallBatches), "measure works on every observation"),
    "dims": (made(Honest, dims=("site",)), "labels are as declared"),
    "dims of an array": (
        made(type("A", (Honest,), {"finish": lambda self, s: xr.DataArray([1.0], dims="unit")}), dims=("class",)),
        "labels are as declared",
    ),
    "units": (
        made(type("U", (Honest,), {"finish": lambda self, s: xr.DataArray(1.0, attrs={"units": "m"})}), units="nat"),
        "labels are as declared",
    ),
    "maximum": (made(Honest, maximum=1e-3), "labels are as declared"),
    "minimum": (made(Honest, minimum=1e3), "labels are as declared"),
    "not a number": (made(lambda o: float("nan")), "labels are as declared"),
    "not averaged": (made(lambda o: o.output.sum()), "a batch is the merge of its parts"),
}


@pytest.mark.parametrize("liar", LIARS)
def test_liars_are_found(liar: str) -> None:
    metric, law = LIARS[liar]
    with pytest.raises(AssertionError) as caught:
        check_metric(metric)
    assert str(caught.value).startswith(f"metric 'liar' breaks the law {law!r}: ")


class Rows:
    """How often each site has each number of active units: a state that can be updated in place, kept and restored."""

    def measure(self, observation: Observation) -> Any:
        return {site: self._counted(observation, site) for site in observation.sites}

    def _counted(self, observation: Observation, site: str) -> Any:
        active = (observation.pattern[site] == 1).sum(1).numpy()
        return np.bincount(active, minlength=observation.site[site].units + 1)

    def merge(self, first: Any, second: Any) -> Any:
        return {site: first[site] + second[site] for site in first}

    def update(self, state: Any, observation: Observation) -> None:
        for site in observation.sites:
            state[site] += self._counted(observation, site)

    def finish(self, state: Any) -> Any:
        return state

    def kept(self, state: Any) -> xr.Dataset:
        about = {"long_name": "counts", "units": "1"}
        counts = np.concatenate(list(state.values()))
        widths = [len(row) for row in state.values()]
        sites = {"site": ("site", list(state), about)}
        return xr.Dataset({"counts": ("pattern", counts, about), "widths": ("site", widths, about)}, sites)

    def restored(self, data: xr.Dataset) -> Any:
        ends = np.cumsum(data["widths"].values)
        pieces = np.split(data["counts"].values, ends)
        return dict(zip(data["site"].values.tolist(), pieces, strict=False))


class UpdateForgets(Rows):
    def update(self, state: Any, observation: Observation) -> None:
        for site in observation.sites:
            state[site][0] += 1


class UpdateReturns(Rows):
    def update(self, state: Any, observation: Observation) -> Any:
        return self.merge(state, self.measure(observation))


class MergeShares(Rows):
    """Merging shares what updating changes."""

    def measure(self, observation: Observation) -> Any:
        return {site: [self._counted(observation, site)] for site in observation.sites}

    def merge(self, first: Any, second: Any) -> Any:
        return {site: [*first[site], *second[site]] for site in first}

    def update(self, state: Any, observation: Observation) -> None:
        for site in observation.sites:
            state[site][0] += self._counted(observation, site)

    def finish(self, state: Any) -> Any:
        return {site: sum(rows) for site, rows in state.items()}


class UpdateTouchesTheObservation(Rows):
    def update(self, state: Any, observation: Observation) -> None:
        super().update(state, observation)
        for site in observation.sites:
            observation.packed[site].zero_()


class UpdatePutsTensors(Rows):
    def update(self, state: Any, observation: Observation) -> None:
        super().update(state, observation)
        state["more"] = torch.zeros(1)


class LooksFurther(Rows):
    def _counted(self, observation: Observation, site: str) -> Any:
        active = (observation.preactivation[site] > 0).sum(1).numpy()
        return np.bincount(active, minlength=observation.site[site].units + 1)


class TellsModesApart(Rows):
    """Does something else where pre-activations are not there."""

    def _counted(self, observation: Observation, site: str) -> Any:
        try:
            return (observation.preactivation[site] < np.inf).sum(0).numpy()
        except KeyError:
            return np.arange(observation.site[site].units)


class KeepsNothing(Rows):
    kept = None  # type: ignore[assignment]


class RestoresTheFirst(Rows):
    seen: Any = None

    def restored(self, data: xr.Dataset) -> Any:
        type(self).seen = self.seen or super().restored(data)
        return self.seen


def mean_active(found: Any) -> Any:
    return {site: float((rows * np.arange(len(rows))).sum() / rows.sum()) for site, rows in found.items()}


def difference(found: Any, other: Any) -> Any:
    one, two = mean_active(found), mean_active(other)
    return {site: abs(one[site] - two[site]) for site in found}


def spoils(found: Any, other: Any) -> Any:
    for rows in found.values():
        rows += 1
    return difference(found, other)


def never_the_same(found: Any, other: Any) -> Any:
    calls.append(1)
    return {site: 0.0 if found is other else len(calls) for site in found}


calls: list[int] = []


def shared(counted: type, function: Callable[..., Any] = mean_active, **declared: Any) -> Metric:
    return made(function, of=counted, dims=("site",), **declared)


SHARED_LIARS = {
    "update forgets": (shared(UpdateForgets), "update is merge with measure"),
    "update returns": (shared(UpdateReturns), "update is merge with measure"),
    "merge shares": (shared(MergeShares), "update changes no other state"),
    "update touches the observation": (shared(UpdateTouchesTheObservation), "update changes no other state"),
    "update puts tensors": (shared(UpdatePutsTensors), "a state is plain data"),
    "a class by itself": (
        made(type("C", (UpdateForgets,), {"finish": lambda self, state: mean_active(state)}), dims=("site",)),
        "update is merge with measure",
    ),
    "patterns are not enough": (
        shared(LooksFurther, needs=frozenset({"patterns"})),
        "what needs patterns looks at nothing else",
    ),
    "modes differ": (
        shared(TellsModesApart, needs=frozenset({"patterns", "targets"})),
        "what needs patterns looks at nothing else",
    ),
    "comparing spoils": (shared(Rows, spoils, compared_with="previous"), "finish leaves its state"),
    "comparing differs": (shared(Rows, never_the_same, compared_with="first"), "comparing twice gives the same"),
    "not kept": (shared(KeepsNothing, difference, compared_with="last"), "what is kept can be restored"),
    "restores another": (shared(RestoresTheFirst, difference, compared_with="last"), "what is kept can be restored"),
}


@pytest.mark.parametrize("liar", SHARED_LIARS)
def test_liars_with_a_shared_state_are_found(liar: str) -> None:
    metric, law = SHARED_LIARS[liar]
    with pytest.raises(AssertionError) as caught:
        check_metric(metric)
    assert str(caught.value).startswith(f"metric 'liar' breaks the law '{law}"), caught.value


def test_what_is_missing_where_patterns_alone_are_kept_is_said() -> None:
    with pytest.raises(AssertionError, match=r"only its pattern was kept; a metric that looks at pre-activations"):
        check_metric(shared(LooksFurther, needs=frozenset({"patterns"})))


@pytest.mark.parametrize("compared_with", ["", "first", "previous", "last"])
def test_the_honest_with_a_shared_state_pass(compared_with: str) -> None:
    function: Any = difference if compared_with else mean_active
    check_metric(shared(Rows, function, needs=frozenset({"patterns"}), compared_with=compared_with))


def test_a_metric_that_depends_on_order_alone() -> None:
    """With parts of one sample each, merging cannot tell; the order of samples does."""

    class Order(Honest):
        def measure(self, observation: Observation) -> Any:
            ranks = np.arange(1, observation.samples + 1)
            values = observation.output.double()[:, 0].numpy()
            return {"rows": [[float(r), float(v)] for r, v in zip(ranks, values, strict=True)]}

        def merge(self, first: Any, second: Any) -> Any:
            shift = len(first["rows"])
            return {"rows": [*first["rows"], *([r + shift, v] for r, v in second["rows"])]}

        def finish(self, state: Any) -> Any:
            return sum(r * v for r, v in state["rows"])

    with pytest.raises(AssertionError, match="merge is commutative"):
        check_metric(made(Order))


@pytest.mark.parametrize("definition", [Honest, spread, lambda o: o.output.float().abs().mean()])
def test_the_honest_pass(definition: Any) -> None:
    check_metric(made(definition, minimum=0.0))


def test_float32_rounding_passes_but_not_more() -> None:
    def rounds(digits: int) -> Callable[[Observation], float]:
        return lambda o: float(o.output.double().abs().mean().float() + o.samples * 10.0**-digits)

    check_metric(made(rounds(9)))
    with pytest.raises(AssertionError, match="a batch is the merge of its parts"):
        check_metric(made(rounds(3)))


def test_counts_have_no_rounding_allowed() -> None:
    class Off(Honest):
        def measure(self, observation: Observation) -> Any:
            return {"sum": 10**9 * observation.samples + (observation.samples == 1), "samples": observation.samples}

    with pytest.raises(AssertionError, match=r"rounding allowed: 0\)"):
        check_metric(made(Off))


def test_names_are_looked_up(lab: Any) -> None:
    check_metric("firing_rate", lab=lab, examples=2)
    check_metric("dead_units", examples=2)


def test_models_of_ones_own() -> None:
    x, y = torch.randn(5, 3).double(), torch.tensor([0, 1, 0, 1, 1])
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).double()
    check_metric(firing_rate, models=[(model, x, y), (model, (x,), y)])
    with pytest.raises(AssertionError, match="gelu"):
        check_metric(affine_rank, models=[(nn.Sequential(nn.Linear(3, 2), nn.GELU()).double(), x, y)])


def test_the_seed_decides() -> None:
    seen: list[list[float]] = []

    def spy(observation: Observation) -> float:
        seen[-1].append(float(observation.output.double().sum()))
        return 0.0

    for seed in (0, 0, 1):
        seen.append([])
        check_metric(made(spy), examples=3, seed=seed)
    assert seen[0] == seen[1] != seen[2]


def test_the_kit_draws_nothing_from_the_global_state() -> None:
    before = torch.get_rng_state(), random.getstate()
    check_metric(firing_rate, examples=6)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@given(networks(smooth=True), batches())
def test_any_network_takes_any_batch(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = batch
    output = model(x)
    assert output.shape == (len(y), zoo.CLASSES)
    assert output.dtype == torch.float64
    assert torch.isfinite(output).all()
    assert not model.training


@given(observations(affine=True))
def test_observations_offer_the_map(observation: Observation) -> None:
    weight, bias = observation.affine()
    x = observation.input.flatten(1)
    product = torch.einsum("noi,ni->no", weight, x) + bias
    torch.testing.assert_close(product, observation.output.flatten(1))


def test_all_kinds_of_sites_occur() -> None:
    seen = set()
    for kind in zoo.BUILDERS:
        observation = observe(zoo.network(kind, seed=0), zoo.batch(0, 8)[0])
        seen |= {site.activation for site in observation.site.values()}
    assert {"relu", "leaky_relu", "prelu", "hardtanh", "gelu", "silu", "max_pool2d"} <= seen


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'xarray', 'numpy', 'hypothesis', 'pydantic'} & set(sys.modules)"
    code = f"import sys, reluscope.testing; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_fixtures_for_plugin_authors(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_lab(lab):
            assert "firing_rate" in lab.metrics

        def test_each(installed_metric):
            assert installed_metric.name
        """
    )
    result = pytester.runpytest_subprocess("-v", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1 + len(_installed()))
    result.stdout.fnmatch_lines(["*test_each?firing_rate? PASSED*"])


def _installed() -> list[str]:
    from reluscope.lab import Lab

    return list(Lab().metrics)
