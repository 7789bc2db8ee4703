"""Where in an image a number system errs, and where a network would look again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

import reluscope as rs
from reluscope.devices import find_device
from reluscope.errors import RecipeError, nearest
from reluscope.quantization import quantized_layers
from reluscope_plugins.number_systems.attention import attend
from reluscope_plugins.procedures.quantise import built

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
# streams of random draws
_DRAWS, _ATTENTION = 41, 42


@torch.no_grad()
def quantisation_errors(
    context: Context,
    *,
    layers: tuple[str, ...],
    image: Natural = 0,
    number_system: str | dict[str, Any] = "psb",
    samples: Positive = 32,
    repeats: Positive = 100,
    base_samples: Positive = 2,
    margin: Natural = 1,
    weights: str | None = None,
    device: str = "auto",
) -> None:
    r"""Measure the error of layers at each position of one image, and mark the pixels that attention selects.

    With the output $a$ of a layer in floating point and $\tilde a$ in the number system, the absolute error of a
    position is the mean of $\lvert\tilde a - a\rvert$ over channels and repeats, the relative error its sum over that
    of $\lvert a\rvert$: single channels near zero would rule a mean of quotients. Batch norms are folded, so that
    outputs are those behind the norm.

    Writes the group `errors`: both errors at each position of each layer, enlarged to the size of the image; and the
    group `pictures`: the image, and the image with all pixels darkened that attention does not refine, without and with
    a margin. An image that was normalised by constants which the data set does not tell is stretched to its extremes.

    Args:
        context: The recipe's point: data set, architecture.
        layers: Names of the layers.
        image: Which image of the test split.
        number_system: Of the weights, one that draws: a name, or a table with a name and parameters.
        samples: Draws of each weight.
        repeats: Forward passes over which errors are averaged.
        base_samples: Draws of the pass whose entropy selects pixels, fewer than `samples`.
        margin: Pixels of the last feature map that are added around those.
        weights: File of trained weights, relative to the folder of the data.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe's choices do not fit together.

    References:
        Hartmann 2025, figure 4.4.
    """
    place = find_device(device)
    model, data = built(context, weights, "test")
    if image >= len(data):
        raise RecipeError(f"image = {image}: the test split has {len(data)} images; expected less")
    x = torch.as_tensor(data[image][0]).unsqueeze(0).to(place)
    model = model.to(place).eval()
    rs.quantize_(model, "float32", activations=None, lab=context.lab)
    for name in layers:
        if name not in quantized_layers(model):
            raise RecipeError(f"layers: there is no {name!r}. {nearest(name, quantized_layers(model))}")
    exact = _outputs(model, layers, x)
    rs.restore_(model)
    rs.quantize_(model, number_system, samples=samples, seed=context.seed(_DRAWS, samples), lab=context.lab)
    absolute = {name: torch.zeros_like(value[:, :1]) for name, value in exact.items()}
    for repeat in range(repeats):
        for name, value in _outputs(model, layers, x).items():
            absolute[name] += (value - exact[name]).abs().mean(1, keepdim=True) / repeats
        context.advance((repeat + 1) / (repeats + 1))
    relative = {name: absolute[name] / exact[name].abs().mean(1, keepdim=True) for name in layers}
    _record_errors(context, layers, absolute, relative, x.shape[2:])
    pictures = {"image": (_colours(x[0], data), "The image")}
    for key, pixels in (("refined", 0), ("refined_with_margin", margin)):
        found = attend(
            model,
            x,
            base_samples=base_samples,
            refined_samples=samples,
            score="entropy",
            threshold="image",
            margin=pixels,
            carry="scaled",
            seed=context.seed(_ATTENTION),
        )
        colours = np.where(
            found.image_mask[0].cpu().numpy()[..., None], pictures["image"][0], pictures["image"][0] // 4
        )
        pictures[key] = (colours, f"Pixels that are refined, with a margin of {pixels}")
    _record_pictures(context, pictures)


def _outputs(model: nn.Module, layers: tuple[str, ...], x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, output, name=name: found.update({name: output.clone()})
        )
        for name in layers
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    for name, value in found.items():
        if value.ndim != 4:
            raise RecipeError(f"layers: {name!r} gives {tuple(value.shape)}, expected images; choose a convolution")
    return found


def _colours(image: Tensor, data: Any) -> np.ndarray[Any, Any]:
    # (y, x, 3), 0..255
    mean, std = (np.asarray(getattr(data, key, ()), dtype=np.float64) for key in ("mean", "std"))
    values = image.double().cpu().numpy().transpose(1, 2, 0)
    if mean.size:
        values = values * std + mean
    elif values.min() < 0 or values.max() > 1:
        values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    return np.rint(np.broadcast_to(values, (*values.shape[:2], 3)).clip(0, 1) * 255).astype(np.int32)


def _axes(height: int, width: int) -> dict[str, Any]:
    # the first row of an image is at the top
    return {
        "y": ("y", np.arange(height)[::-1].copy(), {"long_name": "Row from the bottom", "units": "pixel"}),
        "x": ("x", np.arange(width), {"long_name": "Column", "units": "pixel"}),
    }


def _record_errors(
    context: Context,
    layers: tuple[str, ...],
    absolute: dict[str, Tensor],
    relative: dict[str, Tensor],
    size: torch.Size,
) -> None:
    names = {"absolute_error": "Mean absolute error of a layer", "relative_error": "Relative error of a layer"}
    found: dict[str, Any] = {
        key: (
            ("layer", "y", "x"),
            np.stack([F.interpolate(errors[name], tuple(size))[0, 0].double().cpu().numpy() for name in layers]),
            {"long_name": names[key], "units": "1"},
        )
        for key, errors in (("absolute_error", absolute), ("relative_error", relative))
    }
    about = {"long_name": "layer", "units": "1"}
    coords = {"layer": ("layer", np.array(layers, dtype=np.str_), about), **_axes(*size)}
    context.record("errors", xr.Dataset(found, coords=coords).sortby("y"))


def _record_pictures(context: Context, pictures: dict[str, tuple[np.ndarray[Any, Any], str]]) -> None:
    height, width = pictures["image"][0].shape[:2]
    found = {
        key: (
            ("y", "x"),
            (value @ np.array([1 << 16, 1 << 8, 1])).astype(np.int32),
            {"long_name": f"{text}, 0xRRGGBB", "units": "1"},
        )
        for key, (value, text) in pictures.items()
    }
    context.record("pictures", xr.Dataset(found, coords=_axes(height, width)).sortby("y"))
