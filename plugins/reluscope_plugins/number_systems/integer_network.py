"""A whole network in integer arithmetic: from the rounded input to the logits no number is a float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope.errors import NotFiniteError, ReluscopeError, nearest
from reluscope.finite import trouble
from reluscope.quantization_arguments import checked_seed
from reluscope_plugins.number_systems.fixed16 import Fixed16
from reluscope_plugins.number_systems.integer_conversion import SUPPORTED, convert
from reluscope_plugins.number_systems.integer_layers import Precision
from reluscope_plugins.number_systems.integer_steps import Cost, Product, Step
from reluscope_plugins.number_systems.psb import PSB

DRAWS = ("pass", "product")
LONG_NAMES: Mapping[str, str] = {
    "additions": "additions and subtractions for the whole batch",
    "shifts": "shifts for the whole batch",
    "random_bits": "random choices between two shifts for the whole batch",
    "overflows": "additions and shifts to the left that overflowed 32 bits",
    "saturations": "outputs that were saturated at 16 bits",
}


@dataclass(frozen=True)
class IntegerRun:
    """What an integer network gives for a batch.

    Attributes:
        logits: int16 `(sample, ...)`, in units of 2^-fraction_bits.
        fraction_bits: Bits behind the point.
        operations: `additions`, `shifts`, `random_bits`, `overflows`, `saturations` and `guard_bits`, `(layer,)`, for
            the whole batch, and `input_saturations`.
    """

    logits: Tensor
    fraction_bits: int
    operations: xr.Dataset

    @property
    def values(self) -> Tensor:
        """The logits as float32, exact."""
        return self.logits.float() * 2.0**-self.fraction_bits


class IntegerNetwork:
    """A network of shifts and additions; `integer_network` makes it.

    Args:
        steps: What is done, in order.
        fraction_bits: Of inputs, outputs and all activations.
    """

    def __init__(self, steps: list[Step], fraction_bits: int) -> None:
        self.steps = steps
        self.fraction_bits = fraction_bits

    def run(self, x: Tensor, *, seed: int = 0) -> IntegerRun:
        """Run the network in integers.

        Inputs are rounded to fixed point first (half to even, saturating). Random bits are drawn from the float
        weights' probabilities; nothing else is looked at but integers.

        Args:
            x: Inputs, floating point `(sample, ...)`.
            seed: Of the random bits.

        Returns:
            Logits and what they cost.

        Raises:
            ReluscopeError: If the shape does not fit a layer.
            NotFiniteError: If an input is not finite.
        """
        return self._go(x, seed, simulated=False)

    def simulate(self, x: Tensor, *, seed: int = 0) -> IntegerRun:
        """Find the same in float64, by matrix products: for the same seed equal bit for bit.

        The order of the additions is not looked at, so `overflows` counts outputs for which every order overflows.

        Args:
            x: Inputs, floating point `(sample, ...)`.
            seed: Of the random bits.

        Returns:
            Logits and what they would cost in integers.

        Raises:
            ReluscopeError: If the shape does not fit a layer.
            NotFiniteError: If an input is not finite.
        """
        return self._go(x, seed, simulated=True)

    def _go(self, x: Tensor, seed: int, simulated: bool) -> IntegerRun:
        generator = torch.Generator().manual_seed(checked_seed(seed))
        if what := trouble(x):
            raise NotFiniteError(f"the input of the network holds {what}; expected finite values; clean the data")
        encoded = Fixed16(self.fraction_bits).encode(x.cpu())
        values, costs = encoded.codes, []
        for step in self.steps:
            values, cost = step(values, generator, simulated=simulated)
            costs.append(cost)
        return IntegerRun(values.to(x.device), self.fraction_bits, self._labelled(costs, encoded.saturated, simulated))

    def _labelled(self, costs: list[Cost], saturated: int, simulated: bool) -> xr.Dataset:
        names = dict(LONG_NAMES)
        if simulated:
            names["overflows"] = "outputs for which every order of the additions overflows 32 bits"
        data = xr.Dataset(
            {
                name: ("layer", np.array([getattr(cost, name) for cost in costs], dtype=np.int64), {"units": "1"})
                for name in names
            },
            coords={"layer": np.array([step.name for step in self.steps], dtype=np.str_)},
        )
        for name, text in names.items():
            data[name].attrs["long_name"] = text
        guards = np.array([step.guard_bits for step in self.steps], dtype=np.int64)
        said = "bits by which inputs are shifted to the left ahead of all shifts"
        data["guard_bits"] = ("layer", guards, {"units": "1", "long_name": said})
        said = "inputs that were saturated at 16 bits"
        data["input_saturations"] = ((), np.int64(saturated), {"units": "1", "long_name": said})
        return data


def integer_network(
    model: nn.Module,
    *,
    samples: int = 16,
    fraction_bits: int = 8,
    guard_bits: int | Mapping[str, int] | None = None,
    draws: str = "pass",
    system: PSB | None = None,
) -> IntegerNetwork:
    """Convert a trained network to integer arithmetic: stochastic weights, shifts and additions.

    Each layer gives

        y = saturate(round((((sum over inputs and samples of s (x << (e + B + G))) >> log2 n) + b) 2^-G))

    in accumulators of 32 bits. Batch normalisation is folded into the layer before it; dropout is left out. The model
    is not changed, and taken as it is in evaluation.

    Args:
        model: `torch.nn.Sequential`, nested or not, of supported modules.
        samples: n, samples of each product, a power of two.
        fraction_bits: Bits of the activations that lie behind the point, from 0 to 15.
        guard_bits: G, of all layers with weights or by layer. By default, and for layers that are not named, the most
            with which no input and no draw can overflow, but no more than lose nothing.
        draws: `"pass"`: one draw of each weight for a batch; `"product"`: draws of each product's own.
        system: Progressive stochastic binarization with its parameters; by default with full precision.

    Returns:
        The network; `run` gives logits and counts.

    Raises:
        ReluscopeError: If a module is not supported, or a parameter is out of range.
        NotFiniteError: If a weight is not finite.

    References:
        Hartmann 2025, equation 4.9 and section 4.2.1.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 1))
        >>> _ = nn.init.constant_(model[0].weight, 0.75), nn.init.constant_(model[0].bias, 0.5)
        >>> run = integer_network(model, samples=64).run(torch.tensor([[1.0, -1.0], [0.5, 0.0]]))
        >>> run.logits.dtype, run.logits.shape
        (torch.int16, torch.Size([2, 1]))
        >>> int(run.operations["additions"].sel(layer="0"))  # 2 samples x 2 products x 64, and a bias for each sample
        258
    """
    if draws not in DRAWS:
        raise ReluscopeError(f"draws: got {draws!r}, expected 'pass' or 'product'. {nearest(str(draws), DRAWS)}")
    if type(model) is not nn.Sequential:
        raise ReluscopeError(f"model: got {type(model).__name__}, expected torch.nn.Sequential of {SUPPORTED}")
    # these refuse what is out of range
    fraction_bits, samples = Fixed16(fraction_bits).fraction_bits, Precision(samples, 0, 0, 0).samples
    steps = convert(
        model,
        samples=samples,
        fraction_bits=fraction_bits,
        guard_bits=guard_bits,
        own=draws == "product",
        system=system or PSB(),
    )
    if not any(isinstance(step, Product) for step in steps):
        raise ReluscopeError(
            "model: got a network without a Linear or Conv2d, expected at least one; nothing would be drawn"
        )
    return IntegerNetwork(steps, fraction_bits)
