"""All statistics of a network's weights in one call, along any direction, without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from torch import Tensor, nn

from reluscope.errors import ObservationError, nearest
from reluscope.inputs import unwrap
from reluscope.labelling import ABOUT
from reluscope_plugins.arrangements import projections as metrics
from reluscope_plugins.arrangements.cosines import kernel_direction
from reluscope_plugins.arrangements.layer_inputs import filter_layers
from reluscope_plugins.arrangements.projection_states import of_weights
from reluscope_plugins.arrangements.projection_states import projections as projection_state


def weight_statistics(
    model: nn.Module,
    directions: Mapping[str, Tensor] | None = None,
    *,
    level: float = 0.95,
    law: Literal["normal", "sphere"] = "normal",
) -> xr.Dataset:
    """Look how the filters of each convolution and linear layer lie to a direction; the model is left as found.

    Args:
        model: Any network.
        directions: Name of a weight, such as `"features.0.weight"`, to a vector of the shape of one filter,
            `(channel, *kernel)` or `(input,)`, or broadcastable to it, such as `(channel, 1, 1)`; with several groups
            the channels are those of all. Layers that are not named get NaN. None takes the identity line in all.
        level: Of `null_share_interval`.
        law: Of `projection_normality`.

    Returns:
        The variables `projection_cosine (layer, filter)`, `negative_projection_share (layer)`,
        `projection_p_value (layer)`, `null_share_interval (layer, bound)` and `projection_normality (layer)`, as the
        metrics of these names.

    Raises:
        ObservationError: If there is no such layer, or a direction does not fit.
        NotFiniteError: If a weight holds NaN or infinity.

    References:
        Gamba et al. 2020, section 2.3.

    Example:
        >>> found = weight_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)))
        >>> found.projection_cosine.sizes["filter"], found.layer.values.tolist()
        (8, ['0.weight', '2.weight'])
    """
    network = unwrap(model)
    wanted = None if directions is None else _directions(filter_layers(network), directions)
    found = projection_state().finish(of_weights(network, wanted))
    parameters: dict[str, dict[str, Any]] = {
        "projection_cosine": {},
        "negative_projection_share": {},
        "projection_p_value": {},
        "null_share_interval": {"level": level},
        "projection_normality": {"law": law},
    }
    dataset = xr.Dataset()
    for name, bound in parameters.items():
        entry = getattr(metrics, name)
        array = entry.implementation()(found, **bound)
        dataset[name] = array.assign_attrs(long_name=entry.summary.rstrip("."), units=entry.units)
    if "bound" in dataset.dims:
        dataset = dataset.assign_coords({"bound": np.array(["lower", "upper"])})
    for coordinate in map(str, dataset.coords):
        dataset[coordinate].attrs = {"long_name": ABOUT[coordinate], "units": "1"}
    return dataset


def _directions(layers: Mapping[str, nn.Module], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for layer, direction in given.items():
        if layer not in layers:
            raise ObservationError(
                f"directions: the network has no convolution or linear layer {layer!r}. {nearest(str(layer), layers)}"
            )
        if not isinstance(direction, Tensor):
            raise ObservationError(
                f"directions[{layer!r}]: got {type(direction).__name__}, expected a tensor; convert it with "
                "torch.as_tensor"
            )
        module: Any = layers[layer]
        shape = (module.in_features,) if isinstance(module, nn.Linear) else (module.in_channels, *module.kernel_size)
        try:
            found[layer] = kernel_direction(direction, shape, getattr(module, "groups", 1))
        except ObservationError as error:
            raise ObservationError(f"directions[{layer!r}]: {error}") from error
    return found
