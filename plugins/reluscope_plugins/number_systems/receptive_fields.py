"""Receptive fields of any network of images: which pixels of which layer a pixel of the last feature map depends on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reluscope.preserve import preserved
from reluscope.quantized_layers import LAYERS, Quantized
from reluscope_plugins.number_systems.cost import in_floating_point
from reluscope_plugins.number_systems.last_pooling import Poolings

PIXELS = 16
"""Pixels of the last feature map that are followed back at once."""

_SAME = frozenset(
    (
        "alpha_dropout batch_norm celu clamp dropout dropout1d dropout2d dropout3d elu feature_dropout gelu "
        "hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish prelu relu relu6 rrelu selu sigmoid silu "
        "softplus softsign tanh tanhshrink threshold"
    ).split()
)
_PRODUCTS = frozenset("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d".split())
_MAXIMA = frozenset(("max_pool1d", "max_pool2d", "max_pool3d"))


@dataclass(frozen=True)
class ReceptiveFields:
    """Which positions of each layer's output a pixel of the last feature map depends on.

    Attributes:
        size: Height and width of the last feature map.
        layers: Name of a linear or convolution layer to one boolean tensor for each of its calls,
            `(pixel, *positions)`, where positions are the dims of the output behind the first, with 1 in place of the
            channels. Layers behind the last pooling are missing.
        image: `(pixel, 1, y, x)`, the same of the input.
    """

    size: tuple[int, int]
    layers: Mapping[str, tuple[Tensor, ...]]
    image: Tensor


def receptive_fields(model: nn.Module, x: Tensor) -> ReceptiveFields:
    """Follow each pixel of the last feature map back through the network.

    The network is run with all weights one, activations and batch norms left out, and averages in place of maxima:
    nothing then cancels, and a derivative is zero only where no path leads. Every normalisation over positions makes a
    pixel depend on all. A weight that is zero counts as a path.

    Args:
        model: Any module that takes images and averages over all positions ahead of its class logits.
        x: Images, of which the shape of one counts, `(sample, channel, y, x)`.

    Returns:
        The fields; they are the same for all images of this size.

    Raises:
        ObservationError: If the network takes no average over all positions.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> fields = receptive_fields(model, torch.zeros(1, 1, 6, 6))
        >>> fields.size, fields.layers["0"][0].shape, fields.layers["0"][0][0].sum().item()
        ((2, 2), torch.Size([4, 1, 4, 4]), 9)
    """
    kind = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    image = torch.ones(PIXELS, *x.shape[1:], dtype=kind, device=x.device, requires_grad=True)
    calls: list[_Call] = []
    poolings = Poolings()

    def hook(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            calls.append(_Call(name, output, channel_dim(module), poolings.count))

        return note

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(preserved(model, training=False))
        modules = dict(model.named_modules())
        kinds: Any = tuple(LAYERS)
        stack.enter_context(in_floating_point({key: one for key, one in modules.items() if isinstance(one, Quantized)}))
        for name, module in modules.items():
            if isinstance(module, kinds):
                module.register_forward_hook(hook(name))
        stack.enter_context(_Paths())
        stack.enter_context(poolings)
        output = model(image)
    pooling = poolings.last(model, output)
    features = pooling.features
    calls = [call for call in calls if call.poolings < pooling.number]
    height, width = features.shape[2:]
    pixels = torch.arange(height * width, device=x.device)
    found = [_followed(features, chunk, image, calls) for chunk in pixels.split(PIXELS)]
    layers: dict[str, tuple[Tensor, ...]] = {}
    for index, call in enumerate(calls):
        field = torch.cat([fields[index] for fields in found])
        layers[call.name] = (*layers.get(call.name, ()), field)
    return ReceptiveFields((height, width), layers, torch.cat([fields[-1] for fields in found]))


def channel_dim(layer: nn.Module) -> int:
    """Say which dim of a layer's output holds its channels.

    Args:
        layer: Linear or convolution layer.

    Returns:
        1 for a convolution, -1 for a linear layer.

    Example:
        >>> channel_dim(nn.Conv2d(1, 1, 1)), channel_dim(nn.Linear(1, 1))
        (1, -1)
    """
    return 1 if hasattr(layer, "kernel_size") else -1


class _Call:
    def __init__(self, name: str, output: Tensor, channels: int, poolings: int) -> None:
        self.name = name
        self.poolings = poolings
        self.channels = channels
        self.shape, self.device = output.shape, output.device
        self.reached: Tensor | None = None
        if output.requires_grad:
            output.register_hook(self.note)

    def note(self, gradient: Tensor) -> None:
        self.reached = (gradient != 0).any(self.channels, keepdim=True)

    def taken(self, rows: int) -> Tensor:
        reached, self.reached = self.reached, None
        if reached is None:
            shape = list(self.shape)
            shape[self.channels] = 1
            return torch.zeros(shape, dtype=torch.bool, device=self.device)[:rows]
        return reached[:rows]


def _followed(features: Tensor, pixels: Tensor, image: Tensor, calls: list[_Call]) -> list[Tensor]:
    start = torch.zeros(features.shape, dtype=features.dtype, device=features.device)
    start.flatten(2)[torch.arange(len(pixels), device=pixels.device), :, pixels] = 1
    (gradient,) = torch.autograd.grad(features, image, start, retain_graph=True)
    reached = (gradient != 0).any(1, keepdim=True)[: len(pixels)]
    return [*(call.taken(len(pixels)).to(reached.device) for call in calls), reached]


class _Paths(TorchFunctionMode):
    """Makes of every function one whose derivative is positive wherever there is a path."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _SAME:
            return args[0] if args else kwargs["input"]
        if name in _PRODUCTS:
            return _one(func(*_with_ones(args, kwargs), **kwargs))
        if name in _MAXIMA:
            return _one(_windows(func, int(name[-2]), *args, **kwargs))
        if name == "adaptive_max_pool2d":
            return _one(
                F.adaptive_avg_pool2d(*args[:2], **{key: kwargs[key] for key in ("output_size",) if key in kwargs})
            )
        if name in ("softmax", "log_softmax"):
            dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
            return _one(args[0].mean(dim, keepdim=True).expand_as(args[0]))
        if name in ("group_norm", "instance_norm", "layer_norm"):
            return _one(_mixed(name, *args, **kwargs))
        return func(*args, **kwargs)


