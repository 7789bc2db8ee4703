"""What a layer in a number system multiplies with: its weight folded, pruned, encoded and drawn."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from reluscope.errors import NotFiniteError, QuantizationError
from reluscope.finite import trouble
from reluscope.held_counts import HeldCounts as HeldCounts
from reluscope.rounded_inputs import Scratch, forgotten

DRAWS = ("pass", "product", "held")
"""When weights are drawn: once a call of the layer, for each multiplication, or once and for all."""


@dataclasses.dataclass
class Arithmetic:
    """How a network computes; all its layers share one.

    Attributes:
        system: The number system of the weights.
        activations: The one that inputs of layers are rounded to; None leaves them.
        draws: One of `DRAWS`.
        exact_products: Multiplications of a call up to which `"product"` draws each weight.
        threshold: Weights of at most this magnitude are taken as zero; negative where none are.
        generator: Where all draws come from.
        scratch: Where inputs are rounded.
    """

    system: Any
    activations: Any
    draws: str
    exact_products: int
    threshold: float
    generator: torch.Generator
    scratch: Scratch = dataclasses.field(default_factory=Scratch)

    def generator_on(self, device: torch.device) -> torch.Generator:
        """Return a generator for draws on a device.

        Args:
            device: Where the draws are to be.

        Returns:
            The network's own on the CPU; elsewhere a new one, seeded from it.
        """
        if device.type == "cpu":
            return self.generator
        seed = int(torch.randint(2**63 - 1, (), generator=self.generator, device="cpu"))
        return torch.Generator(device).manual_seed(seed)


class Handover(threading.local):
    """A layer's word to the batch norm behind it that its work is done, in this thread and pass.

    It is not given where the layer was replaced or restored. Replicas share it, and run in threads of their own.

    Attributes:
        done: Whether it is.
    """

    done = False

    def __reduce__(self) -> tuple[type[Handover], tuple[()]]:
        """Leave behind what belongs to a pass.

        Returns:
            What makes a new one.
        """
        return Handover, ()


class LayerWeights:
    """What one layer multiplies with.

    Args:
        arithmetic: How the network computes.
        name: Name of the layer, for messages.
        samples: Number of draws that are averaged.
        norm: The batch norm that is folded into the layer, if any; a tuple, so that no module takes it for its child.
        plain: The layer's class before.
        last: Whether it is the network's last one, which frees the memory that inputs are rounded in.

    Attributes:
        handover: What the layer tells the norm that is folded into it.
        held: The counts, where draws are held.
        inputs: How many inputs have been rounded.
        saturated: How many of them lay beyond the system of activations, and became its end.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        name: str,
        samples: int,
        norm: tuple[nn.Module, ...],
        plain: type[nn.Module],
        last: bool,
    ) -> None:
        self.arithmetic = arithmetic
        self.name = name
        self.samples = samples
        self.norm = norm
        self.plain = plain
        self.last = last
        self.handover = Handover()
        self.held = HeldCounts()
        self.inputs = self.saturated = 0

    def folds(self) -> bool:
        """Say whether the layer does the batch norm's work now.

        Returns:
            Whether it has one, in eval mode.
        """
        return bool(self.norm) and not self.norm[0].training

    def folded(self, layer: Any) -> tuple[Tensor, Tensor | None]:
        r"""Fold the batch norm into the layer's weight.

        $W' = \gamma / \sigma \cdot W$ and $b' = \gamma / \sigma \cdot (b - \mu) + \beta$ for each output channel.

        Args:
            layer: The layer.

        Returns:
            Weight and bias, within the graph; the layer's own where it does not fold.
        """
        if not self.folds():
            return layer.weight, layer.bias
        norm: Any = self.norm[0]
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        bias = shift * scale if norm.bias is None else shift * scale + norm.bias
        if getattr(layer, "transposed", False):
            blocks = layer.weight.unflatten(0, (layer.groups, -1))
            spatial = [1] * (layer.weight.ndim - 2)
            weight = (blocks * scale.reshape(layer.groups, 1, -1, *spatial)).flatten(0, 1)
        else:
            weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        return weight.to(layer.weight.dtype), bias.to(layer.weight.dtype)

    def encoded(self, layer: Any, weight: Tensor, keep: bool = True) -> tuple[Any, Tensor]:
        """Prune and encode a weight.

        Args:
            layer: The layer, by whose own weight is pruned.
            weight: Its folded weight.
            keep: Whether the pruned weight is needed; else its code may take its memory.

        Returns:
            What the number system makes of it, and the weight that it made it of.

        Raises:
            NotFiniteError: If it holds NaN or infinity.
        """
        value, system = weight.detach(), self.arithmetic.system
        encode = system.encode
        if self.arithmetic.threshold >= 0:
            value = value.masked_fill(layer.weight.detach().abs() <= self.arithmetic.threshold, 0.0)
            encode = encode if keep else getattr(system, "encode_over", encode)
        try:
            return encode(value), value
        except NotFiniteError as error:
            name = f"{self.name}.weight" if self.name else "weight"
            raise NotFiniteError(f"parameter {name!r}: {error}") from error

    def check(self, layer: nn.Module, x: Tensor) -> None:
        """See to it that the layer can be applied here.

        Args:
            layer: The layer.
            x: Its input.

        Raises:
            QuantizationError: If it runs under a transform of torch.func, forward-mode derivatives or torch.jit.trace,
                which cannot see its draws and rounding; or if it is linear, folds a batch norm, and gets more than
                vectors, over which the norm would not have taken its statistics.
        """
        if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
            raise QuantizationError(
                f"layer {self.name!r} runs in a number system under a transform of torch.func or forward-mode "
                "derivatives, which cannot see its draws and rounding; call it as it is, and take derivatives by "
                "backward() or torch.autograd.functional"
            )
        if torch._C._get_tracing_state() is not None:
            raise QuantizationError(
                f"layer {self.name!r} runs in a number system, of which torch.jit.trace would keep one draw; trace the "
                "network before reluscope.quantize_, or behind reluscope.restore_"
            )
        if x.ndim != 2 and self.folds() and isinstance(layer, nn.Linear):
            raise QuantizationError(
                f"layer {self.name!r} folds a batch norm over features, and got {x.ndim} dims, expected (sample, "
                "feature); quantise the network with fold_batchnorm=False"
            )

    def expected(self, layer: Any, weight: Tensor) -> Tensor:
        """Return the mean of all weights that may be drawn.

        Args:
            layer: The layer.
            weight: Its folded weight.

        Returns:
            The represented weight, of which the gradient goes straight through to the folded weight.
        """
        with torch.no_grad():
            encoded = self.encoded(layer, weight, keep=False)[0]
            mean = self.arithmetic.system.mean(encoded).to(weight.dtype)
        return straight_through(weight, mean)

    def drawn(self, layer: Any, weight: Tensor) -> Tensor:
        """Draw a weight, as its arithmetic says.

        Args:
            layer: The layer.
            weight: Its folded weight.

        Returns:
            The mean over the samples, of which the gradient goes straight through to the folded weight.
        """
        system, generator = self.arithmetic.system, self.arithmetic.generator_on(weight.device)
        with torch.inference_mode(False), torch.no_grad():
            if self.arithmetic.draws == "held" and system.stochastic:
                encoded, value = self.encoded(layer, weight)
                drawn = self.held.draw(system, encoded, value, self.samples, generator)
            else:
                encoded = self.encoded(layer, weight, keep=False)[0]
                own = hasattr(system, "draw_over") and encoded.value.data_ptr() != weight.data_ptr()
                draw = system.draw_over if own else system.draw  # a pruned or rounded copy is not needed
                drawn = draw(encoded, self.samples, generator)
        return straight_through(weight, drawn.to(weight.dtype))

    @contextmanager
    def rounded(self, x: Tensor, *others: Tensor | None) -> Iterator[Tensor]:
        """Round the input of the layer to the number system of activations.

        Args:
            x: The input.
            *others: Weight and bias that it meets.

        Yields:
            The input, rounded, of which the gradient goes straight through; its memory is used again afterwards.

        Raises:
            NotFiniteError: If it holds NaN or infinity.
        """
        arithmetic, system = self.arithmetic, self.arithmetic.activations
        if system is None:
            yield x
        elif hasattr(system, "encode_into") and forgotten(x, *others):
            with arithmetic.scratch.like(x, keep=not self.last) as room:
                self._input(x, lambda value: system.encode_into(value, room))
                yield room
        else:
            with torch._C.DisableTorchFunction():
                with torch.no_grad():
                    encoded = self._input(x, system.encode)
                    value = system.draw(encoded, self.samples, arithmetic.generator_on(x.device)).to(x.dtype)
                rounded = straight_through(x, value)
            yield rounded

    def _input(self, x: Tensor, encode: Callable[[Tensor], Any]) -> Any:
        try:
            encoded = encode(x.detach())
        except NotFiniteError as error:
            what = trouble(x) or f"values beyond {type(self.arithmetic.activations).__name__}"
            raise NotFiniteError(
                f"the input of layer {self.name!r} holds {what}; expected finite values; look at the data, and at the "
                "layers before it"
            ) from error
        self.inputs += x.numel()
        self.saturated += int(getattr(encoded, "saturated", 0))
        return encoded


def straight_through(value: Tensor, replacement: Tensor) -> Tensor:
    """Replace a tensor, and leave its gradient as if it had not been.

    Args:
        value: What the gradient goes to.
        replacement: What is computed with, of the same shape.

    Returns:
        The replacement, bit for bit.

    Example:
        >>> x = torch.tensor([0.3], requires_grad=True)
        >>> y = straight_through(x, torch.tensor([0.5]))
        >>> (y**2).backward()
        >>> y.item(), x.grad.item()
        (0.5, 1.0)
    """
    if not (torch.is_grad_enabled() and value.requires_grad):
        return replacement
    replaced: Tensor = _StraightThrough.apply(value, replacement)
    return replaced


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, replacement: Tensor) -> Tensor:
        return replacement.view_as(replacement)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
