"""Lower bounds of operator p-norms by the nonlinear power method."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_STEPS = 1000


def power_method(
    push: Callable[[Tensor], Tensor], pull: Callable[[Tensor], Tensor], start: Tensor, p: float, *, rtol: float
) -> tuple[Tensor, int]:
    r"""Climb from each start to where $\lVert W x \rVert_p / \lVert x \rVert_p$ is stationary.

    With $u$ the dual vector of $y = W x$ ($u^\top y = \lVert y \rVert_p$, $\lVert u \rVert_q = 1$, $1/p + 1/q = 1$) and
    $z = W^\top u$, the next $x$ is the dual vector of $z$. Then
    $\lVert W x \rVert_p \le \lVert z \rVert_q \le \lVert W \rVert_p$ and the first never falls. A start is done where
    $\lVert z \rVert_q \le (1 + \text{rtol}) \lVert W x \rVert_p$, after 1000 steps at the latest. That is a local
    maximum, as a rule; in the limit it is the greatest where all entries of $W$ and of a start are positive.

    Args:
        push: W, `(start, sample, in)` to `(start, sample, out)`.
        pull: W transposed, `(start, sample, out)` to `(start, sample, in)`.
        start: Where to start, `(start, sample, in)`.
        p: Above 1, finite.
        rtol: At which relative gain a start is done.

    Returns:
        The greatest $\lVert z \rVert_q$ of all starts, `(sample,)`, and the number of steps.

    References:
        Boyd 1974, "The power method for l^p norms"; Higham 1992, "Estimating the matrix p-norm", algorithm 2.1.

    Example:
        >>> w = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> start = torch.ones(1, 1, 2)
        >>> norm, _ = power_method(lambda v: v @ w.mT, lambda u: u @ w, start, 2.0, rtol=1e-6)
        >>> f"{norm.item():.4f} {torch.linalg.matrix_norm(w, 2).item():.4f}"
        '5.4650 5.4650'
    """
    q = p / (p - 1)
    x = start / p_norm(start, p).unsqueeze(-1)
    best, steps = torch.zeros_like(start[0, :, 0]), 0
    while steps < _STEPS:
        steps += 1
        y = push(x)
        reached = p_norm(y, p)
        z = pull(dual_vector(y, p))
        gained = p_norm(z, q)
        best = torch.maximum(best, gained.amax(0))
        if bool((gained <= (1 + rtol) * reached).all()):
            break
        x = dual_vector(z, q)
    return best, steps


def p_norm(vectors: Tensor, p: float) -> Tensor:
    """Norm over the last dim, without overflow of the powers.

    Args:
        vectors: `(..., entry)`.
        p: At least 1; `math.inf` too.

    Returns:
        `(...)`.

    Example:
        >>> p_norm(torch.tensor([3e30, 4e30]), 2.0).item() > 4.9e30
        True
    """
    largest = vectors.abs().amax(-1)
    if math.isinf(p):
        return largest
    scaled = vectors.abs() / torch.where(largest > 0, largest, 1.0).unsqueeze(-1)
    return largest * (scaled**p).sum(-1) ** (1 / p)


def dual_vector(vectors: Tensor, p: float) -> Tensor:
    r"""Vector $u$ with $u^\top y = \lVert y \rVert_p$ and $\lVert u \rVert_q = 1$; zero for zero.

    Args:
        vectors: y, `(..., entry)`.
        p: Above 1, finite.

    Returns:
        `(..., entry)`.

    Example:
        >>> dual_vector(torch.tensor([3.0, -4.0]), 2.0)
        tensor([ 0.6000, -0.8000])
    """
    largest = vectors.abs().amax(-1, keepdim=True)
    powers = (vectors.abs() / torch.where(largest > 0, largest, 1.0)) ** (p - 1)
    length = p_norm(powers, p / (p - 1)).unsqueeze(-1)
    return vectors.sign() * powers / torch.where(length > 0, length, 1.0)
