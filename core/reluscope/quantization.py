"""Run any network in a number system: in place, layer by layer, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import xarray as xr
from torch import nn

from reluscope.batchnorm_folding import foldable_norms
from reluscope.convertible import check_finite_weights, magnitude_below, refusals
from reluscope.errors import QuantizationError
from reluscope.lab import Lab
from reluscope.quantization_arguments import (
    Samples,
    check_limit,
    checked_seed,
    checked_share,
    resolved_samples,
    whole_number,
)
from reluscope.quantization_report import conversion_report
from reluscope.quantized_layers import LAYERS, NORMS, PLAIN, Quantized, torch_layer
from reluscope.weight_draws import DRAWS, Arithmetic, LayerWeights

EXACT_PRODUCTS = 1 << 20
"""Multiplications of one call of a layer up to which `draws="product"` draws a weight for each."""
_PROTOCOL = ("encode", "decode", "mean", "variance", "draw", "stochastic", "bits", "operations")

System = str | Mapping[str, Any] | Any


def quantize_(
    model: nn.Module,
    system: System,
    *,
    samples: Samples = 16,
    activations: System | None = "fixed16",
    fold_batchnorm: bool = True,
    filter: Callable[[str, nn.Module], bool] | None = None,
    draws: Literal["pass", "product", "held"] = "pass",
    prune: float = 0.0,
    exact_products: int = EXACT_PRODUCTS,
    seed: int = 0,
    lab: Lab | None = None,
) -> xr.Dataset:
    """Run a network in a number system from now on, in place.

    Linear, convolution and transposed convolution layers then multiply with weights that are encoded, and drawn where
    the system is stochastic, at each call; the mean over `samples` draws is taken before the activation. What goes into
    such a layer is rounded to the system `activations`. Parameters stay where and what they are, so `state_dict`,
    optimizers, hooks, `copy.deepcopy` and `torch.save` work as before; gradients go straight through to the parameters.
    `restore_` undoes it, bit for bit.

    Args:
        model: Any module.
        system: Name of a number system, a mapping with `name` and its parameters, or an instance.
        samples: Number of draws that are averaged, for all layers, or layer name to number; `""` names all others.
        activations: Number system of the inputs of the converted layers, given likewise; None leaves them.
        fold_batchnorm: Whether batch norms that follow a converted layer are folded into it, except in train mode.
        filter: `(name, module) -> bool`, which of the layers to convert; None converts all.
        draws: `"pass"`: one draw of each weight and call of the layer. `"product"`: independent draws for every
            multiplication. `"held"`: one draw that is kept, and refined by `refine_`.
        prune: Share of all weights of the converted layers, those nearest to zero, that are taken as zero: of their
            number times the share the nearest whole number, at half the even one; equal weights share their fate. The
            parameters are not changed. The magnitude up to which is found once, here: of weights that are trained
            afterwards it may be another share.
        exact_products: For `"product"`: multiplications of a call up to which all weights are drawn; beyond, outputs
            are drawn from the normal distribution of the same mean and variance.
        seed: Of all draws; the same seed gives the same bits.
        lab: Where names of systems are looked up; None discovers the installed plugins.

    Returns:
        What was done to each module with parameters: `weights(layer)`, `weight_bits(layer)`, `samples(layer)`,
        `folded(layer)` and the coordinate `skipped(layer)`: why it was not converted, empty where it was; and
        `additions(layer)`, `shifts(layer)`, `random_bits(layer)`, `multiply_adds(layer)` of one product, zero where it
        was not. What a pass costs is counted by `reluscope_plugins.number_systems.cost.operation_cost`.

    Raises:
        QuantizationError: If the model is quantised already, has no layer to convert, or an argument does not fit.
        NotFiniteError: If a weight is NaN or infinite.
        UnknownNameError: If there is no such number system or layer.

    References:
        Hartmann 2025, section 4.2.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> report = quantize_(model, "psb", samples=4)
        >>> list(report.layer.values), report.weights.values
        ([np.str_('0'), np.str_('2')], array([6, 3]))
    """
    _check_plain(model)
    if lab is not None and not isinstance(lab, Lab):
        raise QuantizationError(
            f"lab: got {type(lab).__name__}, expected a reluscope.Lab, or None for the installed ones"
        )
    if draws not in DRAWS:
        raise QuantizationError(f"draws: got {draws!r}, expected one of {', '.join(map(repr, DRAWS))}")
    if not isinstance(fold_batchnorm, bool):
        raise QuantizationError(f"fold_batchnorm: got {fold_batchnorm!r}, expected True or False")
    share, seed = checked_share("prune", prune), checked_seed(seed)
    exact_products = whole_number(
        "exact_products", exact_products, 0, hint="; 0 draws all outputs from the normal distribution"
    )
    of_weights = _built(system, lab)
    of_activations = None if activations is None else _built(activations, lab)
    if draws == "held" and of_weights.stochastic and not hasattr(of_weights, "counts"):
        raise QuantizationError(
            f"draws='held': {type(of_weights).__name__} has no counts to keep, expected a number system with `counts` "
            "and `from_counts`; take draws='pass'"
        )
    skipped = refusals(model, filter)
    layers: dict[str, Any] = {name: module for name, module in model.named_modules() if skipped.get(name) == ""}
    kinds: dict[str, Any] = {name: torch_layer(type(layer)) for name, layer in layers.items()}
    if not layers:
        reasons = "; ".join(f"{name!r}: {why}" for name, why in list(skipped.items())[:3])
        raise QuantizationError(
            f"{type(model).__name__} has no layer to convert, expected at least one linear or convolution layer "
            f"({reasons or 'it has no parameters'})"
        )
    numbers = resolved_samples(samples, layers, skipped)
    check_limit(of_weights, numbers)
    folds, refused = foldable_norms(model) if fold_batchnorm else ({}, {})
    folds = {layer: norm for layer, norm in folds.items() if layer in layers}
    skipped |= {name: f"not folded: {why}" for name, why in refused.items() if name in skipped}
    skipped |= {norm: f"folded into {layer!r}" for layer, norm in folds.items()}
    arithmetic = Arithmetic(
        system=of_weights,
        activations=of_activations,
        draws=draws,
        exact_products=exact_products,
        threshold=magnitude_below(layers, share),
        generator=torch.Generator().manual_seed(seed),
    )
    modules = dict(model.named_modules())
    check_finite_weights(layers | {name: modules[name] for name in folds.values()})
    last = list(layers)[-1]
    try:
        for name, layer in layers.items():
            norm = (modules[folds[name]],) if name in folds else ()
            layer.quantization = LayerWeights(arithmetic, name, numbers[name], norm, type(layer), name == last)
            layer.__class__ = LAYERS[kinds[name]]
        for name, norm_name in folds.items():
            modules[norm_name].__dict__["handover"] = layers[name].quantization.handover
            modules[norm_name].__class__ = NORMS[type(modules[norm_name])]
        return conversion_report(modules, skipped, folds)
    except BaseException:
        _restore(model)
        raise


def restore_(model: nn.Module) -> None:
    """Undo `quantize_`: the network computes as before, bit for bit.

    Args:
        model: A quantised network.

    Raises:
        QuantizationError: If it is not quantised.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3))
        >>> _ = quantize_(model, "psb")
        >>> restore_(model)
        >>> type(model[0]).__name__
        'Linear'
    """
    if not any(type(module) in PLAIN for module in model.modules()):
        quantized_layers(model)  # raises
    _restore(model)


def set_samples_(model: nn.Module, samples: Samples) -> None:
    """Change how many draws are averaged, from the next pass on.

    Of draws that are held, more than before are refined, and fewer drawn anew.

    Args:
        model: A quantised network.
        samples: Number of draws, for all layers, or layer name to number; `""` names all others.

    Raises:
        QuantizationError: If the network is not quantised, a number is not a positive integer, or one is missing.
        UnknownNameError: If there is no such layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3))
        >>> _ = quantize_(model, "psb", samples=4)
        >>> set_samples_(model, 64)
    """
    layers = quantized_layers(model)
    _set(layers, resolved_samples(samples, layers, {}))


def refine_(model: nn.Module, extra_samples: Samples) -> None:
    """Add draws to those that are held: n refined by m are distributed as n + m drawn at once.

    Only the new ones are drawn, at the next pass.

    Args:
        model: A network quantised with `draws="held"`.
        extra_samples: Number of further draws, for all layers, or layer name to number; `""` names all others.

    Raises:
        QuantizationError: If the network is not quantised or holds no draws, a number is not a positive integer, or one
            is missing.
        UnknownNameError: If there is no such layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3))
        >>> _ = quantize_(model, "psb", samples=4, draws="held")
        >>> refine_(model, 12)
        >>> model[0].quantization.samples
        16
    """
    layers = quantized_layers(model)
    draws = next(iter(layers.values())).quantization.arithmetic.draws
    if draws != "held":
        raise QuantizationError(
            f"refine_: the network draws anew (draws={draws!r}), expected one that keeps its draws; quantise it with "
            "draws='held', or change the number with set_samples_"
        )
    extra = resolved_samples(extra_samples, layers, {})
    _set(layers, {name: layers[name].quantization.samples + number for name, number in extra.items()})


def quantized_layers(model: nn.Module) -> dict[str, Quantized]:
    """Find the layers that run in a number system.

    Args:
        model: A quantised network.

    Returns:
        Name to layer, in the order of the model's modules.

    Raises:
        QuantizationError: If there is none.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Quantized)}
    if not layers:
        raise QuantizationError(
            f"{type(model).__name__} does not run in a number system, expected a quantised network; call "
            "reluscope.quantize_ first"
        )
    return layers


