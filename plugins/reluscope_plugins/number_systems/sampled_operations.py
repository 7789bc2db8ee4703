"""Sampled operations of computational attention: what a rough pass, and a finer one of some pixels, cost a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

_NAMES = {
    "first": "sampled operations of the first pass",
    "extra": "sampled operations of the further draws at refined positions",
    "redone": "sampled operations of the first draws at refined positions, with inputs that have changed",
    "everywhere": "sampled operations of all draws at all positions",
    "share": "share of positions that is refined",
}


@dataclass(frozen=True)
class CallCost:
    """What one call of a layer costs.

    Attributes:
        layer: Name of the layer.
        products: Products with weights other than zero, of all positions and images.
        share: Share of the positions that is refined; None for a layer behind the last pooling.
    """

    layer: str
    products: float
    share: float | None


def sampled_operations(
    calls: Sequence[CallCost], *, base_samples: int, refined_samples: int, pixels: int
) -> xr.Dataset:
    """Count the sampled operations of attention.

    A sampled operation is one draw of one product; products with weights that are zero or pruned cost nothing, those
    with the padding count, as in `reluscope_plugins.number_systems.cost.operation_cost`. A layer behind the last
    pooling is called for each pixel in the first pass, and refined wholly.

    Args:
        calls: Of the layers, in the order of the first pass.
        base_samples: Draws of the first pass.
        refined_samples: Draws where it is refined, the first ones included.
        pixels: Positions of the last feature map.

    Returns:
        `first(layer)`, `extra(layer)`, `redone(layer)`, `everywhere(layer)` and `share(layer)`. Refinement costs
        `extra` where products with the first draws can be kept, as in the layer that is called first, whose input is
        the image. Behind it the inputs have changed, and so have these products: `redone` more make the result exact.

    Example:
        >>> data = sampled_operations([CallCost("conv", 100.0, 0.25)], base_samples=2, refined_samples=32, pixels=64)
        >>> {key: data[key].item() for key in ("first", "extra", "redone", "everywhere")}
        {'first': 200.0, 'extra': 750.0, 'redone': 0.0, 'everywhere': 3200.0}
    """
    names = list(dict.fromkeys(call.layer for call in calls))
    totals: Mapping[str, dict[str, float]] = {key: dict.fromkeys(names, 0.0) for key in (*_NAMES, "products")}
    for index, call in enumerate(calls):
        share = 1.0 if call.share is None else call.share
        chosen = share * call.products
        totals["first"][call.layer] += base_samples * call.products * (pixels if call.share is None else 1)
        totals["extra"][call.layer] += (refined_samples - base_samples) * chosen
        totals["redone"][call.layer] += base_samples * chosen if index else 0.0
        totals["everywhere"][call.layer] += refined_samples * call.products
        totals["share"][call.layer] += chosen
        totals["products"][call.layer] += call.products
    for name, products in totals["products"].items():
        totals["share"][name] = totals["share"][name] / products if products else 0.0
    return xr.Dataset(
        {
            key: ("layer", np.array(list(totals[key].values())), {"long_name": text, "units": "1"})
            for key, text in _NAMES.items()
        },
        coords={"layer": ("layer", np.array(names, dtype=np.str_), {"long_name": "layer", "units": "1"})},
    )
