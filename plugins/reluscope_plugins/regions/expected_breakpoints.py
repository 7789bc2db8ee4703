"""How many breakpoints a random network has along a line segment, on average."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reluscope.errors import ObservationError
from reluscope_plugins.regions.region_bounds import check_widths


def expected_breakpoints_bound(
    inputs: int, widths: Sequence[int], length: float, *, bias_std: float, weight_variance: float = 2.0
) -> float:
    r"""Breakpoints that a random ReLU network has on a line segment, on average at most: linear in the units.

    $$\mathbb{E}[\#] \le \frac{|I|}{\pi \sigma_b} \sqrt{\frac{C}{n_0}} \sum_{l=1}^{L} n_l
    \left( \frac{C}{2} \right)^{(l - 1) / 2}$$

    for independent normal weights of variance $C / n_{l-1}$ and biases of variance $\sigma_b^2$. With $C = 2$ depth
    drops out, and only the number of units is left. It is Hanin and Rolnick's bound with its constants worked out: the
    zeros of a pre-activation $z(t) = y(t) + b$ on the segment are $\int |z'| \delta(y + b) dt$ in number. The bias is
    independent of y and z', and its density at most $1 / (\sqrt{2 \pi} \sigma_b)$; given the layer before, $z'$ is
    normal, so that $\mathbb{E} |z'| \le \sqrt{2 / \pi} \sqrt{\mathbb{E} z'^2}$; and each ReLU halves $\mathbb{E} z'^2$,
    since a unit is active or not with equal probability whatever $|z'|$ is.

    Args:
        inputs: Dimension of the input, $n_0$.
        widths: Units of the hidden layers.
        length: Length of the segment, $|I|$.
        bias_std: Standard deviation of the biases, $\sigma_b$, above 0.
        weight_variance: Variance of a weight times the units before it, C.

    Returns:
        The bound; one more for the number of regions.

    Raises:
        ObservationError: If a number is out of its range.

    References:
        Hanin & Rolnick 2019a (Complexity of linear regions in deep networks), the bound for lines; ICERM talk, slides
        on "Hanin and Rolnick (2019ab)".

    Example:
        >>> round(expected_breakpoints_bound(2, [32, 32], 1.0, bias_std=1.0), 3)
        20.372
    """
    check_widths(inputs, widths)
    for name, value in {"length": length, "bias_std": bias_std, "weight_variance": weight_variance}.items():
        if not (math.isfinite(value) and value > 0):
            raise ObservationError(f"{name} is {value!r}, expected a finite number above 0")
    growth = sum(width * (weight_variance / 2) ** (depth / 2) for depth, width in enumerate(widths))
    return length * math.sqrt(weight_variance / inputs) * growth / (math.pi * bias_std)


def expected_first_layer_breakpoints(
    units: int, start: Sequence[float], end: Sequence[float], *, bias_ratio: float
) -> float:
    r"""Breakpoints that a random first layer has on a line segment, on average, exactly.

    $$\mathbb{E}[\#] = \frac{n_1}{\pi} \angle \left( (a, s), (b, s) \right)$$

    A unit's hyperplane meets the segment if its pre-activation has two signs at the ends, which for independent normal
    weights and biases of standard deviations $\sigma_w$ and $\sigma_b$ has the probability of the angle between the
    ends, extended by $s = \sigma_b / \sigma_w$, over $\pi$.

    Args:
        units: Units of the layer, $n_1$.
        start: One end of the segment, a, `(feature,)`.
        end: The other, b, `(feature,)`.
        bias_ratio: $s$, above 0.

    Returns:
        The expectation. Of any isotropic normal weights, whatever their size.

    Raises:
        ObservationError: If a number is out of its range.

    Example:
        >>> round(expected_first_layer_breakpoints(64, [-1.0, 0.0], [1.0, 0.0], bias_ratio=1.0), 9)
        32.0
    """
    check_widths(max(1, len(start)), [units])
    if len(start) != len(end) or not start or not (math.isfinite(bias_ratio) and bias_ratio > 0):
        raise ObservationError(
            f"got ends of {len(start)} and {len(end)} features and bias_ratio {bias_ratio!r}, expected the same "
            "number, at least one, and a finite ratio above 0"
        )
    one, other = [*start, bias_ratio], [*end, bias_ratio]
    cosine = math.fsum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
    return units * math.acos(max(-1.0, min(1.0, cosine))) / math.pi
