"""The sawtooth: the mirror map composed with itself, whose pieces double with every two layers."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from reluscope_plugins.architectures.checks import check_size


@torch.no_grad()
def sawtooth(compositions: int = 6) -> nn.Sequential:
    r"""Build the mirror map composed n times: a triangular wave of $2^n$ pieces of equal length on [0, 1].

    The mirror map $f(x) = 2 x$ up to 1/2 and $2 (1 - x)$ from there is, as layers of two units and of one,

    $$f(x) = \operatorname{ReLU}(2 \operatorname{ReLU}(x) - 4 \operatorname{ReLU}(x - \tfrac12)),$$

    and 0 beyond [0, 1]. So the network has 2 n layers, `linear1`, `relu1`, ..., and 3 n units. Each linear layer has a
    bias, which is zero but for the -1/2 of each odd layer: a training may move it, a multiplicative perturbation leaves
    it at zero. All weights, and the network's values at multiples of $2^{-k}$, are dyadic: exact in float64 as long as
    n + k stays below 53.

    Args:
        compositions: n, how often the mirror map is applied.

    Returns:
        The network, of weights that are not random; it takes and gives (sample, 1).

    Raises:
        RecipeError: If n is not an integer of at least 1.

    References:
        Jeong, Barton and Ramirez 2020 (ICERM), the mirror map as a two-layer network; Telgarsky 2015, section 2.2.

    Example:
        >>> model = sawtooth(2)
        >>> model(torch.tensor([[0.0], [0.25], [0.5], [0.75], [1.0]])).flatten().tolist()
        [0.0, 1.0, 0.0, 1.0, 0.0]
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, 2 * check_size("sawtooth", "compositions", compositions), 2):
        split, join = nn.Linear(1, 2), nn.Linear(2, 1)
        split.weight.copy_(torch.tensor([[1.0], [1.0]]))
        split.bias.copy_(torch.tensor([0.0, -0.5]))
        join.weight.copy_(torch.tensor([[2.0, -4.0]]))
        join.bias.zero_()
        layers |= {f"linear{number}": split, f"relu{number}": nn.ReLU()}
        layers |= {f"linear{number + 1}": join, f"relu{number + 1}": nn.ReLU()}
    return nn.Sequential(layers)
