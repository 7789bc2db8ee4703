"""Products of powers of the inputs by gates of a few smooth units: the product gate, and deep networks of gates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.architectures.checks import check_flag, check_sizes


class Monomial(nn.Module):
    r"""Approximates $x_1^{r_1} \cdots x_n^{r_n}$ by gates, each a hidden layer of softplus units.

    Args:
        powers: $r_1, \dots, r_n$, each at least 1.
        deep: Whether squares and pairwise products are composed; if not, one gate does it all.
        scale: By how much each gate's inputs are multiplied before its hidden layer.
        at: Where the activation function is expanded.

    Attributes:
        powers: $r_1, \dots, r_n$.
        variables: n.
        gates: The gates, in the order in which they are computed.
        operands: For each gate the numbers of the values that it takes: first the inputs, then the gates' outputs.
        neurons: Number of hidden units in all.
        depth: Number of hidden layers on the longest way through the gates.
    """

    def __init__(self, powers: Sequence[int], *, deep: bool, scale: float, at: float) -> None:
        super().__init__()
        self.powers = tuple(powers)
        self.variables = len(powers)
        self.operands: list[tuple[int, ...]] = []
        shapes: list[tuple[int, ...]] = []
        if not deep:
            self.operands, shapes = [tuple(range(self.variables))], [tuple(powers)]
        else:
            self._plan(powers, shapes)
        self.gates = nn.ModuleList(power_gate(shape, scale=scale, at=at) for shape in shapes)
        self.neurons = sum(math.prod(power + 1 for power in shape) for shape in shapes)
        levels = [0] * self.variables
        for operands in self.operands:
            levels.append(1 + max(levels[place] for place in operands))
        self.depth = max(levels)

    def _plan(self, powers: Sequence[int], shapes: list[tuple[int, ...]]) -> None:
        def gate(shape: tuple[int, ...], *operands: int) -> int:
            shapes.append(shape)
            self.operands.append(operands)
            return self.variables + len(shapes) - 1

        terms: list[int] = []
        for variable, power in enumerate(powers):
            square, product = variable, None
            for digit in reversed(f"{power:b}"):
                if digit == "1":
                    product = square if product is None else gate((1, 1), product, square)
                power >>= 1
                if power:
                    square = gate((2,), square)
            terms.append(variable if product is None else product)
        while len(terms) > 1:
            pairs = [gate((1, 1), *pair) for pair in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + terms[2 * len(pairs) :]

    def forward(self, x: Tensor) -> Tensor:
        """Approximate the monomial.

        Args:
            x: Values of the variables, `(sample, variable)`.

        Returns:
            The monomial, `(sample, 1)`.

        Raises:
            ObservationError: If there are more or fewer variables.
        """
        if x.dim() != 2 or x.shape[1] != self.variables:
            raise ObservationError(
                f"the network takes (sample, variable) of {self.variables} variables, got shape {tuple(x.shape)}; "
                "build it with one power for each"
            )
        values = list(x.split(1, dim=1))
        for gate, operands in zip(self.gates, self.operands, strict=True):
            values.append(gate(torch.cat([values[place] for place in operands], dim=1)))
        return values[-1]


@torch.no_grad()
def power_gate(powers: Sequence[int] = (1, 1), *, scale: float = 0.01, at: float = 1.0) -> nn.Sequential:
    r"""Build the hidden layer that approximates a product of powers: central differences of the activation function.

    With $d = \sum_i r_i$ and step $\lambda$ (`scale`), $\prod_i (r_i + 1)$ units give

    $$\frac{1}{(2 \lambda)^d \sigma^{(d)}(b)} \sum_{k_1 = 0}^{r_1} \cdots \sum_{k_n = 0}^{r_n}
    \prod_i (-1)^{k_i} \binom{r_i}{k_i} \; \sigma\Big(b + \lambda \sum_i (r_i - 2 k_i) x_i\Big)
    = \prod_i x_i^{r_i} \Big(1 + \frac{\lambda^2}{6} \frac{\sigma^{(d + 2)}(b)}{\sigma^{(d)}(b)} \sum_i r_i x_i^2
    + O(\lambda^4)\Big).$$

    For $r = (1, 1)$ this is the product gate, four units:
    $\frac{\sigma(u + v) + \sigma(-u - v) - \sigma(u - v) - \sigma(v - u)}{4 \sigma''(0)} \approx u v$ where b = 0; for
    $r = 2$ the square, three. The number of units does not depend on the error, which $\lambda$ makes as small as
    rounding lets it be, about $10^{-16} / \lambda^d$ in float64. It takes an activation function with
    $\sigma^{(d)}(b) \ne 0$: not ReLU, whose second derivative is zero wherever it exists.

    Args:
        powers: $r_1, \dots, r_n$.
        scale: $\lambda$, above 0.
        at: b; at 0 the odd derivatives of softplus from the third on are zero.

    Returns:
        A linear layer, softplus, a linear layer, in float64; it takes (sample, variable) and gives (sample, 1).

    Raises:
        RecipeError: If the derivative is zero there, or a value is out of its range.

    References:
        Lin, Tegmark and Rolnick 2017, the product gate; Rolnick and Tegmark 2018, one hidden layer.

    Example:
        >>> gate = power_gate([1, 1])
        >>> round(gate(torch.tensor([[0.5, -0.8]], dtype=torch.float64)).item(), 4)
        -0.4
    """
    for name, value in (("scale", scale), ("at", at)):
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (name == "scale" and value <= 0):
            expected = "a finite number" + (" above 0" if name == "scale" else "")
            raise RecipeError(f"architecture 'monomial': {name} is {value!r}, expected {expected}")
    degree = sum(check_sizes("monomial", "powers", powers, at_least=1))
    derivative = softplus_derivative(degree, at)
    if derivative == 0:
        raise RecipeError(
            f"architecture 'monomial': derivative {degree} of softplus is 0 at {at}, so it has no gate of that degree; "
            "choose another at"
        )
    choices = list(itertools.product(*(range(power + 1) for power in powers)))
    steps = [[float(r - 2 * k) for r, k in zip(powers, chosen, strict=True)] for chosen in choices]
    signed = [math.prod((-1) ** k * math.comb(r, k) for r, k in zip(powers, chosen, strict=True)) for chosen in choices]
    hidden = nn.Linear(len(powers), len(choices), dtype=torch.float64)
    hidden.weight.copy_(scale * torch.tensor(steps, dtype=torch.float64))
    hidden.bias.fill_(at)
    output = nn.Linear(len(choices), 1, bias=False, dtype=torch.float64)
    output.weight.copy_(torch.tensor([signed], dtype=torch.float64) / ((2 * scale) ** degree * derivative))
    return nn.Sequential(hidden, nn.Softplus(), output)


def softplus_derivative(order: int, x: float) -> float:
    r"""Differentiate $\log(1 + e^x)$.

    The first derivative is the sigmoid s, and $s' = s - s^2$: each is a polynomial of s with integer coefficients.

    Args:
        order: How often, at least once.
        x: Where.

    Returns:
        The derivative.

    Example:
        >>> softplus_derivative(2, 0.0), softplus_derivative(3, 0.0)
        (0.25, 0.0)
    """
    coefficients = [0, 1]
    for _ in range(order - 1):
        following = [0] * (len(coefficients) + 1)
        for power, coefficient in enumerate(coefficients):
            following[power] += power * coefficient
            following[power + 1] -= power * coefficient
        coefficients = following
    s = 1 / (1 + math.exp(-x))
    return math.fsum(coefficient * s**power for power, coefficient in enumerate(coefficients))


def monomial(powers: Sequence[int] = (1, 1), *, deep: bool = True, scale: float = 0.01, at: float = 1.0) -> Monomial:
    r"""Build a network that approximates $x_1^{r_1} \cdots x_n^{r_n}$; of powers (1, 1), the product gate.

    In one hidden layer it takes $\prod_i (r_i + 1)$ units, the least there can be. Deep, each $x_i^{r_i}$ is made of at
    most $\lfloor \log_2 r_i \rfloor$ squares of 3 units and as many products of 4, and a tree of n - 1 products joins
    them: at most $\sum_i (7 \lceil \log_2 r_i \rceil + 4)$ units, in about $\log_2 \max_i r_i + \log_2 n$ layers.
    Values that wait for their partner are handed on past the layers, at no unit.

    Its activation function, softplus, is smooth: `reluscope.observe` sees its sites, and an affine map is refused.

    Args:
        powers: $r_1, \dots, r_n$, each at least 1.
        deep: Whether squares and products are composed; if not, there is one hidden layer.
        scale: $\lambda$ of each gate, above 0: the error falls as its square until rounding takes over.
        at: Where softplus is expanded.

    Returns:
        The network, in float64, of weights that are not random.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Rolnick and Tegmark 2018 (number of units), as Jeong, Barton and Ramirez 2020 (ICERM) print it, improved
        expressivity results with depth.

    Example:
        >>> network = monomial([3, 1, 2])
        >>> network.neurons, network.depth, monomial([3, 1, 2], deep=False).neurons
        (18, 4, 24)
    """
    check_flag("monomial", "deep", deep)
    return Monomial(check_sizes("monomial", "powers", powers, at_least=1), deep=deep, scale=scale, at=at)
