"""The plugin author's kit: checks of metrics, number systems and claims, hypothesis strategies, and a pytest plugin.

The pytest plugin offers the fixtures `lab`, all that is installed, and `installed_metric` and `installed_claim`, which
run a test once for each metric and each claim of any plugin. pytest imports this module in every session on the
machine, so nothing heavy is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest
    import torch

    from reluscope.entries import Claim, Metric
    from reluscope.lab import Lab
    from reluscope.number_system import System
    from reluscope.strategies import batches as batches
    from reluscope.strategies import networks as networks
    from reluscope.strategies import observations as observations

__all__ = ["batches", "check_claim", "check_metric", "check_number_system", "networks", "observations"]

SAMPLES = (2, 9)
"""Least and greatest number of samples in a case."""


def check_metric(
    metric: Metric | str,
    *,
    lab: Lab | None = None,
    models: Iterable[tuple[torch.nn.Module, Any, torch.Tensor]] | None = None,
    examples: int = 20,
    seed: int = 0,
) -> None:
    """Check the laws of a metric on small random networks and data.

    Merge is associative and commutative with None as its identity; a batch is the merge of its parts, however it is
    split; the order of samples does not matter; dims, units, range and finite values are as declared; a state is plain
    data that survives a round trip through text; measuring disturbs neither the network nor its inputs nor the random
    state, merging and finishing leave their arguments; parameters have defaults. Where the class has `update`, it gives
    what measuring and merging give, and changes no other state. A metric that compares two moments gives the same
    twice, and for one that compares with the last, what is kept can be restored. One that declares `needs={"patterns"}`
    gives the same where nothing else is kept. `reluscope.laws` says which rounding is allowed where.

    Args:
        metric: An entry, or a name.
        lab: Where a name is looked up; None takes all that is installed.
        models: Networks in evaluation mode, each with inputs `(sample, ...)` and labels `(sample,)` of at least two
            samples, in float64 where the splitting is to be checked too. None takes the kit's own: dense, leaky,
            three-state, convolutional with batch normalisation and max-pooling, reused modules; smooth ones unless the
            metric needs the affine map; a quarter of them in float32.
        examples: How many cases of the kit's own.
        seed: Of networks, data and splittings.

    Raises:
        AssertionError: If a law is broken; names the metric, the law and the difference.

    Example:
        >>> from reluscope_plugins.patterns import firing_rate
        >>> check_metric(firing_rate, examples=2)
    """
    import numpy as np

    from reluscope.laws import Laws

    if isinstance(metric, str):
        from reluscope.lab import Lab

        metric = (Lab() if lab is None else lab).metrics[metric]
    laws = Laws(metric)
    laws.declaration()
    generator = np.random.default_rng(seed)
    for model, x, y in _cases(metric, examples, generator) if models is None else models:
        laws.case(model, x, y, generator)


def check_number_system(system: System | str, *, lab: Lab | None = None, seed: int = 0) -> None:
    """Check the laws of a number system on small random weights.

    Draws have the mean and the variance that the system says, neighbouring weights and consecutive draws are
    independent; the variance falls with the number of samples; a decoded number is encoded to itself; shapes and dtypes
    are kept; the same seed draws the same, and a system without chance always the same; counts, where there are any,
    give the draws; weights that are not finite are refused; the weight and torch's random state are left alone. A sound
    system is failed by chance with a probability below 1e-6.

    Args:
        system: An instance, or a name, which is built without parameters.
        lab: Where a name is looked up; None takes all that is installed.
        seed: Of weights and draws.

    Raises:
        AssertionError: If a law is broken; names the system, the law and the difference.

    Example:
        >>> check_number_system("ternary")
    """
    from reluscope.number_laws import NumberLaws, weights

    name = system if isinstance(system, str) else type(system).__name__
    if isinstance(system, str):
        from reluscope.lab import Lab

        system = (Lab() if lab is None else lab).number_systems[system].build()
    laws = NumberLaws(name, system)
    laws.declaration()
    for number, (weight, samples) in enumerate(weights(seed)):
        laws.case(weight, samples, seed + number)


def check_claim(claim: Claim | str, *, lab: Lab | None = None, examples: int = 100, seed: int = 0) -> None:
    """Check that the verdict on a claim is the one that its entry records.

    Args:
        claim: An entry, or a name.
        lab: Where a name is looked up; None takes all that is installed.
        examples: How many cases are tried; a statistical claim takes a twentieth.
        seed: Of the cases and observations.

    Raises:
        AssertionError: If the verdict is another, or there is none; names the claim and the smallest counterexample.

    Example:
        >>> check_claim("psb_variance_bound", examples=10)
    """
    from reluscope.verification import judge

    if isinstance(claim, str):
        from reluscope.lab import Lab

        claim = (Lab() if lab is None else lab).claims[claim]
    found = judge(claim, examples=examples, seed=seed)
    if found.problem:
        raise AssertionError(found.problem)
    if not found.as_recorded:
        raise AssertionError(
            f"claim {claim.name!r} is {found.verdict} after {found.cases} cases (counterexample "
            f"{found.counterexample}), its entry records {claim.verdict}; mend the claim, or record what was found"
        )


def _cases(metric: Metric, examples: int, generator: Any) -> Iterable[tuple[torch.nn.Module, Any, torch.Tensor]]:
    import torch

    from reluscope import zoo

    kinds = [kind for kind in zoo.BUILDERS if "affine" not in metric.needs or kind not in zoo.SMOOTH]
    for example in range(examples):
        dtype = torch.float32 if example % 4 == 3 else torch.float64
        model_seed, data_seed = (int(value) for value in generator.integers(2**31, size=2))
        x, y = zoo.batch(data_seed, int(generator.integers(*SAMPLES, endpoint=True)), dtype)
        yield zoo.network(kinds[example % len(kinds)], model_seed, dtype), x, y


def __getattr__(name: str) -> Any:
    if name in ("batches", "networks", "observations"):
        from reluscope import strategies

        return getattr(strategies, name)
    raise AttributeError(f"module 'reluscope.testing' has no attribute {name!r}")


def pytest_configure(config: pytest.Config) -> None:
    """Offer the fixture `lab`.

    Args:
        config: The session's configuration.
    """
    import pytest

    @pytest.fixture(scope="session")
    def lab() -> Lab:
        """Look entries up.

        Returns:
            All that is installed.
        """
        from reluscope.lab import Lab

        return Lab()

    fixtures: Any = ModuleType("reluscope_fixtures")  # at this module's top level, the decorator would need pytest
    fixtures.lab = lab
    config.pluginmanager.register(fixtures, "reluscope-fixtures")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `installed_metric` or `installed_claim` once for each of those that are installed.

    Args:
        metafunc: The test.
    """
    for fixture, kind in (("installed_metric", "metrics"), ("installed_claim", "claims")):
        if fixture in metafunc.fixturenames:
            from reluscope.lab import Lab

            shelf = Lab().shelf(kind)
            metafunc.parametrize(fixture, list(shelf.values()), ids=list(shelf))
