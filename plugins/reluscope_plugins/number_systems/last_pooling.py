"""Class logits of each pixel: what a network says if it looks, at its last pooling, at one pixel alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reluscope.errors import ObservationError

_POOLS = ("adaptive_avg_pool2d", "avg_pool2d", "mean", "max_pool2d", "adaptive_max_pool2d")


@dataclass(frozen=True)
class LastPooling:
    """The last average over all positions in a pass of a network.

    Attributes:
        number: How many such averages there have been, this one included.
        features: What is averaged, `(sample, channel, y, x)`.
    """

    number: int
    features: Tensor


class Poolings(TorchFunctionMode):
    """Notes the averages over all positions that are taken within it.

    Args:
        number: The one to replace, counted from 1; 0 replaces none.
        replacement: What it is replaced by, `(sample, channel)`.

    Attributes:
        count: How many there have been.
        features: What the last one averaged, `(sample, channel, y, x)`.
        found: Name and shapes of the last pooling of another kind.
    """

    def __init__(self, number: int = 0, replacement: Tensor | None = None) -> None:
        super().__init__()
        self.number = number
        self.replacement = replacement
        self.count = 0
        self.features: Tensor | None = None
        self.found = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, and note whether it averages over all positions.

        Returns:
            What the function returns, or the replacement in its shape.
        """
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name not in _POOLS:
            return output
        features = args[0] if args else kwargs.get("input")
        if not averages(name, features, args, kwargs or {}, output):
            if isinstance(features, Tensor) and isinstance(output, Tensor) and features.ndim == 4:
                self.found = f"{name} from {tuple(features.shape)} to {tuple(output.shape)}"
            return output
        self.count += 1
        self.features = features
        if self.count != self.number or self.replacement is None:
            return output
        return self.replacement.reshape(-1, *output.shape[1:])

    def last(self, model: nn.Module, output: Any) -> LastPooling:
        """Return the last one.

        Args:
            model: The network that was called, for messages.
            output: What it gave.

        Returns:
            The last average over all positions.

        Raises:
            ObservationError: If there was none, or the output is not class logits.
        """
        if self.features is None:
            raise ObservationError(
                f"{type(model).__name__}: found {self.found or 'no pooling of (sample, channel, y, x)'}, expected an "
                "average over all positions ahead of the class logits (adaptive_avg_pool2d to 1 x 1, avg_pool2d of the "
                "whole map, or mean over the last two dims); take a network that ends in one, such as a residual one"
            )
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(self.features):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ObservationError(
                f"{type(model).__name__}: got {got} for {len(self.features)} images, expected class logits (sample, "
                "class)"
            )
        return LastPooling(self.count, self.features)


def averages(name: str, features: Any, args: Any, kwargs: Any, output: Any) -> bool:
    """Say whether a call takes the average over all positions of a feature map.

    Args:
        name: Of the function.
        features: Its first argument.
        args: All its arguments.
        kwargs: Those by name.
        output: What it returned.

    Returns:
        Whether `(sample, channel, y, x)` came to one number for each sample and channel, as their mean.
    """
    if not isinstance(features, Tensor) or not isinstance(output, Tensor) or features.ndim != 4 or "max" in name:
        return False
    if name == "mean":
        dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        return isinstance(dims, tuple | list) and {dim % 4 for dim in dims} == {2, 3}
    return output.shape == (*features.shape[:2], 1, 1)


def last_pooling(model: nn.Module, x: Tensor) -> tuple[Tensor, LastPooling]:
    """Run a network, and find the last average over all positions that it takes.

    Args:
        model: Any module that takes images.
        x: Images, `(sample, channel, y, x)`.

    Returns:
        What the network gives, and the pooling.

    Raises:
        ObservationError: If it takes no such average, or gives no class logits.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> logits, pooling = last_pooling(model, torch.zeros(5, 3, 8, 8))
        >>> logits.shape, pooling.features.shape
        (torch.Size([5, 2]), torch.Size([5, 4, 6, 6]))
    """
    with Poolings() as poolings:
        output = model(x)
    return output, poolings.last(model, output)


