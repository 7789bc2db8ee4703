"""torchvision's models."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from reluscope.errors import RecipeError, ReluscopeError, nearest
from reluscope_plugins.architectures.initialisation import check_drawn, he_normal

# Their constructors warn unless told; True is what torchvision does today.
INITIALISED = frozenset({"googlenet", "inception_v3", "quantized_googlenet", "quantized_inception_v3"})


def torchvision(
    model: str,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    init: str = "default",
    **options: Any,
) -> nn.Module:
    """Build one of torchvision's models; nothing is downloaded unless weights are named.

    Args:
        model: Its name, as `torchvision.models.list_models()` has it, such as `"resnet18"`.
        weights: Name of trained weights, such as `"DEFAULT"` or `"IMAGENET1K_V1"`; torchvision downloads them. None
            draws initial weights.
        num_classes: Number of outputs, None as the model has it.
        init: Initial weights: `"default"`, torchvision's own, or `"he_normal"`: those of all convolutions and linear
            layers N(0, 2 / fan_in), their biases 0.
        **options: Whatever else its constructor takes.

    Returns:
        The network.

    Raises:
        RecipeError: If there is no such model, or it does not take the options.
        ReluscopeError: If its weights cannot be downloaded.

    References:
        He et al. 2015, eq. 10 (`init`).

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
    drawn = check_drawn("torchvision", init)
    if drawn and weights is not None:
        raise RecipeError(
            f"architecture 'torchvision': init = {init!r} draws initial weights, got weights = {weights!r} as well; "
            "leave one of them out"
        )
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
    except OSError as error:
        raise ReluscopeError(
            f"torchvision model {model!r}: the weights {weights!r} could not be downloaded ({error}); "
            f"{_where_to_put(model, weights)}"
        ) from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"torchvision model {model!r} cannot be built with weights={weights!r} and {options}: {reason}; see "
            f"torchvision.models.{model} for what it takes"
        ) from error
    if drawn:
        he_normal(network)
    return network


def _where_to_put(model: str, weights: str | None) -> str:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    known = models.get_model_weights(model)
    member = getattr(known, "__members__", {}).get(str(weights).rpartition(".")[2])
    if member is None:
        return f"connect to the network, or put their file into {folder}"
    url = str(member.value.url)
    return f"connect to the network, or put the file of {url} at {folder / url.rpartition('/')[2]}"
