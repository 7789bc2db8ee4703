"""Greatest eigenvalue of a positive semidefinite operator, with an upper bound that a random start earns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class GreatestEigenvalue(NamedTuple):
    """What an iteration knows of the greatest eigenvalue.

    Attributes:
        lower: Greatest Ritz value, `(sample,)`: never above the eigenvalue.
        upper: At least the eigenvalue, unless the start was unlucky, `(sample,)`.
        steps: How often the operator was applied.
    """

    lower: Tensor
    upper: Tensor
    steps: int


def greatest_eigenvalue(
    apply: Callable[[Tensor], Tensor], start: Tensor, *, rtol: float, failure: float
) -> GreatestEigenvalue:
    r"""Iterate by Lanczos with full reorthogonalisation until the upper bound is within `rtol` of the Ritz value.

    Lanczos vectors are polynomials of the operator on the start, $q_{k+1} = p_k(A)\, q_1$, of length 1. So with
    $\gamma$ the cosine of start and greatest eigenvector, $1 \ge |\gamma\, p_k(\lambda_1)|$, whatever the other
    eigenvalues are. A start that is uniform on the sphere has $|\gamma| \le \delta$ with probability at most
    $\delta \sqrt{2 (n - 1) / \pi}$; take $\delta$ where that is `failure`. Beyond the greatest Ritz value $p_k$
    rises, so once $p_k(t) \ge 1 / \delta$ there, $\lambda_1 \le t$ with probability at least $1 -$ `failure`, for all
    steps at once. A small residual would not tell that: it says that *some* eigenvalue is near.

    After $n$ steps, or where the Krylov space closes, the Ritz value is the eigenvalue. All this in exact arithmetic;
    what rounding adds is of the order of the dtype's rounding unit, times the norm.

    Args:
        apply: The operator, `(sample, n)` to `(sample, n)`: symmetric and positive semidefinite for each sample.
        start: `(sample, n)`, normally distributed and independent of the operator, not zero.
        rtol: Relative distance of upper bound and Ritz value at which a sample is done.
        failure: Probability, for each sample, that the upper bound does not hold; above 0, below 1.

    Returns:
        The bounds.

    References:
        Kuczynski and Wozniakowski 1992, "Estimating the largest eigenvalue by the power and Lanczos algorithms with a
        random start"; Hochstenbach 2013, "Probabilistic upper bounds for the matrix two-norm", section 2.

    Example:
        >>> spectrum = torch.linspace(0.1, 2.0, 100).double()
        >>> start = torch.randn(1, 100, generator=torch.Generator().manual_seed(7)).double()
        >>> found = greatest_eigenvalue(lambda v: v * spectrum, start, rtol=1e-3, failure=1e-9)
        >>> bool(found.lower <= 2.0 <= found.upper), found.steps < 100
        (True, True)
    """
    n = start.shape[1]
    needed = math.log(math.sqrt(2 * max(n - 1, 1) / math.pi) / failure)
    vector = start / torch.linalg.vector_norm(start, dim=-1, keepdim=True)
    basis, diagonal, off_diagonal = [vector], list[Tensor](), list[Tensor]()
    rounding = n * torch.finfo(start.dtype).eps
    check = 1
    for step in range(1, n + 1):
        image = apply(vector)
        diagonal.append((image * vector).sum(-1))
        space = torch.stack(basis, dim=1)
        for _ in range(2):
            image = image - ((space @ image.unsqueeze(-1)).mT @ space).squeeze(1)
        length = torch.linalg.vector_norm(image, dim=-1)
        size = torch.stack([*diagonal, *off_diagonal]).abs().amax(0)
        open_ = (length > rounding * size) & (step < n)
        off_diagonal.append(torch.where(open_, length, 0.0))
        vector = torch.where(open_, 1 / length, 0.0).unsqueeze(-1) * image
        basis.append(vector)
        if step >= check or step == n or not bool(open_.any()):
            lower, done, closed = _test(torch.stack(diagonal, -1), torch.stack(off_diagonal, -1), rtol, needed)
            if bool(done.all()):
                break
            check = step + 1 + step // 16
    upper = torch.where(closed, lower, lower * (1 + rtol))
    return GreatestEigenvalue(lower.to(start), upper.to(start), step)


def _test(diagonal: Tensor, off_diagonal: Tensor, rtol: float, needed: float) -> tuple[Tensor, Tensor, Tensor]:
    # Greatest Ritz value; whether log p_k at (1 + rtol) times it is large enough; whether the Krylov space is closed.
    diagonal, off_diagonal = diagonal.double().cpu(), off_diagonal.double().cpu()
    inner = off_diagonal[:, :-1]
    tridiagonal = torch.diag_embed(diagonal) + torch.diag_embed(inner, 1) + torch.diag_embed(inner, -1)
    lower = torch.linalg.eigvalsh(tridiagonal)[:, -1].clamp(min=0)
    t = lower * (1 + rtol)
    logarithm, pivot = torch.zeros_like(t), torch.ones_like(t)
    before = torch.zeros_like(t)
    for a, b in zip(diagonal.unbind(-1), off_diagonal.unbind(-1), strict=True):
        pivot = (t - a - before.square() / pivot).clamp(min=torch.finfo(t.dtype).tiny)
        logarithm = logarithm + pivot.log() - b.log()
        before = b
    closed = (off_diagonal == 0).any(-1)
    return lower, closed | (logarithm >= needed), closed