def pixel_logits(model: nn.Module, x: Tensor, pooling: LastPooling) -> Tensor:
    """Find the class logits of each pixel of the last feature map.

    What comes behind the last pooling is given each pixel in place of the mean. Where that is one linear layer, the
    mean of the pixels' logits is the network's answer.

    Args:
        model: The network.
        x: Images, of which one is run again, `(sample, channel, y, x)`.
        pooling: As `last_pooling` returns it.

    Returns:
        `(sample, y, x, class)`.

    Raises:
        ObservationError: If what comes behind the pooling needs more than what is pooled.

    References:
        Hartmann 2025, section 4.2.5.

    Example:
        >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> x = torch.randn(5, 4, 6, 6)
        >>> logits, pooling = last_pooling(model, x)
        >>> torch.allclose(pixel_logits(model, x, pooling).mean((1, 2)), logits, atol=1e-6)
        True
    """
    features = pooling.features
    samples, channels, height, width = features.shape
    pixels = features.permute(0, 2, 3, 1).reshape(-1, channels)
    said = ""
    try:
        with Poolings(pooling.number, pixels):
            output = model(x[:1])
    except RuntimeError as error:
        output, said = None, f" ({' '.join(str(error).split()):.120})"
    if output is None or output.ndim != 2 or len(output) != len(pixels):
        raise ObservationError(
            f"{type(model).__name__}: what comes behind the last pooling of {tuple(features.shape)} cannot be given "
            f"one pixel at a time{said}; expected class logits that depend on what is pooled there alone"
        )
    logits: Tensor = output.reshape(samples, height, width, -1)
    return logits


def pixel_entropy(logits: Tensor) -> Tensor:
    r"""Find how uncertain the class is, at each pixel.

    $h_{xy} = - \sum_c p_{xyc} \log p_{xyc}$ with $p_{xyc} = e^{a_{xyc}} / \sum_j e^{a_{xyj}}$.

    Args:
        logits: $a$, `(..., class)`.

    Returns:
        `(...)`, in nats, from 0 to the logarithm of the number of classes.

    References:
        Hartmann 2025, equation 4.12.

    Example:
        >>> pixel_entropy(torch.zeros(4)).item() / torch.tensor(4.0).log().item()
        1.0
    """
    logs = torch.log_softmax(logits, dim=-1)
    return -(logs.exp() * logs).sum(-1)


def pixel_decision(logits: Tensor, of_images: Tensor) -> Tensor:
    r"""Find how much each pixel has to say where the class of its image is uncertain.

    $d_{xy} = h \, |a_{xyc} - a_{xyj}|$ with the two likeliest classes $c$, $j$ of the image and the entropy $h$ of its
    classes. A pixel that is itself uncertain (high $h_{xy}$) adds little to the mean that decides; one that says much,
    in an image of which the network is certain, changes nothing.

    Args:
        logits: $a$, `(sample, y, x, class)`.
        of_images: Class logits of the images, `(sample, class)`.

    Returns:
        `(sample, y, x)`; zero where there is one class.

    Example:
        >>> logits = torch.tensor([[[[3.0, 1.0, 0.0], [0.0, 0.0, 5.0]]]])
        >>> of_images = logits.mean((1, 2))
        >>> of_images, (pixel_decision(logits, of_images) / pixel_entropy(of_images)).tolist()
        (tensor([[1.5000, 0.5000, 2.5000]]), [[[3.0, 5.0]]])
    """
    likeliest = of_images.topk(min(2, of_images.shape[-1]), dim=-1).indices
    pairs = logits.gather(-1, likeliest[:, None, None].expand(*logits.shape[:3], -1))
    return pixel_entropy(of_images)[:, None, None] * (pairs[..., 0] - pairs[..., -1]).abs()
