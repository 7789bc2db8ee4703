"""Compare the affine map with the network itself, on both sides of the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

_SEED = 0xB07
_ROUNDINGS = 256
_NOISE = 8
_SHARE = {torch.float64: 0.1, torch.float32: 0.5}


@dataclasses.dataclass(frozen=True)
class Probe:
    """Values of a network on both sides of an input.

    With the patterns of all sites held as they are at x, f(x + s) - f(x - s) is 2 W s wherever nothing else bends
    between, whatever the graph says. A step has the length 4 sqrt(u) relative to the input, with u the rounding unit of
    the coarsest dtype in play: short, so that little else bends, yet long enough to stand out of the rounding.

    Attributes:
        step: x_+ - x_-, `(sample, in)`.
        share: Of a change, what counts.
        sides: Of the output (None) and of sites: the values at x, x_+ and x_-, each `(sample, out)`.
    """

    step: torch.Tensor
    share: float
    sides: Mapping[str | None, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

    def mismatch(self, target: str | None, pushed: torch.Tensor) -> int | None:
        """Find a sample on which the map does not tell how the network changes.

        With d the central difference, W s what the map says of it and a = f(x_+) + f(x_-) - 2 f(x), a sample is refused
        if |d - W s| > 256 u |f(x)| + 8 |a|, and more than a share (a tenth in double precision, a half in single) of
        the larger of |d| and |W s|. The first term is the rounding of the outputs.
        The second is what rounding within the network, and bends other than at sites, are seen to do: an affine
        function has a = 0, and a sample at a kink is left out. As a single number may be small by chance, |a| and the
        larger of |d| and |W s| are taken not below their lower quartiles over the batch.

        Args:
            target: Site, None for the output.
            pushed: W times the step, `(sample, out)`.

        Returns:
            Number of a sample, None if all agree.
        """
        if target not in self.sides:
            return None
        here, above, below = (side.to(torch.float64) for side in self.sides[target])
        if not here.shape == above.shape == below.shape == pushed.shape:
            return None
        dtype = self.sides[target][0].dtype
        change, told = (above - below).nan_to_num(0, 0, 0), pushed.to(torch.float64)
        bend = (above + below - 2 * here).nan_to_num(0, 0, 0)
        error, size = _length(change - told), torch.maximum(_length(change), _length(told))
        noise, size = _raised(_length(bend)), _raised(size)
        bound = _ROUNDINGS * torch.finfo(dtype).eps / 2 * _length(here.nan_to_num(0, 0, 0)) + _NOISE * noise
        refused = (error > bound) & (error > self.share * size)
        return int(refused.nonzero()[0]) if bool(refused.any()) else None


def shifts(tensors: Sequence[torch.Tensor], unit: float) -> list[torch.Tensor]:
    """Draw a step for each input.

    Args:
        tensors: The floating inputs, samples first.
        unit: Rounding unit of the coarsest dtype in play.

    Returns:
        One step for each input, as long as it relative to its own values.
    """
    generator = torch.Generator().manual_seed(_SEED)
    drawn = []
    for tensor in tensors:
        flat = tensor.detach().reshape(len(tensor), -1).to(torch.float64)
        scale = flat.square().mean(1, keepdim=True).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        # Drawn on the CPU, so that a verdict does not depend on the device.
        step = torch.randn(flat.shape, generator=generator, dtype=torch.float64).to(flat.device)
        drawn.append((4 * unit**0.5 * scale * step).view(tensor.shape).to(tensor.dtype))
    return drawn


def probed(
    leaves: Sequence[torch.Tensor],
    here: Mapping[str | None, torch.Tensor],
    look: Callable[[Sequence[torch.Tensor]], Mapping[str | None, torch.Tensor]],
) -> Probe | None:
    """Look at a network on both sides of its input.

    Args:
        leaves: The floating inputs, samples first.
        here: The values there, of the output (None) and of sites: `(sample, out)`.
        look: From other inputs to the values there: one forward pass.

    Returns:
        What it showed; None where the rounding would hide it: in half precision, in autocast, and in single precision
        on a GPU, whose products may be rounded to half.
    """
    inputs = [leaf.detach() for leaf in leaves]
    values = [*inputs, *here.values()]
    coarsest = max((value.dtype for value in values), key=lambda dtype: torch.finfo(dtype).eps)
    device = inputs[0].device.type
    on_gpu = device != "cpu" and coarsest == torch.float32
    if coarsest not in _SHARE or on_gpu or torch.is_autocast_enabled(device):
        return None
    steps = shifts(inputs, torch.finfo(coarsest).eps / 2)
    sides = [[x + sign * step for x, step in zip(inputs, steps, strict=True)] for sign in (1, -1)]
    above, below = (look(side) for side in sides)
    wide = [(up - down).reshape(len(up), -1) for up, down in zip(*sides, strict=True)]
    both = {name: (here[name], above[name], below[name]) for name in here if name in above and name in below}
    return Probe(torch.cat([step.to(wide[0].dtype) for step in wide], dim=1), _SHARE[coarsest], both)


def _raised(values: torch.Tensor) -> torch.Tensor:
    return torch.maximum(values, values.kthvalue((len(values) + 3) // 4).values)


def _length(values: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = torch.linalg.vector_norm(values, dim=1)
    return length
