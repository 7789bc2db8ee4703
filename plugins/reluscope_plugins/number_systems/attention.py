"""Computational attention: a rough pass tells where a network is uncertain, and a finer one computes that anew."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor, nn

import reluscope as rs
from reluscope.errors import QuantizationError
from reluscope.preserve import preserved
from reluscope.quantization import quantized_layers
from reluscope.quantization_arguments import checked_seed, whole_number
from reluscope.weight_draws import HeldCounts
from reluscope_plugins.number_systems.cost import kept_weights, output_positions
from reluscope_plugins.number_systems.last_pooling import (
    LastPooling,
    Poolings,
    pixel_decision,
    pixel_entropy,
    pixel_logits,
)
from reluscope_plugins.number_systems.pixel_masks import above, carried, enlarged, shuffled, widened
from reluscope_plugins.number_systems.receptive_fields import ReceptiveFields, channel_dim, receptive_fields
from reluscope_plugins.number_systems.sampled_operations import CallCost, sampled_operations

SCORE = ("decision", "entropy")
SELECT = ("highest", "random")
CARRY = ("receptive", "scaled")
THRESHOLDS = ("image", "batch")
MANY = 2**31 - 1


@dataclass(frozen=True)
class Attention:
    """What a network says of images after it has looked again where it was uncertain.

    Attributes:
        logits: `(sample, class)`, of the second pass.
        first_logits: `(sample, class)`, of the first.
        score: Of each pixel of the last feature map in the first pass, `(sample, y, x)`.
        mask: Which of these pixels are refined, `(sample, y, x)`.
        layer_masks: Name of a layer to one boolean tensor for each of its calls: which positions are refined, in the
            shape of the output with 1 in place of the channels. Layers behind the last pooling are missing.
        image_mask: Which pixels of the image they depend on, `(sample, y, x)`.
        operations: As `sampled_operations` counts them, for all images.
    """

    logits: Tensor
    first_logits: Tensor
    score: Tensor
    mask: Tensor
    layer_masks: Mapping[str, tuple[Tensor, ...]]
    image_mask: Tensor
    operations: xr.Dataset


def attend(
    model: nn.Module,
    x: Tensor,
    *,
    base_samples: int,
    refined_samples: int,
    score: Literal["decision", "entropy"] = "decision",
    select: Literal["highest", "random"] = "highest",
    threshold: float | Literal["image", "batch"] = "batch",
    margin: int = 0,
    carry: Literal["receptive", "scaled"] = "receptive",
    fields: ReceptiveFields | None = None,
    seed: int = 0,
) -> Attention:
    r"""Run a quantised network roughly, then more precisely where it is uncertain.

    The first pass takes `base_samples` draws of each weight. Pixels of the last feature map whose score is above a
    threshold are refined. The second pass adds draws up to
    `refined_samples` and multiplies with the mean of all, at the positions of each layer that those pixels call for;
    at all others the layer's output of the first pass stays. What comes behind the last pooling is refined wholly.

    With `carry="receptive"` these positions are all that a refined pixel depends on: refined pixels of the last feature
    map equal those of a network at `refined_samples` throughout. Others get what is refined through shortcuts alone.
    With `"scaled"` the mask is enlarged to each layer's size, which is cheaper, and lets refined pixels depend on rough
    ones.

    Args:
        model: A network quantised by `reluscope.quantize_`, stochastic, that averages over all positions ahead of its
            class logits. It runs in eval mode, and is left as found, with its own draws and generator.
        x: Images, `(sample, channel, y, x)`.
        base_samples: Draws of the first pass.
        refined_samples: Draws where it is refined, the first ones included.
        score: `"decision"`: how far a pixel tells the image's two likeliest classes apart, times the entropy of the
            image's classes; or `"entropy"`: of the classes at the pixel, as the source (eq. 4.12).
        select: `"highest"`: pixels above the threshold; or `"random"`: as many, anywhere: in each image, where each has
            a threshold of its own, else in the batch.
        threshold: Of the score: a number; `"batch"`: the mean over all pixels of `x`, so that the images that the
            network is uncertain of are refined most; `"image"`: for each image the mean over its own pixels.
        margin: By how many pixels of the last feature map the mask is widened in all directions.
        carry: How the mask is carried to the layers: `"receptive"` or `"scaled"`.
        fields: What `receptive_fields(model, x)` returned, for many batches; None finds it here.
        seed: Of all draws: the same seed gives the same weights, however pixels are selected.

    Returns:
        Logits, masks and costs.

    Raises:
        QuantizationError: If the network is not quantised, does not draw, or an argument does not fit.
        ObservationError: If it takes no average over all positions, or gives no class logits.

    References:
        Hartmann 2025, section 4.2.5.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> _ = rs.quantize_(model, "psb")
        >>> found = attend(model, torch.randn(5, 3, 8, 8), base_samples=2, refined_samples=32)
        >>> found.logits.shape, found.mask.shape, found.layer_masks["0"][0].shape
        (torch.Size([5, 2]), torch.Size([5, 6, 6]), torch.Size([5, 1, 6, 6]))
    """
    _check_images(x)
    base_samples = whole_number("base_samples", base_samples, 1, MANY)
    refined_samples = whole_number("refined_samples", refined_samples, base_samples + 1, MANY)
    margin = whole_number("margin", margin, 0, MANY)
    for what, value, known in (("score", score, SCORE), ("select", select, SELECT), ("carry", carry, CARRY)):
        if value not in known:
            raise QuantizationError(f"{what}: got {value!r}, expected {' or '.join(map(repr, known))}")
    layers: dict[str, Any] = dict(quantized_layers(model))
    number = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool) and math.isfinite(threshold)
    if not number and threshold not in THRESHOLDS:
        raise QuantizationError(f"threshold: got {threshold!r}, expected 'image', 'batch' or a finite number")
    generator = torch.Generator().manual_seed(checked_seed(seed))
    chance = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, (), generator=generator, device="cpu")))
    with preserved(model, training=False), torch.no_grad(), _drawing(layers, generator):
        rs.set_samples_(model, base_samples)
        calls, first_logits, pooling = _first_pass(model, layers, x)
        of_pixels = pixel_logits(model, x, pooling)
        scores = pixel_entropy(of_pixels) if score == "entropy" else pixel_decision(of_pixels, first_logits)
        mask = widened(above(scores, threshold), margin)
        if select == "random":
            mask = shuffled(mask if threshold == "image" else mask[None], chance).reshape(mask.shape)
        if carry == "receptive":
            image_mask = _carry(mask, calls, fields or receptive_fields(model, x), x)
        else:
            image_mask = enlarged(mask, (x.shape[2], x.shape[3]))
            for call in calls:
                call.mask = _scaled(mask, call) if call.mask is not None else None
        rs.refine_(model, refined_samples - base_samples)
        with _mixing(layers, calls):
            logits = model(x)
    masks: dict[str, tuple[Tensor, ...]] = {}
    for call in calls:
        if call.mask is not None:
            masks[call.name] = (*masks.get(call.name, ()), call.mask)
    costs = [
        CallCost(call.name, call.products, None if call.mask is None else float(call.mask.double().mean()))
        for call in calls
    ]
    pixels = mask[0].numel()
    counted = sampled_operations(costs, base_samples=base_samples, refined_samples=refined_samples, pixels=pixels)
    return Attention(logits, first_logits, scores, mask, masks, image_mask, counted)


def _check_images(x: Any) -> None:
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.numel():
        got = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise QuantizationError(
            f"x: got {got}, expected images as a tensor (sample, channel, y, x), one or more; of a single one pass "
            "x.unsqueeze(0)"
        )


@dataclass
class _Call:
    name: str
    output: Tensor
    channels: int
    products: float
    poolings: int
    mask: Tensor | None = None


def _first_pass(model: nn.Module, layers: dict[str, Any], x: Tensor) -> tuple[list[_Call], Tensor, LastPooling]:
    calls: list[_Call] = []
    poolings = Poolings()
    kept = {name: kept_weights(layer) for name, layer in layers.items()}

    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            products = float(kept[name] * output_positions(layer, inputs[0], output))
            # A copy, since what follows may work in place.
            calls.append(_Call(name, output.clone(), channel_dim(layer), products, poolings.count))

        return hook

    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]
    with poolings:
        logits = model(x)
    for hook in hooks:
        hook.remove()
    pooling = poolings.last(model, logits)
    for call in calls:
        if call.poolings < pooling.number:
            call.mask = torch.zeros((), dtype=torch.bool, device=x.device)
    return calls, logits, pooling


def _carry(mask: Tensor, calls: list[_Call], fields: ReceptiveFields, x: Tensor) -> Tensor:
    # Sets the mask of each call, and returns the image's.
    waiting = {name: iter(one) for name, one in fields.layers.items()}
    for call in calls:
        if call.mask is None:
            continue
        field = next(waiting.get(call.name, iter(())), None)
        shape = list(call.output.shape)
        shape[call.channels] = 1
        if field is None or list(field.shape[1:]) != shape[1:] or fields.size != tuple(mask.shape[1:]):
            raise QuantizationError(
                f"fields: those of layer {call.name!r} are not of a call that gives {tuple(call.output.shape)}, "
                "expected those of this network and this size of images; call receptive_fields(model, x)"
            )
        call.mask = carried(mask, field)
    return carried(mask, fields.image).squeeze(1)


def _scaled(mask: Tensor, call: _Call) -> Tensor:
    sizes = list(call.output.shape)
    del sizes[call.channels], sizes[0]
    if len(sizes) == 2:
        return enlarged(mask, (sizes[0], sizes[1])).unsqueeze(call.channels)
    # Without rows and columns, all of an image that has a pixel to refine.
    return mask.flatten(1).any(1).reshape(-1, *[1] * (call.output.ndim - 1)).expand(-1, *sizes, 1)


@contextmanager
def _mixing(layers: dict[str, Any], calls: list[_Call]) -> Iterator[None]:
    # Layers give what they gave before, where it is not refined.
    waiting = {name: iter([call for call in calls if call.name == name]) for name in layers}

    def mix(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            call = next(waiting[name])
            return output if call.mask is None else torch.where(call.mask, output, call.output)

        return hook

    hooks = [layer.register_forward_hook(mix(name)) for name, layer in layers.items()]
    yield
    for hook in hooks:
        hook.remove()


@contextmanager
def _drawing(layers: dict[str, Any], generator: torch.Generator) -> Iterator[None]:
    # Layers hold draws of their own within; behind, all is as before: samples, what they held, counts of inputs.
    weights = [layer.quantization for layer in layers.values()]
    arithmetics = {id(one.arithmetic): one.arithmetic for one in weights}.values()
    for one in arithmetics:
        name = type(one.system).__name__
        if not hasattr(one.system, "counts"):
            raise QuantizationError(
                f"attend: {name} has no draws to add to, expected a number system with `counts`, such as 'psb'"
            )
        if one.draws == "product":
            raise QuantizationError(
                "attend: the network draws weights for each product, expected one draw for all positions; quantise it "
                "with draws='pass' or 'held'"
            )
    before = [(one, dict(vars(one))) for one in (*weights, *arithmetics)]
    try:
        for one in arithmetics:
            one.draws, one.generator = "held", generator
        for one in weights:
            one.held = HeldCounts()
        yield
    finally:
        for one, attributes in before:
            vars(one).update(attributes)
