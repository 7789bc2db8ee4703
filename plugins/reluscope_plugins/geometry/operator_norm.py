"""Operator p-norms of local affine maps: the slopes of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reluscope.affine_map import AffineMap
from reluscope.errors import ObservationError
from reluscope_plugins.geometry.lanczos import greatest_eigenvalue
from reluscope_plugins.geometry.power_method import dual_vector, p_norm, power_method

_FEW = 32
"""Up to so many rows or columns, forming them takes fewer passes than an iteration."""
_FORMED = 2**26
"""So many numbers a formed W may hold; a larger one is swept in blocks."""
_BLOCK = 2**24
"""Numbers of one block of rows or columns."""
_STARTS = 8
_SEED = 0x510BE

Product = Callable[[Tensor], Tensor]


class OperatorNorms(NamedTuple):
    """Bounds of an operator norm, for each sample.

    Attributes:
        lower: Attained by a vector, `(sample,)`.
        upper: `(sample,)`; equal to `lower` where the norm is known up to rounding.
        products: Products with W and its transpose that were taken, of the whole batch.
    """

    lower: Tensor
    upper: Tensor
    products: int


def operator_norms(
    affine_map: AffineMap,
    p: float | str = 2.0,
    *,
    rtol: float = 1e-6,
    failure: float = 1e-10,
    seed: int = _SEED,
) -> OperatorNorms:
    r"""Bound $\lVert W \rVert_p = \max_{\lVert v \rVert_p = 1} \lVert W v \rVert_p$ from both sides.

    - p = 1, the greatest column sum of $|W|$, and p = inf, the greatest row sum: exact, by rows or columns, whichever
      are fewer; beyond 2^26 numbers in blocks, so that $W$ is never in memory.
    - p = 2, the greatest singular value: up to 32 rows or columns exact, by forming and decomposing them. Else
      by Lanczos with products alone, to `upper = (1 + rtol) * lower`. There `lower` is certain, and `upper` holds with
      probability at least `1 - failure` for each sample, over the random start: see `greatest_eigenvalue`.
    - Else, with one row or one column, exact: the norm of a vector. Otherwise to find the norm is NP-hard, so what is
      given is an interval. `lower` is the best of 8 random starts of the power method, and of the best row and the best
      column where $W$ is formed, each climbed until a step gains less than `rtol`. `upper` interpolates between the
      norms for 1, 2 and inf (Riesz-Thorin): $\lVert W \rVert_p \le \lVert W \rVert_a^{1-\theta}
      \lVert W \rVert_b^{\theta}$, $1/p = (1-\theta)/a + \theta/b$. The interval need not close to `rtol`: where it is
      wide, nobody knows better at this cost.

    Half precision is formed and computed in float32. Rounding of products, of the order of the dtype's rounding unit
    relative to the norm, is in no bound.

    Args:
        affine_map: W of each sample.
        p: 1, 2, `math.inf` or `"inf"`, or another number above 1.
        rtol: Relative tolerance of the iterations: at least 8 rounding units of the dtype.
        failure: Probability that an upper bound by Lanczos does not hold, for each sample.
        seed: Of the random starts. They must be independent of W: take none with which the weights were drawn.

    Returns:
        The bounds, in the dtype of the map, float32 for half precision.

    Raises:
        ObservationError: If an argument is out of range, the network is not affine on a piece, or W overflows.

    References:
        Johansson 2022, Def. 1; Higham 1992; Hendrickx and Olshevsky 2010, "Matrix p-norms are NP-hard to approximate
        if p is not 1, 2, infinity".

    Example:
        >>> from reluscope.observation import observe
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]])), model[0].bias.fill_(9.0)
        >>> affine_map = observe(model, torch.zeros(1, 2), affine=True).affine()
        >>> operator_norms(affine_map, 1).lower.item(), operator_norms(affine_map, "inf").lower.item()
        (6.0, 7.0)
    """
    p = exponent(p)
    dtype = torch.float32 if affine_map.dtype in (torch.float16, torch.bfloat16) else affine_map.dtype
    least = 8 * torch.finfo(dtype).eps
    if not least <= rtol < 1:
        raise ObservationError(f"rtol is {rtol!r}, expected at least {least:.1e} in {dtype}, and below 1")
    if not 0 < failure < 1:
        raise ObservationError(f"failure is {failure!r}, expected a probability above 0 and below 1")
    generator = torch.Generator().manual_seed(seed)
    if p == 2.0:
        norms = _two_norms(affine_map, rtol, failure, generator, _matrix(affine_map, _FEW))
    elif p in (1.0, math.inf):
        one, infinity, products = _one_and_infinity_norms(affine_map)
        norm = one if p == 1.0 else infinity
        norms = OperatorNorms(norm, norm, products)
    else:
        norms = _p_norms(affine_map, p, rtol, failure, generator)
    for sample in (~norms.upper.isfinite()).nonzero().flatten().tolist():
        raise ObservationError(
            f"the {p:g}-slope at sample {sample} is {norms.upper[sample].item()}, expected a finite number: products "
            f"of the weights overflow in {affine_map.dtype}; use float64"
        )
    return norms


def exponent(p: float | str) -> float:
    """Read an exponent.

    Args:
        p: A number of at least 1, `math.inf` or `"inf"`.

    Returns:
        The number.

    Raises:
        ObservationError: If it is something else.

    Example:
        >>> exponent("inf")
        inf
    """
    if p == "inf":
        return math.inf
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not p >= 1:
        raise ObservationError(f"p is {p!r}, expected 1, 2, 'inf' or another number of at least 1")
    return float(p)


def _matrix(affine_map: AffineMap, passes: float) -> Tensor | None:
    # W, where forming it is wise, or half precision leaves no choice.
    if affine_map.dtype in (torch.float16, torch.bfloat16):
        return affine_map.weight.float()
    _, outs, ins = affine_map.shape
    if min(outs, ins) <= passes and math.prod(affine_map.shape) <= _FORMED:
        return affine_map.weight
    return None


def _two_norms(
    affine_map: AffineMap, rtol: float, failure: float, generator: torch.Generator, matrix: Tensor | None
) -> OperatorNorms:
    samples, outs, ins = affine_map.shape
    if matrix is not None:
        norm = torch.linalg.svdvals(matrix)[:, 0]
        return OperatorNorms(norm, norm, min(outs, ins))
    to, back = (affine_map.rmatvec, affine_map.matvec) if outs <= ins else (affine_map.matvec, affine_map.rmatvec)
    start = torch.randn(samples, min(outs, ins), generator=generator, dtype=torch.float64).to(affine_map.dtype)
    scale = to(start).abs().amax(-1, keepdim=True)  # squares of a tiny W would vanish
    scale = torch.where(scale > 0, scale, 1.0)
    found = greatest_eigenvalue(
        lambda vector: back(to(vector) / scale) / scale, start.to(scale), rtol=(1 + rtol) ** 2 - 1, failure=failure
    )
    size = scale.squeeze(-1)
    return OperatorNorms(size * found.lower.sqrt(), size * found.upper.sqrt(), 1 + 2 * found.steps)


def _one_and_infinity_norms(affine_map: AffineMap) -> tuple[Tensor, Tensor, int]:
    # Of lines (rows, or columns where they are fewer): the greatest sum, and the greatest entry of their total.
    _, outs, ins = affine_map.shape
    greatest, total = torch.zeros(()), torch.zeros(())
    for block in _lines(affine_map):
        sums = block.abs().sum(-1).amax(0)
        greatest = torch.maximum(greatest.to(sums), sums)
        total = total.to(sums) + block.abs().sum(0)
    across = total.amax(-1)
    return (across, greatest, outs) if outs <= ins else (greatest, across, ins)


def _lines(affine_map: AffineMap) -> Iterator[Tensor]:
    # Blocks (line, sample, entry) of rows, or of columns where they are fewer.
    samples, outs, ins = affine_map.shape
    matrix = _matrix(affine_map, math.inf)
    count = min(outs, ins)
    block = max(1, _BLOCK // (samples * max(outs, ins)))
    for start in range(0, count, block):
        if matrix is not None:
            yield (matrix if outs <= ins else matrix.mT)[:, start : start + block].transpose(0, 1)
            continue
        lines = torch.arange(start, min(start + block, count))
        basis = torch.nn.functional.one_hot(lines, count).to(affine_map.dtype)
        unit = basis.unsqueeze(1).expand(-1, samples, -1)
        yield affine_map.rmatvec(unit) if outs <= ins else affine_map.matvec(unit)


def _p_norms(affine_map: AffineMap, p: float, rtol: float, failure: float, generator: torch.Generator) -> OperatorNorms:
    samples, outs, ins = affine_map.shape
    matrix = _matrix(affine_map, math.inf)
    if min(outs, ins) == 1:
        (line,) = torch.cat(list(_lines(affine_map)))
        norm = p_norm(line, p / (p - 1) if outs == 1 else p)
        return OperatorNorms(norm, norm, 1)
    one, infinity, products = _one_and_infinity_norms(affine_map)
    two = _two_norms(affine_map, rtol, failure, generator, matrix)
    theta = 2 * (1 - 1 / p) if p < 2 else 1 - 2 / p
    upper = one ** (1 - theta) * two.upper**theta if p < 2 else two.upper ** (1 - theta) * infinity**theta
    start = torch.randn(_STARTS, samples, ins, generator=generator, dtype=torch.float64).to(one)
    push: Product = affine_map.matvec
    pull: Product = affine_map.rmatvec
    if matrix is not None:
        push, pull = _products(matrix)
        start = torch.cat([start, _best_lines(matrix, p)])
    lower, steps = power_method(push, pull, start, p, rtol=rtol)
    products += 0 if matrix is not None else two.products + 2 * steps * len(start)
    return OperatorNorms(lower, torch.maximum(lower, upper), products)


def _products(matrix: Tensor) -> tuple[Product, Product]:
    def push(vectors: Tensor) -> Tensor:
        return (matrix @ vectors.permute(1, 2, 0)).permute(2, 0, 1)

    def pull(covectors: Tensor) -> Tensor:
        return (matrix.mT @ covectors.permute(1, 2, 0)).permute(2, 0, 1)

    return push, pull


def _best_lines(matrix: Tensor, p: float) -> Tensor:
    # The unit vector of the longest column, and the dual vector of the longest row: (start, sample, in).
    q = p / (p - 1)
    samples = torch.arange(len(matrix), device=matrix.device)
    row = matrix[samples, p_norm(matrix, q).argmax(-1)]
    column = torch.zeros_like(row)
    column[samples, p_norm(matrix.mT, p).argmax(-1)] = 1
    zero = (row == 0).all(-1, keepdim=True)
    return torch.stack([column, torch.where(zero, column, dual_vector(row, q))])
