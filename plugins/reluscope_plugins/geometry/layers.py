"""Metrics of the weights alone: one value for each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.geometry.layer_states import Layers

WEIGHTS = "reluscope_plugins.geometry.layer_states:layer_weights"
SINGULAR_VALUES = "reluscope_plugins.geometry.layer_states:layer_singular_values"


@metric(dims=("layer",), units="1", minimum=0.0, needs={"weights"}, of=SINGULAR_VALUES)
def spectral_norm(found: Layers) -> xr.DataArray:
    r"""Greatest singular value of each layer's weight.

    $\sigma_1(W)$. Of a convolution $W$ is the kernel matrix `(out, in times kernel)`, of several groups the
    block-diagonal one. The norm of the convolution itself, as a map between images, lies between $\sigma_1$ and
    $\sigma_1 \sqrt m$, where $m$ is the greatest number of windows that share one input position, at most
    $\prod_d \lceil k_d / s_d \rceil$ for kernel $k$ and stride $s$ without dilation: the windows' squared norms add up
    to at most $m$ times the image's. The lower bound needs one window that lies within the image. Of a transposed
    convolution the matrix is that of the convolution it transposes.

    Cost: one singular value decomposition in double precision a layer, `rows * columns * min(rows, columns)`, once a
    moment however many batches there are; `stable_rank` and `weight_rank` share it.

    Args:
        found: Singular values of the layers.

    Returns:
        The norms `(layer,)`; NaN where a layer was skipped, `skipped(layer)` says why.

    References:
        Yoshida and Miyato 2017, Spectral norm regularization, section 3.3, for the kernel matrix.
    """
    return found.labelled(lambda layer: found.values[layer][0])


@metric(dims=("layer",), units="1", minimum=0.0, needs={"weights"}, of=WEIGHTS)
def frobenius_norm(found: Layers) -> xr.DataArray:
    r"""Frobenius norm of each layer's weight.

    $\|W\|_F = \sqrt{\sum_{ij} W_{ij}^2}$, which for a convolution is that of its kernel.

    Args:
        found: Weights of the layers.

    Returns:
        The norms `(layer,)`; NaN where a layer was skipped, `skipped(layer)` says why.
    """
    import numpy as np

    return found.labelled(lambda layer: float(np.linalg.norm(found.values[layer].astype(np.float64))))


@metric(dims=("layer",), units="1", minimum=0.0, needs={"weights"}, of=SINGULAR_VALUES)
def stable_rank(found: Layers) -> xr.DataArray:
    r"""Stable rank of each layer's weight.

    $\|W\|_F^2 / \sigma_1(W)^2 = \sum_i \sigma_i^2 / \sigma_1^2$: at least 1, at most the rank, and hardly changed by
    small singular values; 0 where all weights are zero. For convolutions of the kernel matrix, see `spectral_norm`.

    Args:
        found: Singular values of the layers.

    Returns:
        The stable ranks `(layer,)`; NaN where a layer was skipped, `skipped(layer)` says why.

    References:
        Rudelson and Vershynin 2007, Sampling from large matrices, section 1.
    """
    return found.labelled(
        lambda layer: float(((found.values[layer] / (found.values[layer][0] or 1.0)) ** 2).sum()),
    )


@metric(dims=("layer",), units="1", minimum=0.0, needs={"weights"}, of=SINGULAR_VALUES)
def weight_rank(found: Layers, *, rtol: float | None = None) -> xr.DataArray:
    """Numerical rank of each layer's weight.

    Number of singular values above `rtol` times the greatest one. For convolutions of the kernel matrix, see
    `spectral_norm`.

    Args:
        found: Singular values of the layers.
        rtol: Relative tolerance; None takes NumPy's, the greater side of the matrix times the rounding unit of the
            weight's dtype.

    Returns:
        The ranks `(layer,)`; NaN where a layer was skipped, `skipped(layer)` says why.

    Raises:
        ObservationError: If the tolerance is negative or not a number.
    """
    from reluscope.errors import ObservationError

    if rtol is not None and not rtol >= 0.0:
        raise ObservationError(
            f"rtol: got {rtol!r}, expected a number from 0 on, such as 1e-6; None takes NumPy's tolerance"
        )

    def rank(layer: str) -> float:
        values = found.values[layer]
        return float((values > (found.rounding[layer] if rtol is None else rtol) * values[0]).sum())

    return found.labelled(rank)


@metric(dims=("layer",), units="1", minimum=0.0, needs={"weights"}, of=WEIGHTS, compared_with="first")
def distance_from_initialisation(found: Layers, first: Layers) -> xr.DataArray:
    r"""How far each layer's weight is from where it was at the first moment.

    $\|W(t) - W(0)\|_F$. Measured from before the first step on, that is the distance from initialisation; in
    `reluscope.measure`, which has one moment, it is 0. The weights of the first moment are kept, as much memory as the
    network's.

    Args:
        found: Weights of the layers now.
        first: The same at the first moment.

    Returns:
        The distances `(layer,)`; NaN where a layer was skipped, `skipped(layer)` says why.

    Raises:
        ObservationError: If the layers are not those of the first moment.

    References:
        Nagarajan and Kolter 2019, Generalization in deep networks: the role of distance from initialization.
    """
    import numpy as np

    from reluscope.errors import ObservationError

    def distance(layer: str) -> float:
        now, then = found.values[layer], first.values.get(layer)
        if then is None or then.shape != now.shape:
            raise ObservationError(
                f"layer {layer!r} has the shape {now.shape}, at the first moment it was "
                f"{'not there' if then is None else then.shape}, expected the same layers throughout; watch the grown "
                "network anew"
            )
        return float(np.linalg.norm(now.astype(np.float64) - then))

    return found.labelled(distance)
