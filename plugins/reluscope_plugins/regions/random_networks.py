"""Random fully connected networks: Gaussian, uniform or discrete weights, a share of them non-zero."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import nn

from reluscope.errors import RecipeError

Weights = Literal["gaussian", "uniform", "discrete"]
Activation = Literal["relu", "hardtanh", "leaky_relu"]
_MODULES = {"relu": nn.ReLU, "hardtanh": nn.Hardtanh, "leaky_relu": nn.LeakyReLU}


def check_weights(weights: str, weight_std: float, bias_std: float, share: float) -> None:
    """Check the parameters of a distribution of networks.

    Args:
        weights: As of `random_network`.
        weight_std: Likewise.
        bias_std: Likewise.
        share: Likewise.

    Raises:
        RecipeError: If one is out of its range.
    """
    if weights not in get_args(Weights):
        raise RecipeError(f"weights = {weights!r}, expected one of {', '.join(map(repr, get_args(Weights)))}")
    for name, value in (("weight_std", weight_std), ("bias_std", bias_std)):
        if not (math.isfinite(value) and value >= 0):
            raise RecipeError(f"{name} = {value!r}, expected a number of at least 0")
    if not 0 < share <= 1:
        raise RecipeError(f"share = {share!r}, expected the share of weights that are not zero, above 0 and at most 1")


def random_network(
    widths: Sequence[int],
    *,
    generator: torch.Generator,
    weights: Weights = "gaussian",
    weight_std: float = math.sqrt(2.0),
    bias_std: float = 0.0,
    share: float = 1.0,
    activation: Activation = "relu",
) -> nn.Sequential:
    r"""Draw a fully connected network, in float64.

    Each weight is zero with probability $1 - \alpha$, else drawn with mean 0 and variance $\sigma_w^2 / n$, where n is
    the number of inputs of its layer: `"gaussian"` $N(0, \sigma_w^2 / n)$, `"uniform"` $U(-C, C)$ with
    $C = \sigma_w \sqrt{3 / n}$, `"discrete"` $\pm \sigma_w / \sqrt n$ with equal chances. Biases are
    $N(0, \sigma_b^2)$. A ReLU follows each layer but the last.

    Args:
        widths: Number of inputs, of units of each hidden layer, of outputs.
        generator: Source of randomness, on the CPU.
        weights: Distribution of the weights that are not zero.
        weight_std: $\sigma_w$.
        bias_std: $\sigma_b$.
        share: $\alpha$, the share of weights that are not zero.
        activation: Of the hidden layers: `"relu"`, `"hardtanh"` or `"leaky_relu"`, as torch has them by default.

    Returns:
        The network.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Raghu et al. 2017, section 2; Price & Tanner 2019 (sparse distributions).

    Example:
        >>> model = random_network([2, 3, 1], generator=torch.Generator().manual_seed(0), weights="discrete")
        >>> model[0].weight.detach().abs().round(decimals=9).unique().tolist()
        [1.0]
    """
    check_weights(weights, weight_std, bias_std, share)
    if len(widths) < 2 or min(widths) < 1:
        raise RecipeError(f"widths = {list(widths)}, expected at least the numbers of inputs and outputs, all above 0")
    if activation not in _MODULES:
        raise RecipeError(f"activation = {activation!r}, expected one of {', '.join(map(repr, _MODULES))}")
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float64)
        like = {"dtype": torch.float64, "generator": generator}
        if weights == "gaussian":
            drawn = torch.randn(outputs, inputs, **like)  # type: ignore[call-overload]
        else:
            drawn = 2 * torch.rand(outputs, inputs, **like) - 1  # type: ignore[call-overload]
            drawn = math.sqrt(3) * drawn if weights == "uniform" else torch.where(drawn < 0, -1.0, 1.0).double()
        kept = torch.rand(outputs, inputs, **like) < share  # type: ignore[call-overload]
        with torch.no_grad():
            layer.weight.copy_(drawn * kept * (weight_std / math.sqrt(inputs)))
            layer.bias.copy_(bias_std * torch.randn(outputs, **like))  # type: ignore[call-overload]
        layers += [layer, _MODULES[activation]()]
    return nn.Sequential(*layers[:-1])
