"""The laws of a number system, checked on small random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from reluscope.errors import NotFiniteError
from reluscope.number_system import Counted, System

DRAWS = 60
"""Draws of each tensor."""
SIGMAS = 6.5
"""How far a mean may be off, in its standard deviations: 1e-10 of the normal distribution, which at 10,000 terms
leaves room for those that are not normal."""
FEW = 0.05
"""Weights of a variance below this share of the largest are left out: their draws are skew, so sums are less normal."""
EPSILONS = 4
"""Roundings by which a number may change that is encoded once more."""


class NumberLaws:
    """Checks one system.

    Args:
        name: Of the system, for messages.
        system: An instance.
    """

    def __init__(self, name: str, system: System) -> None:
        self.name = name
        self.system = system

    def declaration(self) -> None:
        """Check what does not depend on weights."""
        system = self.system
        self._holds(isinstance(system, System), "it offers encode, decode, mean, variance, draw, bits, operations")
        self._holds(system.bits > 0, f"bits is positive; got {system.bits!r}")
        self._holds(isinstance(system.stochastic, bool), f"stochastic is a bool; got {system.stochastic!r}")
        operations = system.operations
        self._holds(
            isinstance(operations, Mapping) and bool(operations) and all(count > 0 for count in operations.values()),
            f"operations maps names to positive numbers; got {operations!r}",
        )
        for bad in (float("nan"), float("inf")):
            try:
                system.encode(torch.tensor([1.0, bad]))
            except NotFiniteError:
                continue
            self._holds(False, f"a weight that holds {bad} is refused with a NotFiniteError")

    def case(self, weight: torch.Tensor, samples: int, seed: int) -> None:
        """Check the laws on one weight.

        Args:
            weight: Floating point, finite.
            samples: Number of samples.
            seed: Of the draws.
        """
        system, before, state = self.system, weight.clone(), torch.get_rng_state()
        encoded = system.encode(weight)
        decoded, mean, variance = system.decode(encoded), system.mean(encoded), system.variance(encoded, samples)
        drawn = system.draw(encoded, samples, _generator(seed))
        self._holds(torch.equal(weight, before), "the weight is left as it is")
        dtypes = {weight.dtype, torch.float64 if weight.dtype == torch.float64 else torch.float32}
        for what, result in {"decode": decoded, "mean": mean, "variance": variance, "draw": drawn}.items():
            self._holds(
                result.shape == weight.shape and result.dtype in dtypes,
                f"{what} of a {weight.dtype} weight of shape {tuple(weight.shape)} keeps the shape and gives one of "
                f"{dtypes}; got {result.dtype} of shape {tuple(result.shape)}",
            )
            self._holds(bool(result.isfinite().all()), f"{what} gives finite values")
        self._holds(bool((variance >= 0).all()), "a variance is not negative")
        again = system.decode(system.encode(decoded))
        self._near(again, decoded, "a decoded number is encoded and decoded to itself")
        self._near(system.variance(encoded, 4 * samples) * 4, variance, "the variance falls with the number of samples")
        same = system.draw(encoded, samples, _generator(seed))
        self._holds(torch.equal(same, drawn), "the same seed draws the same")
        if isinstance(system, Counted):
            counts = system.counts(encoded, samples, _generator(seed))
            self._holds(
                torch.equal(system.from_counts(encoded, counts, samples), drawn), "draw is from_counts of counts"
            )
        if system.stochastic:
            self._moments(encoded, samples, seed)
        else:
            generator = _generator(seed)
            self._holds(
                torch.equal(system.draw(encoded, samples, generator), decoded), "without chance, draw is decode"
            )
            self._holds(torch.equal(mean, decoded), "without chance, mean is decode")
            self._holds(not variance.any(), "without chance, the variance is zero")
            self._holds(torch.equal(generator.get_state(), _generator(seed).get_state()), "no random number is drawn")
        self._holds(torch.equal(torch.get_rng_state(), state), "torch's random state is left as it is")

    def _moments(self, encoded: Any, samples: int, seed: int) -> None:
        """Compare mean and variance of draws with what the system says.

        Null: all draws are independent, with that mean and that variance. Each deviation over its standard deviation is
        a term of a sum, so is its square less one, and its product with that of a neighbour; such a sum is normal but
        for its skewness.
        """
        mean, variance = self.system.mean(encoded).double(), self.system.variance(encoded, samples).double()
        random = variance > FEW * variance.max() if variance.numel() else variance > 0
        generator = _generator(seed)
        draws = torch.stack([self.system.draw(encoded, samples, generator).double() for _ in range(DRAWS)])
        fixed = variance == 0
        self._near(draws[:, fixed], mean[fixed].expand(DRAWS, -1), "what has no variance is drawn as its mean")
        if int(random.sum()) * DRAWS < 10_000:
            return
        scaled = ((draws - mean)[:, random] / variance[random].sqrt()).flatten()
        signs = mean.sign()[random].expand(DRAWS, -1).flatten()
        terms = {
            "mean": scaled * signs,
            "variance": scaled**2 - 1,
            "independence": _neighbours(draws - mean, variance, random),
        }
        for what, values in terms.items():
            off = float(values.mean() / (values.std() / values.numel() ** 0.5))
            self._holds(
                abs(off) < SIGMAS, f"{what} of {values.numel()} draws at {samples} samples; off by {off:.1f} sigma"
            )

    def _near(self, got: torch.Tensor, expected: torch.Tensor, law: str) -> None:
        room = EPSILONS * torch.finfo(expected.dtype).eps * expected.abs()
        self._holds(bool(((got - expected).abs() <= room).all()), law)

    def _holds(self, good: bool, law: str) -> None:
        if not good:
            raise AssertionError(f"number system {self.name!r} breaks a law: {law}")


def _neighbours(deviations: torch.Tensor, variance: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
    # products of the deviations of neighbouring weights, and of each weight in consecutive draws
    scaled = torch.where(random, deviations / torch.where(random, variance, 1.0).sqrt(), 0.0).flatten(1)
    return torch.cat([(scaled[:, 1:] * scaled[:, :-1]).flatten(), (scaled[1:] * scaled[:-1]).flatten()])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(seed: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Make weights that a system must cope with.

    Args:
        seed: Of the weights.

    Yields:
        Weights and a number of samples.
    """
    generator = _generator(seed)
    many = torch.randn(20, 30, generator=generator)
    shapes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda w: w,
        lambda w: w.double(),
        lambda w: w.bfloat16(),
        lambda w: w.half(),
        lambda w: w.T,
        lambda w: w[::2, 1::3],
        lambda w: w[0, 0],
        lambda w: w[:0],
        lambda w: w * 0,
        lambda w: w * (w > 0.5),
        lambda w: 2.0 ** (8 * w).round(),
    ]
    for number, shape in enumerate(shapes):
        yield shape(many), (16, 1, 3, 64, 2)[number % 5]
