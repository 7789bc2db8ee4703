r"""Expected growth of a curve's length through random ReLU networks: bounds, and the exact value for Gaussian weights.

Weights are those of `random_networks`: independent, symmetric, of variance $\alpha \sigma_w^2 / n$. For a symmetric
distribution of weight rows and biases, whether a unit is active at x is independent of $|w_i^T u|$ for every direction
u, and has probability 1/2. So a curve grows from one activation to the next by $E \|D W u\| / \|u\|$ in expectation,
where the diagonal of D is that of fair coins, whatever the curve, and the factors of the layers multiply.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from scipy import special

from reluscope_plugins.regions.random_networks import Weights, check_weights

_MEAN_MAGNITUDE = {"gaussian": math.sqrt(2 / math.pi), "uniform": math.sqrt(3) / 2, "discrete": 1.0}


def least_projection(weights: Weights = "gaussian", *, weight_std: float = 1.0, share: float = 1.0) -> float:
    r"""Return M such that $E |u^T w_i| \ge M \|u\| / \sqrt n$ for every u and a row $w_i$ of n weights.

    For Gaussian weights $M = \alpha \sigma_w \sqrt{2/\pi}$, attained by u along an axis. For the others
    $M = \alpha E|g| \sqrt{n/2}$, g being a weight that is not zero: given the magnitudes, the signs are fair coins, and
    Khintchine's inequality with its best constant gives $E |\sum_j \epsilon_j a_j| \ge \|a\| / \sqrt 2$; Jensen's gives
    the rest.

    Args:
        weights: As of `random_network`.
        weight_std: Likewise.
        share: Likewise.

    Returns:
        M.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Price & Tanner 2019, theorem 2, after Tanner's lecture (video 5), which has M for Gaussian weights of
        $\alpha = 1$. Szarek 1976 (the constant).

    Example:
        >>> round(least_projection(weight_std=2.0), 4)
        1.5958
    """
    check_weights(weights, weight_std, 0.0, share)
    mean = share * weight_std * _MEAN_MAGNITUDE[weights]
    return mean if weights == "gaussian" else mean / math.sqrt(2)


def length_lower_bound(
    widths: Sequence[int], *, weights: Weights = "gaussian", weight_std: float = 1.0, share: float = 1.0
) -> float:
    r"""Bound from below the expected length after the last hidden ReLU, relative to that of the input.

    $E[\ell(z^{(L)})] \ge (M/2)^L\, \ell(x)$ for layers of one width, and for others
    $\prod_l \sqrt{n_l / n_{l-1}}\, M / 2$, with M of `least_projection`: a norm is at least the sum of the magnitudes
    over $\sqrt{n_l}$, and of half of them in expectation.

    The lecture asks for $E |u^T w_i| \ge M \|u\|$, for rows that are not scaled by $1/\sqrt n$, and gives the M of
    those that are; with rows of $N(0, \sigma_w^2)$ the same argument gives $(\sqrt n M / 2)^L$.

    Args:
        widths: Number of inputs and of units of each hidden layer.
        weights: As of `random_network`.
        weight_std: Likewise.
        share: Likewise.

    Returns:
        The bound; it holds for any standard deviation of the biases.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Price & Tanner 2019, theorem 2, as Tanner's lecture (video 5) states it.

    Example:
        >>> round(length_lower_bound([10, 10, 10], weight_std=2.0), 4)
        0.6366
    """
    factor = least_projection(weights, weight_std=weight_std, share=share) / 2
    return math.prod(math.sqrt(outputs / inputs) * factor for inputs, outputs in itertools.pairwise(widths))


def length_upper_bound(widths: Sequence[int], *, weight_std: float = 1.0, share: float = 1.0) -> float:
    r"""Bound from above the expected length after the last hidden ReLU, relative to that of the input.

    $\prod_l \sigma_w \sqrt{\alpha n_l / (2 n_{l-1})}$: the root of $E \|D W u\|^2$, which wide layers come near to. So
    a curve shrinks in expectation wherever $\sigma_w^2 \alpha < 2$ in layers of one width.

    Args:
        widths: Number of inputs and of units of each hidden layer.
        weight_std: As of `random_network`.
        share: Likewise.

    Returns:
        The bound; it holds for each of the distributions, and any standard deviation of the biases.

    Raises:
        RecipeError: If a parameter is out of its range.

    Example:
        >>> length_upper_bound([10, 10, 10], weight_std=2.0)
        2.0
    """
    check_weights("gaussian", weight_std, 0.0, share)
    variance = weight_std**2 * share / 2
    return math.sqrt(math.prod(variance * outputs / inputs for inputs, outputs in itertools.pairwise(widths)))


def expected_length(widths: Sequence[int], *, weight_std: float = 1.0) -> float:
    r"""Return the expected length after the last hidden ReLU, relative to that of the input, for Gaussian weights.

    Exact for every curve, width and standard deviation of the biases, all weights being drawn:
    $\prod_l \frac{\sigma_w}{\sqrt{n_{l-1}}} \sum_{k=0}^{n_l} \binom{n_l}{k} 2^{-n_l}\, E\chi_k$, where
    $E\chi_k = \sqrt 2\, \Gamma(\tfrac{k+1}{2}) / \Gamma(\tfrac k 2)$ is the expected norm of k standard normals.

    Args:
        widths: Number of inputs and of units of each hidden layer.
        weight_std: As of `random_network`.

    Returns:
        The expectation.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Hanin, Jeong & Rolnick 2022 treat the length of the output in the same way.

    Example:
        >>> round(expected_length([1, 1]), 4)  # half of E|w|
        0.3989
    """
    check_weights("gaussian", weight_std, 0.0, 1.0)
    return math.prod(
        weight_std / math.sqrt(inputs) * _mean_norm_of_half(outputs) for inputs, outputs in itertools.pairwise(widths)
    )


def raghu_growth(width: int, *, weight_std: float, bias_std: float = 0.0) -> float:
    r"""Return the growth factor of a layer in the bound of Raghu et al. as Tanner's lecture states it, for ReLU.

    $\frac{\sigma_w}{(\sigma_w^2 + \sigma_b^2)^{1/4}} \cdot \frac{\sqrt n}{\sqrt{n + \sqrt{\sigma_w^2 + \sigma_b^2}}}$;
    the length is to be at least O(its L-th power).

    As a bound for ReLU this is wrong: for $\sigma_b = 0$ and $\sigma_w < 2$ a wide layer's factor is above
    $\sigma_w / \sqrt 2$, which bounds the growth from above (`length_upper_bound`), so that no constant mends it. The
    figure beside it in the lecture is that of hard tanh.

    Args:
        width: n.
        weight_std: $\sigma_w$.
        bias_std: $\sigma_b$.

    Returns:
        The factor.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Raghu et al. 2017, after Tanner's lecture (video 5).

    Example:
        >>> round(raghu_growth(100, weight_std=2.0), 3)
        1.4
    """
    check_weights("gaussian", weight_std, bias_std, 1.0)
    total = math.sqrt(weight_std**2 + bias_std**2)
    return weight_std / math.sqrt(total) * math.sqrt(width / (width + total)) if total else 0.0


def _mean_norm_of_half(units: int) -> float:
    # of so many standard normals, each left out at the toss of a coin
    return math.fsum(
        math.exp(
            special.gammaln(units + 1)
            - special.gammaln(active + 1)
            - special.gammaln(units - active + 1)
            - units * math.log(2)
            + math.log(2) / 2
            + special.gammaln((active + 1) / 2)
            - special.gammaln(active / 2)
        )
        for active in range(1, units + 1)
    )
