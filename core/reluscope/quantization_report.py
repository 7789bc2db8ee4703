"""What was done to each layer of a network that runs in a number system, as labelled data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from torch import nn

from reluscope.quantized_layers import Quantized


def conversion_report(
    modules: Mapping[str, nn.Module], skipped: Mapping[str, str], folds: Mapping[str, str]
) -> xr.Dataset:
    """Label what was done to each layer.

    Args:
        modules: Name to module, of the quantised network.
        skipped: Name to why a module was not converted, empty where it was.
        folds: Name of a layer to that of the batch norm that is folded into it.

    Returns:
        As `reluscope.quantize_`.
    """
    rows = [_row(modules[name], folds.get(name, "")) for name in skipped]
    weights, bits, samples, folded = zip(*rows, strict=True)
    labels = {
        "weights": (np.array(weights, dtype=np.int64), "number of weights", "1"),
        "weight_bits": (np.array(bits, dtype=np.float64), "bits a weight", "bit"),
        "samples": (np.array(samples, dtype=np.int64), "draws that are averaged; 0 where nothing is drawn", "1"),
        "folded": (np.array(folded, dtype=np.str_), "batch norm folded into the layer", "1"),
    }
    return xr.Dataset(
        {key: ("layer", values, {"long_name": name, "units": units}) for key, (values, name, units) in labels.items()},
        coords={
            "layer": ("layer", np.array(list(skipped), dtype=np.str_), {"long_name": "layer", "units": "1"}),
            "skipped": (
                "layer",
                np.array(list(skipped.values()), dtype=np.str_),
                {"long_name": "why the layer was not converted", "units": "1"},
            ),
        },
    )


def _row(module: nn.Module, norm: str) -> tuple[int, float, int, str]:
    if isinstance(module, Quantized):
        weights = module.quantization
        system = weights.arithmetic.system
        samples = weights.samples if system.stochastic else 0
        return module.get_parameter("weight").numel(), float(system.bits), samples, norm
    own = [one for one in module._parameters.values() if one is not None and not nn.parameter.is_lazy(one)]
    bits = max((8 * one.element_size() for one in own), default=0)
    return sum(one.numel() for one in own), float(bits), 0, norm
