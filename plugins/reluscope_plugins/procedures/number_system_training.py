"""Train a network that runs in a number system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import reluscope as rs
from reluscope.quantization import quantized_layers
from reluscope_plugins.procedures.train import Training
from reluscope_plugins.procedures.trained_weights import load_weights

if TYPE_CHECKING:
    import torch

    from reluscope.context import Context


class NumberSystemTraining(Training):
    """A training of a network in a number system; gradients go straight through to its parameters.

    Args:
        context: The recipe's point.
        epochs: How often each training sample is seen.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to train.
        weights: File of the weights to begin with; None begins with those that the architecture draws.
        conversion: Parameters of `reluscope.quantize_`; None trains in floating point.

    Raises:
        RecipeError: If the recipe lacks a choice that training needs, or its choices do not fit together.
    """

    def __init__(
        self,
        context: Context,
        epochs: int,
        batch_size: int,
        evaluation_batch_size: int,
        device: torch.device,
        *,
        weights: str | None = None,
        conversion: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(context, epochs, batch_size, evaluation_batch_size, device)
        if weights is not None and context.state is None:
            load_weights(self.model, weights, context.data_root)
        self.draws: torch.Generator | None = None
        if conversion is not None:
            rs.quantize_(self.model, **conversion)
            self.draws = next(iter(quantized_layers(self.model).values())).quantization.arithmetic.generator
            if context.state is not None:
                self.draws.set_state(context.state["draws"])

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on from here.

        Returns:
            Plain types and tensors.
        """
        return super().state() | ({} if self.draws is None else {"draws": self.draws.get_state()})
