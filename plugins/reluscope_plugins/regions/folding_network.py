"""The network that attains Montúfar's bound: each layer folds the cube onto itself, the last one cuts it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from reluscope_plugins.regions.region_bounds import montufar_lower_bound


def folding_network(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    r"""Build a ReLU network with exactly as many regions in the unit cube as Montúfar's bound says.

    Each hidden layer but the last takes $p = \lfloor n_l / n_0 \rfloor$ units to each coordinate, $\mathrm{ReLU}(x - k
    / p)$ for $k = 0, \ldots, p - 1$, whose combination $p x - 2 p\,\mathrm{ReLU}(x - 1/p) + 2 p\,\mathrm{ReLU}(x - 2/p)
    - \ldots$ is a zigzag of p pieces, each onto [0, 1]: the cube is folded onto itself $p^{n_0}$ times. The combination
    is part of the next layer's weights. Units that are left over are silent.

    The last layer's hyperplanes are in general position, with all their regions in the cube. Unit i is zero where
    $t_i^{n_0} + \sum_k \binom{n_0}{k} u_k t_i^k = 0$ with $u = 2 x - 1$: a point is a monic polynomial, and where $n_0$
    of them meet it has these t for its roots. So $|u_k| < 1$ there, as $|t_i| < 1$; no further one goes through the
    point; and as each region has such a point at its edge (or, with fewer units than inputs, all share one), each meets
    the cube.

    What is counted are activation patterns. Where all units of the last layer are silent the network is constant, and
    the folds between such regions do not bend its function.

    Args:
        inputs: Dimension of the input, $n_0$.
        widths: Units of the hidden layers, each at least $n_0$ but for the last.

    Returns:
        Linear layers and ReLUs in float64, with one output. In all of the input space it has more regions than in the
        cube.

    References:
        Montúfar, Pascanu, Cho & Bengio 2014, section 3; the source's units fold onto (0, 1/2) and its
        last layer is left open.

    Example:
        >>> from reluscope_plugins.regions.box_regions import box_regions
        >>> model = folding_network(2, [4, 3])
        >>> found = box_regions(model, torch.zeros(2), torch.ones(2))
        >>> found.sizes["region"], montufar_lower_bound(2, [4, 3])
        (28, 28)
    """
    montufar_lower_bound(inputs, widths)  # which checks the numbers
    layers: list[nn.Module] = []
    unfold, shift = torch.eye(inputs, dtype=torch.float64), torch.zeros(inputs, dtype=torch.float64)
    for width in widths[:-1]:
        folds = width // inputs
        coordinate = torch.arange(folds * inputs) // folds
        kink = torch.arange(folds * inputs) % folds / folds
        weight, bias = torch.zeros(width, inputs, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
        weight[torch.arange(folds * inputs), coordinate] = 1.0
        bias[: folds * inputs] = -kink
        layers += [_linear(weight @ unfold, weight @ shift + bias), nn.ReLU()]
        sign = torch.where(torch.arange(folds) % 2 == 0, 2.0, -2.0).double() * folds
        sign[0] = folds
        unfold = torch.zeros(inputs, width, dtype=torch.float64)
        unfold[coordinate, torch.arange(folds * inputs)] = sign.repeat(inputs)
        shift = torch.zeros(inputs, dtype=torch.float64)
    weight, bias = _general_position(inputs, widths[-1])
    layers += [_linear(weight @ unfold, weight @ shift + bias), nn.ReLU()]
    layers.append(_linear(torch.ones(1, widths[-1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)))
    return nn.Sequential(*layers)


def _general_position(inputs: int, units: int) -> tuple[torch.Tensor, torch.Tensor]:
    roots = torch.cos(torch.pi * (torch.arange(units, dtype=torch.float64) + 0.5) / units)
    powers = roots[:, None] ** torch.arange(inputs + 1)
    choices = torch.tensor([math.comb(inputs, k) for k in range(inputs)], dtype=torch.float64)
    weight = powers[:, :inputs] * choices
    return 2 * weight, powers[:, inputs] - weight.sum(1)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
