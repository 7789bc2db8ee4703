"""Metrics of how the filters of each layer lie to a direction, and of what that would be at initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from reluscope.entries import metric

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.arrangements.projection_states import Projections

PROJECTIONS = "reluscope_plugins.arrangements.projection_states:projections"


@metric(dims=("layer", "filter"), units="1", minimum=-1.0, maximum=1.0, needs={"weights"}, of=PROJECTIONS)
def projection_cosine(found: Projections) -> xr.DataArray:
    r"""Cosine between each filter and a direction, by default the identity line.

    $c_i = \langle w_i, 1 \rangle / (\lVert w_i \rVert \lVert 1 \rVert)$, of all convolutions and linear layers. Its
    sign says on which side of the filter's hyperplanes without bias the positive end of the identity line lies, up to
    padding. By default $1$ is a vector of ones within the kernel; with `space="input"` one in the whole input of the
    layer, as the source has it, which costs one more forward pass. With `direction="mean_input"` the mean input takes
    its place: the sign is then that of the mean pre-activation without bias and norm.

    Args:
        found: Cosines of the layers.

    Returns:
        The cosines `(layer, filter)`; NaN for a zero filter, behind the last filter of a layer, and where a layer is
        neither a convolution nor linear, is transposed, was not called, or was skipped: `skipped(layer)` says why.

    References:
        Gamba et al. 2020, eq. 1.
    """
    return found.labelled(found.cosines, "filter")


@metric(dims=("layer",), units="1", minimum=0.0, maximum=1.0, needs={"weights"}, of=PROJECTIONS)
def negative_projection_share(found: Projections) -> xr.DataArray:
    r"""Share of the filters whose projection is negative, or zero.

    $n_l = \frac{1}{F} \sum_i 1[c_i \le 0]$ over the filters that are not zero; see `projection_cosine`. A filter at a
    right angle to the direction counts as negative, as the source has it.

    Args:
        found: Cosines of the layers.

    Returns:
        The shares `(layer,)`; NaN where no filter has a cosine.

    References:
        Gamba et al. 2020, eq. 2.
    """
    import numpy as np

    known = {layer: cosines[np.isfinite(cosines)] for layer, cosines in found.cosines.items()}
    return found.labelled({layer: (cosines <= 0.0).mean() for layer, cosines in known.items() if cosines.size})


@metric(dims=("layer",), units="1", minimum=0.0, maximum=1.0, needs={"weights"}, of=PROJECTIONS)
def projection_p_value(found: Projections, *, correction: Literal["holm", "none"] = "holm") -> xr.DataArray:
    """Probability, at initialisation, of a share of negative projections as far from one half.

    Of the sign test of each layer, two-sided and exact, corrected for the number of layers.

    Args:
        found: Cosines of the layers.
        correction: `"holm"`, or `"none"`.

    Returns:
        The p-values `(layer,)`; NaN where no filter has a cosine.

    Raises:
        ObservationError: If there is no such correction.

    References:
        Gamba et al. 2020, section 3.2; Holm 1979.
    """
    import numpy as np

    from reluscope_plugins.arrangements.null_distribution import corrected, sign_p_value

    layers = [layer for layer, cosines in found.cosines.items() if np.isfinite(cosines).any()]
    values = corrected([sign_p_value(found.cosines[layer]) for layer in layers], correction)
    return found.labelled(dict(zip(layers, values, strict=True)))


@metric(dims=("layer", "bound"), units="1", minimum=0.0, maximum=1.0, needs={"weights"}, of=PROJECTIONS)
def null_share_interval(found: Projections, *, level: float = 0.95) -> xr.DataArray:
    """Where the share of negative projections lies at initialisation.

    Of the filters that have a sign: those that are zero, or at a right angle to the direction, do not count here, while
    `negative_projection_share` counts the latter as negative. At initialisation their probability is zero.

    Args:
        found: Cosines of the layers.
        level: Least probability of the interval, for each layer by itself.

    Returns:
        The ends `(layer, bound)`; NaN where no filter has a sign.

    Raises:
        ObservationError: If the level is not between 0 and 1.

    References:
        Gamba et al. 2020, section 3.2.
    """
    from reluscope_plugins.arrangements.null_distribution import check_probability, share_interval

    check_probability("level", level)
    filters = {layer: int(((cosines < 0.0) | (cosines > 0.0)).sum()) for layer, cosines in found.cosines.items()}
    return found.labelled({layer: share_interval(number, level) for layer, number in filters.items()}, "bound")


@metric(dims=("layer",), units="1", minimum=0.0, maximum=1.0, needs={"weights"}, of=PROJECTIONS)
def projection_normality(found: Projections, *, law: Literal["normal", "sphere"] = "normal") -> xr.DataArray:
    """Probability, at initialisation, of cosines as far from their law.

    Of Kolmogorov and Smirnov's test of each layer, corrected for the number of layers by Holm's method.

    Args:
        found: Cosines of the layers.
        law: `"normal"`: N(0, 1 / n) of n weights a filter, as the source says; `"sphere"`: exact for normal weights.

    Returns:
        The p-values `(layer,)`; NaN where no filter has a cosine, or one weight.

    Raises:
        ObservationError: If there is no such law.

    References:
        Gamba et al. 2020, section 3.2.
    """
    import numpy as np

    from reluscope_plugins.arrangements.null_distribution import corrected, cosine_p_value

    values = {
        layer: cosine_p_value(cosines / found.scale[layer], found.inputs[layer], law)
        for layer, cosines in found.cosines.items()
    }
    known = [layer for layer, value in values.items() if np.isfinite(value)]
    return found.labelled(dict(zip(known, corrected([values[layer] for layer in known]), strict=True)))