def _with_ones(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    kwargs.pop("bias", None)
    if "weight" in kwargs:
        kwargs["weight"] = torch.ones_like(kwargs["weight"], requires_grad=False)
        return args
    return (args[0], torch.ones_like(args[1], requires_grad=False), None, *args[3:])


def _windows(
    func: Any,
    dims: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    **rest: Any,
) -> Tensor:
    sizes = func(input.detach(), kernel_size, stride, padding, dilation, **rest).shape[-dims:]
    kernel = (kernel_size,) * dims if isinstance(kernel_size, int) else tuple(kernel_size)
    spread = (dilation,) * dims if isinstance(dilation, int) else tuple(dilation)
    margin = (padding,) * dims if isinstance(padding, int) else tuple(padding)
    # Windows may reach beyond the padding on the right, where sizes are rounded up.
    reach = [(low, low + step * size) for low, step, size in zip(margin, spread, kernel, strict=True)]
    padded = F.pad(input, [edge for pair in reversed(reach) for edge in pair])
    ones = torch.ones(input.shape[1], 1, *kernel, dtype=input.dtype, device=input.device)
    product = getattr(F, f"conv{dims}d")
    output: Tensor = product(padded, ones, None, stride or kernel_size, 0, dilation, input.shape[1])
    for dim, size in enumerate(sizes, start=-dims):
        output = output.narrow(dim, 0, size)
    return output


def _mixed(name: str, input: Tensor, shape: Any = None, *rest: Any, **others: Any) -> Tensor:
    if name == "group_norm":
        groups = others.get("num_groups", shape)
        blocks = input.unflatten(1, (groups, -1))
        return blocks.mean(tuple(range(2, blocks.ndim)), keepdim=True).expand_as(blocks).flatten(1, 2)
    if name == "instance_norm":
        return input.mean(tuple(range(2, input.ndim)), keepdim=True).expand_as(input)
    last = len(others.get("normalized_shape", shape))
    return input.mean(tuple(range(-last, 0)), keepdim=True).expand_as(input)


def _one(output: Tensor) -> Tensor:
    # Values stay at 1 and derivatives at 0 or 1, so that neither grows or vanishes with the depth.
    output = output - output.detach() + 1
    if output.requires_grad:
        output.register_hook(lambda gradient: (gradient != 0).to(gradient.dtype))
    return output
