"""Metrics of single training samples while a network learns, and how well they tell wrong labels from right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope.measurement import measure
from reluscope_plugins.datasets.relabelling import labels_of
from reluscope_plugins.procedures.auroc import auroc
from reluscope_plugins.procedures.train import Training

if TYPE_CHECKING:
    from reluscope.context import Context
    from reluscope.entries import Metric

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
_CHOICE = 31
_PURE = {"units": "1"}
KINDS = ("correct label", "wrong label")
"""Labels of the dim `class`: samples with the label that they came with, and those that were given another."""


def sample_by_sample(
    context: Context,
    *,
    epochs: Positive,
    quantities: Annotated[list[str], pydantic.Field(min_length=1)],
    looks: list[Natural] | None = None,
    samples: Positive = 500,
    mislabelled: Natural = 100,
    bins: tuple[Finite, Finite, Positive] | None = None,
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
) -> None:
    r"""Measure training samples one by one, at chosen epochs of a training.

    A metric of a batch of one is the quantity of that sample, whatever metric it is. Where the data set says which of
    its labels are wrong (`mislabel`, `random_labels`), samples with a wrong label are measured too, and each quantity
    is judged by its AUROC: the probability that a sample with a wrong label has the *smaller* value, ties counted half.

    Writes the groups `samples` (a variable for each quantity, along `epoch` and `sample`, and of each sample its index,
    label and whether that is wrong), `detection` (AUROC and its 95 % interval along `bound`), `histogram` (share of the
    samples in each bin, along `class` and `x`) and all that `train` writes.

    Cost: a forward pass and the metrics for each sample, some 10 ms where the network is small.

    Args:
        context: The recipe's point: data set, architecture, optimizer, scheduler, metrics.
        epochs: How often each training sample is seen.
        quantities: Names of metrics that are one number, such as `"edge_distance"`, `"slope"` or `"affine_rank"`.
        looks: Epochs at which to measure; left out, before training and after the last.
        samples: Number of training samples that have the label they came with, drawn by the seed.
        mislabelled: Greatest number of those with a wrong label, the first ones in the data set.
        bins: Of the histogram of the first quantity: lower end, upper end and number; samples beyond are in no bin.
            Left out, there is no histogram.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Inputs of a forward pass when measuring the whole.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If a quantity is no metric of one number, or the recipe's choices do not fit together.

    References:
        Johansson 2022, section 2.1.3 and figure 2.1, for the distance to the edge of the region.
    """
    chosen = [0, epochs] if looks is None else looks
    if any(epoch > epochs for epoch in chosen):
        raise RecipeError(f"looks = {chosen}: there are {epochs} epochs, expected none after the last; drop it")
    if bins is not None and bins[0] >= bins[1]:
        raise RecipeError(f"bins = {list(bins)}: expected the lower end, then the upper end, then their number")
    metrics = [_metric(context, name) for name in quantities]
    training = Training(context, epochs, batch_size, evaluation_batch_size, find_device(device))
    data = training.data["train"]
    index, wrong = _choose(data, samples, mislabelled, context.seed(_CHOICE))
    labels = labels_of(data)[index]
    inputs = torch.stack([torch.as_tensor(data[i][0]) for i in index.tolist()])
    known = {
        "index": (index.numpy(), "Number of the sample in the training split"),
        "label": (labels.numpy(), "Label that it is trained on"),
        "mislabelled": (wrong.numpy(), "Whether that label is wrong"),
    }
    about = {name: ("sample", values, {"long_name": name_, **_PURE}) for name, (values, name_) in known.items()}

    def look(epoch: int) -> None:
        if epoch not in chosen:
            return
        single = zip(inputs.split(1), labels.split(1), strict=True)
        found = [measure(training.model, [one], metrics, lab=context.lab, device=training.device) for one in single]
        values = {metric.name: np.array([one[metric.name].item() for one in found], dtype=float) for metric in metrics}
        described = {name: dict(found[0][name].attrs) for name in values}
        measured = {name: ("sample", values[name], _of_one(described[name])) for name in values}
        context.record("samples", _dated(xr.Dataset(measured | about), epoch))
        if wrong.any():
            context.record("detection", _dated(_detection(values, wrong.numpy()), epoch))
        if bins is not None:
            context.record(
                "histogram", _dated(_histogram(quantities[0], values, described, wrong.numpy(), bins), epoch)
            )

    training.run(after_epoch=look)


def _metric(context: Context, name: str) -> Metric:
    metric = context.lab.metrics[name]
    if metric.dims or "step" in metric.needs or metric.compared_with:
        raise RecipeError(
            f"quantities: {name!r} gives more than one number, or looks at the optimizer's step or at another moment; "
            "expected one number of a sample by itself, such as 'edge_distance'"
        )
    return metric


def _choose(data: Any, samples: int, mislabelled: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = len(data)
    wrong = getattr(data, "mislabelled", None)
    wrong = torch.zeros(size, dtype=torch.bool) if wrong is None else torch.as_tensor(wrong)
    right = (~wrong).nonzero().flatten()
    if samples > len(right):
        raise RecipeError(
            f"samples = {samples}: {len(right)} training samples have the label that they came with, expected at most "
            "so many"
        )
    drawn = right[torch.randperm(len(right), generator=torch.Generator().manual_seed(seed))[:samples]]
    index = torch.cat([wrong.nonzero().flatten()[:mislabelled], drawn])
    return index, wrong[index]


def _of_one(attributes: dict[str, Any]) -> dict[str, Any]:
    long_name = str(attributes["long_name"]).removesuffix(", mean over samples").removesuffix(", least over samples")
    return {"long_name": long_name, "units": attributes["units"]}


def _dated(data: xr.Dataset, epoch: int) -> xr.Dataset:
    coordinate = xr.Variable("epoch", [epoch], {"long_name": "Epoch", **_PURE})
    return data.expand_dims("epoch").assign_coords(epoch=coordinate)


def _detection(values: dict[str, np.ndarray[Any, Any]], wrong: np.ndarray[Any, Any]) -> xr.Dataset:
    found = xr.Dataset(coords={"bound": ("bound", ["lower", "upper"], {"long_name": "End of the interval", **_PURE})})
    for name, each in values.items():
        area, *ends = auroc(-each[wrong], -each[~wrong])
        meaning = f"Probability that {name} is smaller where the label is wrong (AUROC)"
        found[f"{name}_auroc"] = ((), area, {"long_name": meaning, **_PURE})
        interval = {"long_name": f"95 % interval of the AUROC of {name}, by DeLong's method", **_PURE}
        found[f"{name}_auroc_interval"] = ("bound", ends, interval)
    return found


def _histogram(
    name: str,
    values: dict[str, np.ndarray[Any, Any]],
    described: dict[str, dict[str, Any]],
    wrong: np.ndarray[Any, Any],
    bins: tuple[float, float, int],
) -> xr.Dataset:
    edges = np.linspace(bins[0], bins[1], bins[2] + 1)
    known = ~np.isnan(values[name])
    shares = np.full((len(KINDS), bins[2]), np.nan)
    for row, members in enumerate((known & ~wrong, known & wrong)):
        if members.any():
            shares[row] = np.histogram(values[name][members], edges)[0] / members.sum()
    about = _of_one(described[name])
    return xr.Dataset(
        {
            f"{name}_share": (
                ("class", "x"),
                shares,
                {"long_name": f"Share of the samples: {about['long_name']}", **_PURE},
            )
        },
        coords={
            "class": ("class", list(KINDS), {"long_name": "Which samples", **_PURE}),
            "x": ("x", (edges[:-1] + edges[1:]) / 2, {"long_name": "Middle of the bin", "units": about["units"]}),
        },
    )
