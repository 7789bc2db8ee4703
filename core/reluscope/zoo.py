"""Small random networks and data, on which the laws of metrics are checked.

All take the same input, `(sample, channel, height, width)` of `INPUT`, and give logits of `CLASSES` classes, so that
any network goes with any batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT = (1, 4, 4)
"""Shape of one sample."""

CLASSES = 3
"""Number of logits."""


class Reused(nn.Module):
    """One ReLU module used twice, and a functional one in between, with a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, CLASSES)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            x: `(sample, channel, height, width)`.

        Returns:
            `(sample, class)`.
        """
        h = self.relu(self.first(x.flatten(1)))
        h = h + functional.relu(self.second(h))
        out: Tensor = self.last(self.relu(h - 0.5))
        return out


def _relu() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, CLASSES))


def _leaky() -> nn.Module:
    layers = [nn.Linear(16, 7), nn.LeakyReLU(0.1), nn.Linear(7, 7), nn.PReLU(), nn.Linear(7, CLASSES)]
    return nn.Sequential(nn.Flatten(), *layers)


def _three_states() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.ReLU6(), nn.Linear(8, 6), nn.Hardtanh(), nn.Linear(6, CLASSES)
    )


def _convolution() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():  # as after training: not the identity
        nn.init.normal_(norm.running_mean, std=0.3)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    convolution = [nn.Conv2d(1, 3, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolution, nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES))


def _smooth() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.GELU(), nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, CLASSES))


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "relu": _relu,
    "leaky": _leaky,
    "three_states": _three_states,
    "convolution": _convolution,
    "reused": Reused,
    "smooth": _smooth,
}
"""What kinds of network there are."""

SMOOTH = frozenset({"smooth"})
"""Kinds that are not piecewise linear."""


def network(kind: str, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Build a small random network; the global random state stays as it is.

    Args:
        kind: A key of `BUILDERS`.
        seed: Of the weights.
        dtype: Of the weights.

    Returns:
        The network, in evaluation mode. Some of its units are dead, some always active.

    Example:
        >>> network("relu", seed=0)(batch(seed=0, samples=5)[0]).shape
        torch.Size([5, 3])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BUILDERS[kind]().to(dtype)
        with torch.no_grad():
            layers = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
            for layer in layers:
                layer.weight.mul_(2.5)  # else the biases alone decide which logit is the largest
                if layer.bias is not None:
                    layer.bias.add_(torch.randn_like(layer.bias), alpha=0.5)
                    layer.bias[0] -= 0.0 if layer is layers[-1] else 4.0  # a unit that is hardly ever active
    return model.eval()


def batch(seed: int, samples: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Draw a batch.

    Args:
        seed: Of the data.
        samples: How many.
        dtype: Of the inputs.

    Returns:
        Inputs `(sample, channel, height, width)` and labels `(sample,)`.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, *INPUT, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(CLASSES, (samples,), generator=generator)
