"""Hypothesis strategies: small random networks, batches, and what a forward pass shows."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor, nn

from reluscope import zoo
from reluscope.observation import Observation, observe

SEEDS = st.integers(0, 2**31 - 1)


def networks(
    *, smooth: bool = False, dtype: torch.dtype = torch.float64, kinds: tuple[str, ...] | None = None
) -> SearchStrategy[nn.Module]:
    """Draw small random networks that take what `batches` draws.

    Args:
        smooth: Whether some have smooth activations.
        dtype: Of the weights.
        kinds: Keys of `reluscope.zoo.BUILDERS` to draw from; None takes all.

    Returns:
        A strategy of networks in evaluation mode.
    """
    chosen = tuple(zoo.BUILDERS) if kinds is None else kinds
    return st.builds(
        zoo.network,
        kind=st.sampled_from([kind for kind in chosen if smooth or kind not in zoo.SMOOTH]),
        seed=SEEDS,
        dtype=st.just(dtype),
    )


def batches(
    *, min_samples: int = 1, max_samples: int = 8, dtype: torch.dtype = torch.float64
) -> SearchStrategy[tuple[Tensor, Tensor]]:
    """Draw batches that every network of `networks` takes.

    Args:
        min_samples: Least number of samples.
        max_samples: Greatest number of samples.
        dtype: Of the inputs.

    Returns:
        A strategy of inputs `(sample, channel, height, width)` with labels `(sample,)`.
    """
    return st.builds(zoo.batch, seed=SEEDS, samples=st.integers(min_samples, max_samples), dtype=st.just(dtype))


def observations(
    *, affine: bool = False, smooth: bool = False, dtype: torch.dtype = torch.float64, max_samples: int = 8
) -> SearchStrategy[Observation]:
    """Draw observations.

    Args:
        affine: Whether they offer the local affine map; it excludes smooth networks.
        smooth: Whether some networks have smooth activations.
        dtype: Of weights and inputs.
        max_samples: Greatest number of samples.

    Returns:
        A strategy of observations.
    """

    def look(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Observation:
        return observe(model, batch[0], target=batch[1], affine=affine)

    return st.builds(
        look,
        networks(smooth=smooth and not affine, dtype=dtype),
        batches(max_samples=max_samples, dtype=dtype),
    )
