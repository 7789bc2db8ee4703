"""Counting theory: how many linear regions there are, at most and at least, from widths alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from reluscope.errors import ObservationError


def hyperplane_regions(units: int, inputs: int) -> int:
    r"""Regions of one layer in general position, which no layer of the same size exceeds.

    $$r(n_1, n_0) = \sum_{j=0}^{n_0} \binom{n_1}{j}$$

    General position: any $k \le n_0$ of the units' hyperplanes meet in a flat of dimension $n_0 - k$, and no $n_0 + 1$
    in one point. The lecture asks that all subsets of rows of W have full rank; the biases matter as well: without them
    all hyperplanes meet in the origin, and `central_regions` counts. Where $n_1 \le n_0$ the sum is $2^{n_1}$.

    Args:
        units: Hyperplanes, $n_1$.
        inputs: Dimension, $n_0$.

    Returns:
        Their number.

    References:
        Zaslavsky 1975; Stanley 2007, proposition 2.4; Tanner's lecture, slide "Partition of the input domain: one
        layer"; ICERM talk (Jeong, Barton & Ramirez 2020), r(q, p); Hartmann 2025, section 2.2.

    Example:
        >>> hyperplane_regions(3, 2), hyperplane_regions(12, 4), hyperplane_regions(3, 5)
        (7, 794, 8)
    """
    check_widths(inputs, [units])
    return sum(math.comb(units, j) for j in range(inputs + 1))


def central_regions(units: int, inputs: int) -> int:
    r"""Regions of one layer without biases, its weights in general position.

    $$2 \sum_{j=0}^{n_0 - 1} \binom{n_1 - 1}{j}$$

    Args:
        units: Hyperplanes through the origin, $n_1$.
        inputs: Dimension, $n_0$.

    Returns:
        Their number.

    References:
        Cover 1965, theorem 1 (Schläfli's count).

    Example:
        >>> central_regions(64, 2)
        128
    """
    check_widths(inputs, [units])
    return 2 * sum(math.comb(units - 1, j) for j in range(inputs))


def pattern_count(units: int) -> int:
    """Patterns of units of two states: 2 to the power of their number, whatever the dimension.

    Args:
        units: Their number.

    Returns:
        The number of patterns. So many regions come about only where there are no more units than inputs.

    References:
        Hartmann 2025, section 3.1 (number of possible patterns of a layer).

    Example:
        >>> pattern_count(10)
        1024
    """
    check_widths(1, [units])
    return 2**units


def leading_regions(units: int, inputs: int) -> Fraction:
    r"""What `hyperplane_regions` grows as when there are many more units than inputs.

    $$\frac{n_1^{n_0}}{n_0!}$$

    The ratio tends to 1 as the units grow, slowly: in the plane the sum is $(n_1^2 + n_1 + 2) / 2$, 1.6 % more at 64
    units, and in many dimensions far more units are needed. For no more units than inputs the sum is $2^{n_1}$, which
    the sources call an approximation and which is exact.

    Args:
        units: Hyperplanes, $n_1$.
        inputs: Dimension, $n_0$.

    Returns:
        The exact fraction.

    References:
        Hartmann 2025, section 2.2 and figure 2.5, after Hanin & Rolnick 2019b.

    Example:
        >>> leading_regions(64, 2), hyperplane_regions(64, 2)
        (Fraction(2048, 1), 2081)
    """
    check_widths(inputs, [units])
    return Fraction(units**inputs, math.factorial(inputs))


def pascanu_lower_bound(inputs: int, widths: Sequence[int]) -> int:
    r"""A number of regions that some network of these widths attains.

    $$\left( \prod_{l=1}^{L-1} \left\lfloor \frac{n_l}{n_0} \right\rfloor \right) \sum_{j=0}^{n_0} \binom{n_L}{j}$$

    The lecture prints $\prod_{l=0}^{L} n_l^{\min\{n_0, n_l / 2\}}$ instead, as a number of regions that every network
    has, after $\sum_j \binom{n_1}{j} \ge n_1^{\min\{n_0, n_1/2\}}$. Neither is so: four units in the plane make at most
    11 regions, where the right side is 16, and a network of any widths may have one region. The theorem is about the
    maximum over weights.

    Args:
        inputs: Dimension of the input, $n_0$.
        widths: Units of the hidden layers, $n_1$ to $n_L$, each at least $n_0$ but for the last.

    Returns:
        The bound on the maximum.

    References:
        Pascanu, Montúfar & Bengio 2014, theorem 1; Tanner's lecture, slide "with depth".

    Example:
        >>> pascanu_lower_bound(2, [4, 4, 4])
        44
    """
    _check_folds(inputs, widths)
    return math.prod(width // inputs for width in widths[:-1]) * hyperplane_regions(widths[-1], inputs)


def montufar_lower_bound(inputs: int, widths: Sequence[int]) -> int:
    r"""A greater number of regions that some network of these widths attains, such as `folding_network`.

    $$\left( \prod_{l=1}^{L-1} \lfloor n_l / n_0 \rfloor^{n_0} \right) \sum_{j=0}^{n_0} \binom{n_L}{j}$$

    Args:
        inputs: Dimension of the input, $n_0$.
        widths: Units of the hidden layers, $n_1$ to $n_L$, each at least $n_0$ but for the last.

    Returns:
        The bound on the maximum.

    References:
        Montúfar, Pascanu, Cho & Bengio 2014, section 3 (the bound for rectifiers); ICERM talk, slide "Known
        theorems".

    Example:
        >>> montufar_lower_bound(2, [4, 4, 4])
        176
    """
    _check_folds(inputs, widths)
    return math.prod((width // inputs) ** inputs for width in widths[:-1]) * hyperplane_regions(widths[-1], inputs)


def product_upper_bound(inputs: int, walls: Sequence[int]) -> int:
    r"""A number of regions that no network of these widths exceeds, also one with shortcuts or max-pools.

    $$\prod_{l=1}^{L} \sum_{j=0}^{n_0} \binom{n_l}{j}$$

    On each region of the layers before it, a layer's pre-activations are affine, so that it leaves at most as many
    parts as that many hyperplanes.

    Args:
        inputs: Dimension of the input, $n_0$.
        walls: Hyperplanes of each layer: a unit of two states has one, one of three has two, a max-pool one for each
            pair of places of each window.

    Returns:
        The bound.

    References:
        Pascanu, Montúfar & Bengio 2014, section 3; Raghu et al. 2017, theorem 1, of which it is the exact form.

    Example:
        >>> product_upper_bound(2, [64, 64])
        4330561
    """
    check_widths(inputs, walls)
    return math.prod(hyperplane_regions(count, inputs) for count in walls)


def serra_upper_bound(inputs: int, widths: Sequence[int]) -> int:
    r"""A smaller number that no chain of ReLU layers of these widths exceeds.

    $$\sum_{(j_1, \ldots, j_L) \in J} \prod_{l=1}^{L} \binom{n_l}{j_l}, \qquad
    J = \{ j : 0 \le j_l \le \min(n_0, n_1 - j_1, \ldots, n_{l-1} - j_{l-1}, n_l) \}$$

    Behind a region where $n_l - j_l$ units are active, the image has at most so many dimensions. The sum is taken by
    the dimension that is left, so that it is quick for any widths. For one layer it is `hyperplane_regions`. For inputs
    of one dimension it is $\prod_l (n_l + 1)$ where all layers but the last have two units at least, and is attained
    where all have three; with widths 2 and 2 it is 9.

    Args:
        inputs: Dimension of the input, $n_0$.
        widths: Units of the hidden layers, $n_1$ to $n_L$.

    Returns:
        The bound.

    References:
        Serra, Tjandraatmadja & Ramalingam 2018, theorem 1; section 3 on inputs of one dimension ($n_l \ge 3$).

    Example:
        >>> serra_upper_bound(2, [2, 2, 2]), product_upper_bound(2, [2, 2, 2])
        (30, 64)
    """
    check_widths(inputs, widths)
    regions = {inputs: 1}  # how many, by the dimension that is left
    for width in widths:
        following: dict[int, int] = {}
        ways = [math.comb(width, j) for j in range(width + 1)]
        for dimension, count in regions.items():
            for j in range(min(dimension, width) + 1):
                left = min(dimension, width - j)
                following[left] = following.get(left, 0) + count * ways[j]
        regions = following
    return sum(regions.values())


def check_widths(inputs: int, widths: Sequence[int]) -> None:
    """Check what counting theory starts from.

    Args:
        inputs: Dimension of the input.
        widths: Units of the hidden layers.

    Raises:
        ObservationError: If there is no layer, or a number is no integer of at least 1.
    """
    numbers = [inputs, *widths]
    if not widths or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise ObservationError(
            f"got {inputs!r} inputs and widths {list(widths)!r}, expected integers of at least 1 and at least one layer"
        )


def _check_folds(inputs: int, widths: Sequence[int]) -> None:
    check_widths(inputs, widths)
    if any(width < inputs for width in widths[:-1]):
        raise ObservationError(
            f"got {inputs} inputs and widths {list(widths)}, expected each hidden layer but the last to have at least "
            "as many units as there are inputs: the theorem says nothing of others"
        )
