"""torchvision's models."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torchvision import models

from reluscope.errors import RecipeError, nearest

# Their constructors warn unless told; True is what torchvision does today.
INITIALISED = frozenset({"googlenet", "inception_v3", "quantized_googlenet", "quantized_inception_v3"})


def torchvision(model: str, *, weights: str | None = None, num_classes: int | None = None, **options: Any) -> nn.Module:
    """Build one of torchvision's models; nothing is downloaded unless weights are named.

    Args:
        model: Its name, as `torchvision.models.list_models()` has it, such as `"resnet18"`.
        weights: Name of trained weights, such as `"DEFAULT"` or `"IMAGENET1K_V1"`; torchvision downloads them. None
            draws initial weights.
        num_classes: Number of outputs, None as the model has it.
        **options: Whatever else its constructor takes.

    Returns:
        The network.

    Raises:
        RecipeError: If there is no such model, or it does not take the options.

    Example:
        >>> model = torchvision("squeezenet1_1", num_classes=10)
        >>> torchvision("resnet81")
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: unknown torchvision model 'resnet81'. Did you mean 'resnet18'?
    """
    known = models.list_models()
    if model not in known:
        raise RecipeError(f"unknown torchvision model {model!r}. {nearest(str(model), known)}")
    builder = models.get_model_builder(model)
    if num_classes is not None:
        options["num_classes"] = num_classes
    # Detectors and the like fetch a trained backbone if this is left out.
    if "weights_backbone" in inspect.signature(builder).parameters:
        options.setdefault("weights_backbone", None)
    if model in INITIALISED and weights is None:
        options.setdefault("init_weights", True)
    try:
        network: nn.Module = builder(weights=weights, **options)
    except (TypeError, ValueError, KeyError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"torchvision model {model!r} cannot be built with weights={weights!r} and {options}: {reason}; see "
            f"torchvision.models.{model} for what it takes"
        ) from error
    return network
