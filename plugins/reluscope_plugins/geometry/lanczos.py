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
    what rounding adds is of the order of the dtype's rounding unit, times the norm. In double precision a space counts
    as closed where the next vector is shorter than $n$ rounding units of the operator's size. In single precision that
    would hide eigenvalues that are a per cent greater: there $p_k$ is computed as if the last vector had $4 \sqrt n$
    rounding units, and the upper bound is the least $t$ that is certain, which may be much further off than `rtol`.

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
        >>> bool(found.lower <= 2.0 + 1e-12 and found.upper >= 2.0), found.steps < 100
        (True, True)
    """
    n = start.shape[1]
    needed = math.log(math.sqrt(2 * max(n - 1, 1) / math.pi) / failure)
    vector = start / torch.linalg.vector_norm(start, dim=-1, keepdim=True)
    basis, diagonal, off_diagonal = [vector], list[Tensor](), list[Tensor]()
    double = start.dtype == torch.float64
    rounding = (n if double else 4 * math.sqrt(n)) * torch.finfo(start.dtype).eps
    alive, counted = torch.ones(len(start), dtype=torch.bool, device=start.device), list[Tensor]()
    check = 1
    for step in range(1, n + 1):
        image = apply(vector)
        diagonal.append((image * vector).sum(-1))
        space = torch.stack(basis, dim=1)
        for _ in range(2):
            image = image - ((space @ image.unsqueeze(-1)).mT @ space).squeeze(1)
        length = torch.linalg.vector_norm(image, dim=-1)
        least = rounding * torch.stack([*diagonal, *off_diagonal]).abs().amax(0)
        counted.append(alive)
        off_diagonal.append(torch.maximum(length, least))
        alive = alive & (length > least) & (step < n)
        vector = torch.where(alive, 1 / length, 0.0).unsqueeze(-1) * image
        basis.append(vector)
        if step >= check or not bool(alive.any()):
            steps = _Steps(*(torch.stack(each, -1).cpu() for each in (diagonal, off_diagonal, counted)))
            lower = steps.ritz_value()
            whole = ~alive.cpu() if double else steps.counted.all(-1) & (step == n)
            done = whole | (steps.growth(lower * (1 + rtol)) >= needed)
            if bool((done | ~alive.cpu()).all()):
                break
            check = step + 1 + step // 16
    upper = torch.where(whole, lower, torch.where(done, lower * (1 + rtol), steps.reached(lower, needed)))
    return GreatestEigenvalue(lower.to(start), upper.to(start), step)


class _Steps:
    # The tridiagonal matrix of each sample; steps after its Krylov space has closed do not count.
    def __init__(self, diagonal: Tensor, off_diagonal: Tensor, counted: Tensor) -> None:
        self.diagonal, self.off_diagonal, self.counted = diagonal.double(), off_diagonal.double(), counted

    def ritz_value(self) -> Tensor:
        inner = self.off_diagonal[:, :-1] * self.counted[:, 1:]
        matrix = torch.diag_embed(self.diagonal) + torch.diag_embed(inner, 1) + torch.diag_embed(inner, -1)
        return torch.linalg.eigvalsh(matrix)[:, -1].clamp(min=0)

    def growth(self, t: Tensor) -> Tensor:
        # log p_k(t)
        logarithm, pivot, before = torch.zeros_like(t), torch.ones_like(t), torch.zeros_like(t)
        rows = zip(self.diagonal.unbind(-1), self.off_diagonal.unbind(-1), self.counted.unbind(-1), strict=True)
        for a, b, counts in rows:
            following = (t - a - before.square() / pivot).clamp(min=torch.finfo(t.dtype).tiny)
            pivot = torch.where(counts, following, pivot)
            logarithm = torch.where(counts, logarithm + following.log() - b.log(), logarithm)
            before = torch.where(counts, b, before)
        return logarithm

    def reached(self, lower: Tensor, needed: float) -> Tensor:
        # The least t above the Ritz value, by bisection on a logarithmic scale, at which p_k is large enough.
        low, high = torch.full_like(lower, math.log(1e-16)), torch.full_like(lower, math.log(1e16))
        for _ in range(60):
            middle = (low + high) / 2
            enough = self.growth(lower * (1 + middle.exp())) >= needed
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return torch.where(lower > 0, lower * (1 + high.exp()), lower)
