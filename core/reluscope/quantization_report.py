"""What was done to each layer of a network that runs in a number system, as labelled data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from torch import nn

from reluscope.quantized_layers import Quantized

OPERATIONS: Mapping[str, tuple[str, str]] = {
    "add": ("additions", "additions"),
    "shift": ("shifts", "shifts"),
    "random_bit": ("random_bits", "random bits"),
    "multiply_add": ("multiply_adds", "multiply-adds"),
}
"""Operation of a number system to the variable that counts it, and what that is."""


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
    for operation, (key, name) in OPERATIONS.items():
        counts = np.array([_operations(modules[layer], operation) for layer in skipped])
        labels[key] = (counts, f"{name} of one product, in place of one multiply-add in floating point", "1")
    return xr.Dataset(
        {key: ("layer", values, {"long_name": name, "units": units}) for key, (values, name, units) in labels.items()},
        attrs={"cost": "of a pass: reluscope_plugins.number_systems.cost.operation_cost(model, x)"},
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
        return module.get_parameter("weight").numel(), weight_bits(module), samples, norm
    own = [one for one in module._parameters.values() if one is not None and not nn.parameter.is_lazy(one)]
    bits = max((8 * one.element_size() for one in own), default=0)
    return sum(one.numel() for one in own), float(bits), 0, norm


def _operations(module: nn.Module, operation: str) -> float:
    if not isinstance(module, Quantized):
        return 0.0
    weights = module.quantization
    system = weights.arithmetic.system
    return float(system.operations.get(operation, 0)) * (weights.samples if system.stochastic else 1)


def weight_bits(layer: Quantized) -> float:
    """Return the bits that one weight of a layer takes in its number system.

    Args:
        layer: A quantised layer.

    Returns:
        Those of the system, for the dtype of the weight where they depend on it.
    """
    system = layer.quantization.arithmetic.system
    if hasattr(system, "bits_of"):
        return float(system.bits_of(layer.get_parameter("weight").dtype))
    return float(system.bits)


def input_saturation(layers: Mapping[str, Quantized]) -> xr.Dataset:
    """Count the inputs of layers that lay beyond the number system of activations, and became its end.

    Args:
        layers: Name to layer, as `reluscope.quantization.quantized_layers` finds them.

    Returns:
        `saturated(layer)` and `inputs(layer)`, how many have been rounded since the network was quantised; zero where
        the system of activations does not say how many.

    Example:
        >>> import torch, reluscope as rs
        >>> from reluscope.quantization import quantized_layers
        >>> model = nn.Sequential(nn.Linear(2, 1))
        >>> _ = rs.quantize_(model, "psb", activations="fixed16")
        >>> _ = model(torch.tensor([[1.0, 1000.0]]))
        >>> found = input_saturation(quantized_layers(model))
        >>> found.saturated.item(), found.inputs.item()
        (1, 2)
    """
    counts = {
        "saturated": ([layer.quantization.saturated for layer in layers.values()], "inputs beyond the number system"),
        "inputs": ([layer.quantization.inputs for layer in layers.values()], "inputs that were rounded"),
    }
    return xr.Dataset(
        {
            key: ("layer", np.array(values, dtype=np.int64), {"long_name": name, "units": "1"})
            for key, (values, name) in counts.items()
        },
        coords={"layer": ("layer", np.array(list(layers), dtype=np.str_), {"long_name": "layer", "units": "1"})},
    )