def _check_plain(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module) in PLAIN or isinstance(module, Quantized):
            raise QuantizationError(
                f"module {name!r} runs in a number system already, expected a network that does not; call "
                "reluscope.restore_ first"
            )


def _restore(model: nn.Module) -> None:
    for module in model.modules():
        weights = module.__dict__.pop("quantization", None)
        module.__dict__.pop("handover", None) if type(module) in PLAIN else None
        if isinstance(weights, LayerWeights):
            module.__class__ = weights.plain
        elif type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]


def _built(system: System, lab: Lab | None) -> Any:
    if isinstance(system, str | Mapping):
        params = {"name": system} if isinstance(system, str) else dict(system)
        name = params.pop("name", None)
        if not isinstance(name, str):
            raise QuantizationError(
                f"number system: got {system!r}, expected a mapping with a name, such as {{'name': 'psb'}}"
            )
        return (lab or Lab()).number_systems[name].build(**params)
    expected = "expected a name such as 'psb', a mapping with a name, or an instance of a number system"
    if isinstance(system, type):
        raise QuantizationError(f"number system: got the class {system.__name__}, {expected}: {system.__name__}(...)")
    missing = [part for part in _PROTOCOL if not hasattr(system, part)]
    if missing:
        raise QuantizationError(f"number system: got {type(system).__name__}, which has no {missing[0]!r}; {expected}")
    return system


def _set(layers: Mapping[str, Quantized], numbers: Mapping[str, int]) -> None:
    for name, number in numbers.items():
        check_limit(layers[name].quantization.arithmetic.system, {name: number})
    for name, number in numbers.items():
        layers[name].quantization.samples = number
