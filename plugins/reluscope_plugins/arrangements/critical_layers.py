"""Which layers a trained network cannot do without: each is put back to an earlier state, all others left trained."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pydantic
import scipy.stats
import torch
import xarray as xr

from reluscope.devices import find_device
from reluscope.errors import ObservationError, RecipeError
from reluscope.measurement import measure
from reluscope_plugins.arrangements.layer_resets import layer_reset, resettable_layers, snapshot
from reluscope_plugins.arrangements.null_distribution import check_probability
from reluscope_plugins.arrangements.rank_correlation import rank_correlation
from reluscope_plugins.procedures.train import Training
from reluscope_plugins.procedures.training_data import batches

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
SHARE = "negative_projection_share"
CORRELATION = "share_drop_correlation"
INTERVAL = f"{CORRELATION}_interval"
MEANING = "Rank correlation of |share - 1/2| and loss of accuracy over layers"
_BOUNDS = ("bound", ["lower", "upper"], {"long_name": "End of the interval", "units": "1"})


def critical_layers(
    context: Context,
    *,
    epochs: Positive,
    snapshots: list[Natural],
    split: Literal["train", "validation", "test"] = "test",
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
    shift: Natural = 0,
    flip: bool = False,
) -> None:
    r"""Train as `train` does, and measure what is lost when one layer is put back to where it was at an earlier epoch.

    When the training has ended, each convolution and linear layer in turn gets the weight and bias that it had at the
    end of each chosen epoch, all else trained, and the accuracy is measured. A layer is critical where it drops.

    Writes all that `train` writes, and the group `critical_layers`: `accuracy_drop` along `layer` and `epoch`, the
    accuracy of the trained network minus that with the layer reset, negative where the reset helps; `trained_accuracy`;
    `negative_projection_share` of the trained network along `layer`; and `share_drop_correlation`, Spearman's rank
    correlation over the layers between $|n_l - \frac12|$, how far that share is from a half, and the drop at the
    earliest of the epochs, with `share_drop_correlation_interval` along `bound`, as `rank_correlation` gives it. They
    are missing with fewer than four layers, or where all shares or all drops are equal.

    Layers that share a weight are reset together, under the first name. Of a parametrised weight, what is stored is
    reset. Normalisation layers stay trained, and so do their statistics. A snapshot is as large as the network, and
    part of each checkpoint.

    Args:
        context: The recipe's point: data set, architecture, optimizer, scheduler, metrics.
        epochs: How often each training sample is seen.
        snapshots: The epochs, in any order; 0 is before training.
        split: Whose accuracy is measured.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.
        shift: Greatest number of pixels by which the images of an optimizer step are moved, as in `train`.
        flip: Whether they are mirrored at random, as in `train`.

    Raises:
        RecipeError: If the recipe's choices do not fit together.

    References:
        Gamba et al. 2020, section 3.3 and figure 2; Zhang, Bengio and Singer 2019, Are all layers created equal?
    """
    chosen = _check(snapshots, epochs)
    place = find_device(device)
    training = _Training(context, epochs, batch_size, evaluation_batch_size, place, shift=shift, flip=flip)
    model = training.model
    layers = list(resettable_layers(model))
    if not layers:
        raise RecipeError(
            f"architecture {context.choice('architecture').name!r}: it has no convolution and no linear layer, "
            "expected at least one that can be reset; choose another"
        )

    def keep(epoch: int) -> None:
        if epoch in chosen:
            training.snapshots[epoch] = snapshot(model)

    training.run(after_epoch=keep)
    trained = _accuracy(training, split)
    labels = ("layer", np.array(layers), {"long_name": "layer: name of its weight", "units": "1"})
    about = {"long_name": f"Loss of {split} accuracy when the layer is reset to the epoch", "units": "1"}
    for number, epoch in enumerate(chosen, start=1):
        if number <= (context.state or {}).get("measured", 0):
            continue
        drops = np.empty((len(layers), 1))
        for row, layer in enumerate(layers):
            with layer_reset(model, layer, training.snapshots[epoch]):
                drops[row] = trained - _accuracy(training, split)
        dated = ("epoch", [epoch], {"long_name": "Epoch to which the layer is reset", "units": "1"})
        context.record(
            "critical_layers",
            xr.Dataset({"accuracy_drop": (("layer", "epoch"), drops, about)}, {"layer": labels, "epoch": dated}),
        )
        context.checkpoint(partial(_saved, training, number))
    drop = context.recorded("critical_layers")["accuracy_drop"].sel(epoch=chosen[0])
    share = _shares(training).reindex(layer=layers)
    found = rank_correlation(abs(share.values - 0.5), drop.reindex(layer=layers).values)
    interval = {"long_name": f"95 % interval of: {MEANING}", "units": "1"}
    result = xr.Dataset(
        {
            "trained_accuracy": ((), trained, {"long_name": f"{split.capitalize()} accuracy as trained", "units": "1"}),
            SHARE: ("layer", share.values, dict(share.attrs)),
            CORRELATION: ((), found.value, {"long_name": MEANING, "units": "1"}),
            INTERVAL: ("bound", [found.lower, found.upper], interval),
        },
        {"layer": labels, "bound": _BOUNDS},
    )
    context.record("critical_layers", result)


def correlation_over_runs(results: xr.DataTree | xr.Dataset, *, confidence: float = 0.95) -> xr.Dataset:
    r"""Join the rank correlations of several runs of `critical_layers`.

    $\bar r \pm t \, s / \sqrt k$ over the $k$ runs, cut to -1..1, with the sample standard deviation $s$ of their
    correlations and the quantile $t$ of Student's distribution with $k - 1$ degrees of freedom. The runs are
    independent, where the layers of one network are not.

    Args:
        results: An archive with the group `critical_layers`, or that group; swept over `seed`.
        confidence: Probability with which the interval is to hold the mean, where correlations are normal.

    Returns:
        `share_drop_correlation`, the mean over `seed`; `share_drop_correlation_interval` along `bound`, NaN with fewer
        than two runs; `runs`, the number of runs with a correlation. Other dims of the sweep are kept.

    Raises:
        ObservationError: If there is no such correlation, or no dim `seed`, or the confidence is not between 0 and 1.

    Example:
        >>> about = {"long_name": "Correlation", "units": "1"}
        >>> group = xr.Dataset({"share_drop_correlation": ("seed", [0.4, 0.6], about)}, {"seed": [0, 1]})
        >>> float(correlation_over_runs(group)["share_drop_correlation"])
        0.5
    """
    check_probability("confidence", confidence)
    if not isinstance(results, xr.DataTree | xr.Dataset):
        raise ObservationError(
            f"got {type(results).__name__}, expected an archive or its group 'critical_layers'; load it with "
            "reluscope.open_archive"
        )
    whole = isinstance(results, xr.DataTree)
    group = results["critical_layers"] if whole and "critical_layers" in results.children else results
    data = group.to_dataset() if isinstance(group, xr.DataTree) else group
    if CORRELATION not in data or "seed" not in data[CORRELATION].dims:
        raise ObservationError(
            f"got the variables {sorted(map(str, data.data_vars))} and the dims {sorted(map(str, data.dims))}, "
            f"expected {CORRELATION!r} along 'seed'; run the procedure 'critical_layers' with a sweep over seed"
        )
    single = data[CORRELATION]
    runs = single.count("seed")
    mean = single.mean("seed")
    quantile = xr.apply_ufunc(scipy.stats.t.ppf, (1 + confidence) / 2, (runs - 1).where(runs > 1))
    half = quantile * single.std("seed", ddof=1) / np.sqrt(runs)
    ends = xr.concat([mean - half, mean + half], xr.Variable(*_BOUNDS)).clip(-1.0, 1.0)
    meaning = f"{MEANING}, mean over runs"
    return xr.Dataset(
        {
            CORRELATION: mean.assign_attrs(long_name=meaning, units="1"),
            INTERVAL: ends.assign_attrs(long_name=f"{confidence:.0%} interval of: {meaning}", units="1"),
            "runs": runs.assign_attrs(long_name="Runs with a correlation", units="1"),
        }
    )


def _check(snapshots: list[int], epochs: int) -> list[int]:
    chosen = sorted(set(snapshots))
    if not chosen:
        raise RecipeError("snapshots = []: expected at least one epoch; give 0, before training")
    if len(chosen) < len(snapshots):
        raise RecipeError(f"snapshots = {snapshots}: expected each epoch once; drop what is repeated")
    if chosen[-1] > epochs:
        raise RecipeError(f"snapshots = {snapshots}: there are {epochs} epochs, expected none after the last; drop it")
    return chosen


class _Training(Training):
    """A training that keeps what layers were at chosen epochs."""

    def __init__(self, context: Context, *arguments: Any, **options: Any) -> None:
        super().__init__(context, *arguments, **options)
        self.snapshots: dict[int, dict[str, list[dict[str, Tensor]]]] = (context.state or {}).get("snapshots", {})

    def state(self) -> dict[str, Any]:
        return super().state() | {"snapshots": self.snapshots}


def _saved(training: _Training, measured: int) -> dict[str, Any]:
    return {**training.state(), "measured": measured}


@torch.no_grad()
def _accuracy(training: _Training, split: str) -> float:
    # not the metric, which refuses what is not finite: a network with a layer reset may overflow, and is then wrong
    data = training.data[split]
    size = len(data)  # type: ignore[arg-type]
    training.model.eval()
    right = 0
    for inputs, labels in batches(data, torch.arange(size), training.evaluation_batch_size):
        logits = training.model(inputs.to(training.device)).cpu()
        right += int(((logits.argmax(1) == labels) & logits.isfinite().all(1)).sum())
    return right / size


def _shares(training: _Training) -> xr.DataArray:
    loader = batches(training.data["train"], torch.arange(1), 1)
    return measure(training.model, loader, SHARE, lab=training.context.lab, device=training.device)[SHARE]
