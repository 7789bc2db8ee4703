"""What a network costs in its number system: additions, shifts, random bits and weight bits, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope.errors import QuantizationError
from reluscope.inputs import Arguments, Input
from reluscope.preserve import preserved
from reluscope.quantization import quantized_layers
from reluscope.quantization_report import OPERATIONS, weight_bits


def operation_cost(model: nn.Module, x: Input, *, refinement: bool = False) -> xr.Dataset:
    r"""Count what one sample costs a quantised network, and what it costs the same network in floating point.

    A layer makes `products` = weights times positions products a sample: output positions of a convolution, input
    positions of a transposed one, rows of a linear layer; those with the padding count, as is usual. In floating point
    each is a multiply-add. In a stochastic number system each is made `samples` times, with the operations that the
    system names; products with weights that are zero, or pruned, cost nothing. Random bits are
    drawn for each product with `draws="product"`; otherwise for each weight and call (held ones once, for all calls),
    which all positions and all samples in `x` share.

    Weight bits are those of all weights, zero or not: leaving zeros out would take an index. Biases, norms that are not
    folded and activations are not counted.

    Args:
        model: A network quantised by `reluscope.quantize_`; left as found, and no weight is drawn.
        x: A batch, as for `reluscope.observe`, to see how often each layer is called, and at how many positions.
        refinement: Count only the draws that `reluscope.refine_` or `reluscope.set_samples_` added to those that are
            held, and the next pass makes: what they cost where the products with the former ones are kept. They can be
            as long as a layer's inputs are the same; behind a layer that is refined they are not.

    Returns:
        `float_multiply_adds(layer)`, `additions(layer)`, `shifts(layer)`, `random_bits(layer)`, `multiply_adds(layer)`
        of one sample, `weight_bits(layer)`, `float_weight_bits(layer)` and `zero_share(layer)`.

    Raises:
        QuantizationError: If the network is not quantised, or its refinement is asked for and it holds no draws.

    References:
        Hartmann 2025, eq. 4.9.

    Example:
        >>> import reluscope as rs
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> _ = rs.quantize_(model, "psb", samples=8)
        >>> cost = operation_cost(model, torch.randn(2, 4))
        >>> int(cost.float_multiply_adds.sum()), int(cost.additions.sum()), int(cost.random_bits.sum())
        (12, 96, 48)
    """
    layers: dict[str, Any] = dict(quantized_layers(model))
    arguments = Arguments.of(x)
    positions, calls = _positions(model, layers, arguments)
    columns: dict[str, list[float]] = {variable: [] for variable, _ in OPERATIONS.values()}
    columns |= {name: [] for name in ("float_multiply_adds", "float_weight_bits", "weight_bits", "zero_share")}
    for name, layer in layers.items():
        weights = layer.quantization
        system = weights.arithmetic.system
        size, kept = layer.weight.numel(), kept_weights(layer)
        if refinement and weights.arithmetic.draws != "held":
            raise QuantizationError(
                f"refinement: the network draws anew (draws={weights.arithmetic.draws!r}), expected one that keeps its "
                "draws; quantise it with draws='held', or leave refinement out"
            )
        draws = _new_samples(layer) if refinement else weights.samples if system.stochastic else 1
        drawn = 1 if weights.arithmetic.draws == "held" else calls[name]
        for operation, (variable, _) in OPERATIONS.items():
            shared = operation == "random_bit" and weights.arithmetic.draws != "product"
            times = (drawn if shared else positions[name]) / arguments.samples
            columns[variable].append(float(system.operations.get(operation, 0)) * draws * kept * times)
        columns["float_multiply_adds"].append(size * positions[name] / arguments.samples)
        columns["float_weight_bits"].append(size * 8 * layer.weight.element_size())
        columns["weight_bits"].append(size * weight_bits(layer))
        columns["zero_share"].append(1 - kept / size)
    return _labelled(columns, list(layers))


def _new_samples(layer: Any) -> int:
    weights = layer.quantization
    if not weights.arithmetic.system.stochastic:
        return 0
    with torch.no_grad():
        _, value = weights.encoded(layer, weights.folded(layer)[0])
    return int(weights.samples - weights.held.left(value, weights.samples))


def kept_weights(layer: Any) -> int:
    """Count the weights of a quantised layer that are multiplied with.

    Args:
        layer: A quantised layer.

    Returns:
        How many are not zero once folded, pruned and represented.
    """
    with torch.no_grad():
        weights = layer.quantization
        encoded, _ = weights.encoded(layer, weights.folded(layer)[0])
        return int(torch.count_nonzero(weights.arithmetic.system.decode(encoded)))


def output_positions(module: Any, input: Tensor, output: Tensor) -> int:
    """Count how often a linear or convolution layer makes a product with each of its weights.

    Args:
        module: The layer.
        input: What it took.
        output: What it gave.

    Returns:
        Positions of all samples: of the output, or of the input for a transposed convolution.
    """
    if getattr(module, "transposed", False):
        return input.numel() // int(module.in_channels)
    return output.numel() // int(getattr(module, "out_channels", getattr(module, "out_features", 1)))


def _positions(model: nn.Module, layers: dict[str, Any], arguments: Arguments) -> tuple[Counter[str], Counter[str]]:
    # Of all samples together, and how often each layer is called.
    positions: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def listen(name: str) -> Any:
        def heard(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] += 1
            positions[name] += output_positions(module, args[0], output)

        return heard

    with preserved(model, training=False), in_floating_point(layers), torch.no_grad():
        for name, layer in layers.items():
            layer.register_forward_hook(listen(name))
        args, kwargs, _ = arguments.copied(graph=False)
        model(*args, **kwargs)
    return positions, calls


@contextmanager
def in_floating_point(layers: dict[str, Any]) -> Iterator[None]:
    """Let quantised layers be what they were, so that no weight is drawn.

    Args:
        layers: Name to quantised layer.

    Yields:
        Nothing; on exit the layers are quantised as before.
    """
    kinds = {name: type(layer) for name, layer in layers.items()}
    try:
        for layer in layers.values():
            layer.__class__ = layer.quantization.plain
        yield
    finally:
        for name, layer in layers.items():
            layer.__class__ = kinds[name]


def _labelled(columns: dict[str, list[float]], layers: list[str]) -> xr.Dataset:
    names = {variable: f"{text} in the number system" for variable, text in OPERATIONS.values()}
    names |= {
        "float_multiply_adds": "multiply-adds in floating point",
        "float_weight_bits": "bits of the weights in floating point",
        "weight_bits": "bits of the weights",
        "zero_share": "share of weights that are zero",
    }
    units = {"float_weight_bits": "bit", "weight_bits": "bit"}
    return xr.Dataset(
        {
            key: ("layer", np.array(values), {"long_name": names[key], "units": units.get(key, "1")})
            for key, values in columns.items()
        },
        coords={"layer": ("layer", np.array(layers, dtype=np.str_), {"long_name": "layer", "units": "1"})},
    )
