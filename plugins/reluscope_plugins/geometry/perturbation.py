"""How far the singular values can move from one piece to the next: the perturbation between them, and its bounds."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from reluscope.affine_map import AffineMap
from reluscope.errors import ObservationError


@dataclasses.dataclass(frozen=True)
class Perturbation:
    r"""What the local affine map changes by across a wall: $E = W_R - W_{\tilde R} = u v^T$, of rank one.

    Attributes:
        output: u, `(sample, out)`: what a unit step along the normal adds to the output on this side and not beyond.
        normal: v, `(sample, in)`: the wall's unit normal; zeros where there is no neighbour.
    """

    output: Tensor
    normal: Tensor

    @property
    def frobenius_norm(self) -> Tensor:
        """The Frobenius norm, `(sample,)`: of rank one, also the spectral and the nuclear norm."""
        return torch.linalg.vector_norm(self.output, dim=1)

    @property
    def matrix(self) -> Tensor:
        """E, formed: `(sample, out, in)`."""
        return self.output.unsqueeze(2) * self.normal.unsqueeze(1)


def perturbation(here: AffineMap, beyond: AffineMap, normal: Tensor) -> Perturbation:
    r"""Take the perturbation between two pieces that share a wall, without forming either map.

    $E = W_n Z_{n-1} W_{n-1} \cdots (Z_l - \tilde Z_l) \cdots Z_1 W_1$ has one row of $Z_l - \tilde Z_l$ that is not
    zero. So E is the product of a column (from the unit to the output) and a row (from the input to the unit), and the
    row is a multiple of the wall's normal $v$: $E = (E v) v^T$. The same holds of any two pieces of a continuous
    function with a wall in common, whatever lies between input and output, since both maps agree on the wall.

    Cost: one `matvec` of each map.

    Args:
        here: The map on this side.
        beyond: The map beyond the wall, of the same shape.
        normal: The wall's normal of unit length, `(sample, in)`; zeros where E is to be zero.

    Returns:
        The perturbation.

    Raises:
        ObservationError: If the shapes differ.

    References:
        Johansson 2022, eqs. 2.4 to 2.6.

    Example:
        >>> import reluscope as rs
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> here = rs.affine(model, torch.randn(4, 2))
        >>> perturbation(here, here, torch.eye(2)[[0, 1, 0, 1]]).frobenius_norm.tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    if here.shape != beyond.shape:
        raise ObservationError(
            f"the maps have shapes {here.shape} and {beyond.shape} (sample, out, in), expected the same; observe the "
            "same network on as many points"
        )
    normal = normal.to(here.dtype)
    return Perturbation(here.matvec(normal) - beyond.matvec(normal), normal)


def singular_value_difference(here: Tensor, beyond: Tensor) -> Tensor:
    r"""Take the distance between the singular values of two maps, sorted, and set it beside its bounds.

    $\sqrt{\sum_i (\sigma_i - \tilde\sigma_i)^2} \leq \|E\|_F$ (Mirsky's theorem in the Frobenius norm; eq. 2.7). The
    theorem holds in every unitarily invariant norm, and in the nuclear norm it says more here: E is of rank one, so
    that even $\sum_i |\sigma_i - \tilde\sigma_i| \leq \|E\|_* = \|E\|_F$.

    To first order in E, $\sigma_i - \tilde\sigma_i = u_i^T E v_i$ with the singular vectors of W. Of an E in a random
    direction the values so see a share $\min(n_0, n_c) / (n_0 n_c) = 1 / \max(n_0, n_c)$ of $\|E\|_F^2$: by that
    factor the bound is loose.

    Args:
        here: `(sample, out, in)`.
        beyond: Likewise.

    Returns:
        `(sample,)`.

    References:
        Johansson 2022, eq. 2.7; Mirsky 1960, Symmetric gauge functions and unitarily invariant norms.

    Example:
        >>> here, beyond = torch.diag(torch.tensor([4.0, 4.0])), torch.diag(torch.tensor([0.0, 1.0]))
        >>> round(singular_value_difference(here[None], beyond[None]).item(), 4)
        5.0
    """
    return torch.linalg.vector_norm(torch.linalg.svdvals(here) - torch.linalg.svdvals(beyond), dim=-1)


def hidden_unit_norms(inward: Tensor, outward: Tensor) -> Tensor:
    r"""Take the Frobenius norm of E for each unit of a network with one hidden layer that may switch.

    $\|E\|_F^2 = \sum_{i=1}^{n_0} \sum_{j=1}^{n_c} (W_2)_{jk}^2 (W_1)_{ki}^2$, where k is the unit: the squared length
    of its column of $W_2$ times that of its row of $W_1$. The source prints $(W_2)_{k,j}$, a row of $W_2$, which has no
    meaning where k exceeds the number of outputs.

    Args:
        inward: $W_1$, `(unit, in)`.
        outward: $W_2$, `(out, unit)`.

    Returns:
        `(unit,)`.

    Raises:
        ObservationError: If the shapes do not fit together.

    References:
        Johansson 2022, eq. 2.8, with its indices put right.

    Example:
        >>> hidden_unit_norms(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[2.0, 7.0]])).tolist()
        [10.0, 7.0]
    """
    if inward.ndim != 2 or outward.ndim != 2 or len(inward) != outward.shape[1]:
        raise ObservationError(
            f"got weights of shapes {tuple(inward.shape)} and {tuple(outward.shape)}, expected (unit, in) and "
            "(out, unit); pass those of the layers before and after the hidden units"
        )
    return torch.linalg.vector_norm(inward, dim=1) * torch.linalg.vector_norm(outward, dim=0)


def expected_squared_norm(variance_constant: float, *, outputs: int, hidden: int) -> float:
    r"""Take the mean of $\|E\|_F^2$ over initialisations of a network with one hidden layer, for a unit fixed before.

    $C^2 n_c / n_1$, if all weights are independent with mean zero, those of layer l with variance $C / n_{l-1}$. It
    bounds the mean of $\sum_i (\sigma_i - \tilde\sigma_i)^2$ between two regions that differ in that unit.

    Not what the source takes it for, a bound between the region of a point and an adjacent one: which unit's wall is
    near depends on the unit's weights. A wall is met with a density that grows with the length of the unit's row
    $w_k$ of $W_1$, so long rows are met more often. What still holds, for any choice of the unit from x, $W_1$ and
    $b_1$ alone, since $W_2$ is independent of these: the mean is $C n_c / n_1 \cdot E\|w_k\|^2$ with $w_k$ the row
    chosen, at most $C n_c / n_1 \cdot \max \|w_k\|^2$. With torch's uniform weights ($C = 1/3$, $\|w_k\|^2 \leq 1$)
    that is three times the value printed; for one input and the wall nearest to zero it is 3/2 of it in the limit of
    many units, and as $\sum_i (\sigma_i - \tilde\sigma_i)^2$ hardly falls below $\|E\|_F^2$ for $n_0 = n_c = 1$, the
    printed bound fails there. For many inputs all rows are about equally long, and it holds.

    Args:
        variance_constant: C; 1/3 for torch's own initialisation of `torch.nn.Linear`.
        outputs: $n_c$.
        hidden: $n_1$.

    Returns:
        The mean.

    References:
        Johansson 2022, eqs. 2.9 to 2.13.

    Example:
        >>> round(expected_squared_norm(1 / 3, outputs=10, hidden=100), 6)
        0.011111
    """
    return variance_constant**2 * outputs / hidden


def expected_squared_slope_difference(variance_constant: float, *, hidden: int) -> float:
    r"""Take the source's bound on the mean of $(\sigma - \tilde\sigma)^2$ between two points at distance 1.

    $2 C^2 - 2 C^2 / n_1$, for one input, one output and one hidden layer of independent weights of mean zero and
    variance $C / n_{l-1}$.

    The source's way there does not hold: $(\sum_j a_j)^2 \leq 2 \sum_j a_j^2$ (eq. 2.15) is false for three equal
    numbers, and the number of regions in a unit interval is not about $n_1$ with torch's initialisation (between 0 and
    1 each unit has a threshold with probability 1/4). The right way: across the threshold of unit k the slope changes
    by $w_{2,k} |w_{1,k}|$, towards greater x, whether it switches on or off. Given $W_1$ and $b_1$ these changes are
    uncorrelated, so that $E(W - \tilde W)^2 = C \cdot E[w_1^2 1\{\text{threshold between}\}] \leq C^2$: equality with
    the constant 1, where 2.15 has a bound with 2, and $|\sigma - \tilde\sigma| \leq |W - \tilde W|$. So $C^2$ bounds
    the mean at any distance and for any $n_1$, and 2.18 holds for $n_1 \geq 2$, where it is no less; for $n_1 = 1$ it
    is 0, which is wrong. Between points that were chosen to lie in different regions, as in the source's experiment,
    the bound is $C^2$ over the probability that they do.

    Args:
        variance_constant: C; 1/3 for torch's own initialisation of `torch.nn.Linear`.
        hidden: $n_1$.

    Returns:
        The bound as printed.

    References:
        Johansson 2022, eqs. 2.14 to 2.18; Hanin and Rolnick 2019, Complexity of linear regions in deep networks.

    Example:
        >>> round(expected_squared_slope_difference(1 / 3, hidden=100), 6)
        0.22
    """
    return 2 * variance_constant**2 * (1 - 1 / hidden)
