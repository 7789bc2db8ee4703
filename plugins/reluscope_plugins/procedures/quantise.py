"""Run a trained network in a number system: what it still classifies, what it costs, and where it looks again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader

import reluscope as rs
from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope.quantization import quantized_layers
from reluscope.quantization_report import input_saturation
from reluscope_plugins.number_systems.attention import attend
from reluscope_plugins.number_systems.cost import operation_cost
from reluscope_plugins.number_systems.receptive_fields import receptive_fields
from reluscope_plugins.procedures.number_system_training import NumberSystemTraining
from reluscope_plugins.procedures.trained_weights import load_weights

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
System = str | dict[str, Any]
# streams of random draws; that of the weights is the one that `train` has
_WEIGHTS, _DRAWS, _ATTENTION, _TRAINING = 1, 41, 42, 43


class Attention(pydantic.BaseModel):
    """A rough pass, and a finer one where that is uncertain: as `attend` takes it.

    Attributes:
        base_samples: Draws of the first pass.
        refined_samples: Draws where it is refined, the first ones included.
        score: `"decision"` or `"entropy"`.
        select: `"highest"` or `"random"`.
        threshold: `"image"`, `"batch"` or a number.
        margin: Pixels of the last feature map around those that are selected.
        carry: `"receptive"` or `"scaled"`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    base_samples: Positive
    refined_samples: Positive
    score: Literal["decision", "entropy"] = "decision"
    select: Literal["highest", "random"] = "highest"
    threshold: float | Literal["image", "batch"] = "batch"
    margin: Natural = 0
    carry: Literal["receptive", "scaled"] = "receptive"


def quantise(
    context: Context,
    *,
    number_system: System = "psb",
    samples: tuple[Positive, ...] = (1, 2, 4, 8, 16, 32, 64),
    activations: System = "fixed16",
    fold_batchnorm: bool = True,
    draws: Literal["pass", "product"] = "pass",
    prune: Share = 0.0,
    attention: Attention | None = None,
    weights: str | None = None,
    epochs: Natural = 0,
    trained_samples: Natural = 0,
    split: Literal["train", "validation", "test"] = "test",
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 250,
    device: str = "auto",
) -> None:
    """Convert a trained network to a number system, and measure its accuracy at several numbers of samples.

    The network is the architecture as it is built, with its own trained weights where it has some, or with those of a
    file; with epochs it is trained first, in floating point or in the number system. Its parameters are never rounded,
    so that each measurement starts from the same ones. A seed of its own for each number of samples and each swept
    `seed` draws the weights, anew for each batch.

    Writes the group `quantise`: the accuracy in floating point, and at each number of samples accuracy and cost of all
    layers together; the group `cost`: what one sample costs, layer by layer, as `operation_cost` counts it; where the
    system of activations counts what lay beyond it, as `"fixed16"` does, the group `saturation`: which share of each
    layer's inputs did; with `attention` the group of that name; and when it trains all that `train` writes, measured on
    the network as it is trained.

    Args:
        context: The recipe's point: data set, architecture; with epochs also optimizer and scheduler.
        number_system: Of the weights: a name, or a table with a name and parameters.
        samples: Draws of each weight that are averaged: each number is measured. A system that draws nothing needs one.
        activations: Number system of the inputs of the converted layers; `"float32"` leaves single precision as it is.
        fold_batchnorm: Whether batch norms are folded into the layers before them.
        draws: `"pass"`: one draw of each weight and batch; `"product"`: for every multiplication.
        prune: Share of the weights, those nearest to zero, that are taken as zero.
        attention: A table with `base_samples` and `refined_samples`, further `score`, `select`, `threshold`, `margin`
            and `carry`, as for `reluscope_plugins.number_systems.attention.attend`.
        weights: File of trained weights, relative to the folder of the data.
        epochs: How often each training sample is seen before; 0 does not train.
        trained_samples: Draws of each weight while it trains; 0 trains in floating point.
        split: On which split.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe's choices do not fit together.

    References:
        Hartmann 2025, section 4.2.
    """
    place = find_device(device)
    if trained_samples and not epochs:
        raise RecipeError(f"trained_samples = {trained_samples}: nothing is trained; set epochs, or leave it out")
    conversion = {
        "system": number_system,
        "activations": activations,
        "fold_batchnorm": fold_batchnorm,
        "draws": draws,
        "prune": prune,
        "lab": context.lab,
    }
    if epochs:
        training = NumberSystemTraining(
            context,
            epochs,
            batch_size,
            evaluation_batch_size,
            place,
            weights=weights,
            conversion={**conversion, "samples": trained_samples, "seed": context.seed(_TRAINING)}
            if trained_samples
            else None,
        )
        training.run()
        model, data, state = training.model, training.data[split], training.state
        if trained_samples:
            rs.restore_(model)
    else:
        model, data, state = *built(context, weights, split), dict
    measurement = _Measurement(context, model.to(place).eval(), data, evaluation_batch_size, place, conversion)
    steps: list[Callable[[], None]] = [measurement.in_floating_point]
    steps += [partial(measurement.at, count) for count in samples]
    steps += [partial(measurement.with_attention, attention)] if attention else []
    for number, step in enumerate(steps, start=1):
        if number <= (context.state or {}).get("measured", 0):
            continue
        step()
        if not epochs:
            context.advance(number / len(steps))
        context.checkpoint(partial(_saved, state, number))


def _saved(state: Callable[[], Mapping[str, Any]], measured: int) -> dict[str, Any]:
    return {**state(), "measured": measured}


def built(context: Context, weights: str | None, split: str) -> tuple[nn.Module, Any]:
    """Build a recipe's network as it is trained, and load its data first: where they are missing, nothing is fetched.

    Args:
        context: The recipe's point: data set, architecture.
        weights: File of trained weights, relative to the folder of the data; None takes the network as it is built.
        split: Which split.

    Returns:
        The network, and the samples.
    """
    dataset, architecture = context.choice("dataset"), context.choice("architecture")
    data = context.lab.datasets[dataset.name].load(split, context.data_root, lab=context.lab, **dataset.parameters)
    entry = context.lab.architectures[architecture.name]
    model = entry.build(seed=context.seed(_WEIGHTS), **architecture.parameters)
    if weights is not None:
        load_weights(model, weights, context.data_root)
    return model, data


class _Measurement:
    """A network in evaluation mode, and the samples on which it is measured."""

    def __init__(
        self,
        context: Context,
        model: nn.Module,
        data: Any,
        batch_size: int,
        place: torch.device,
        conversion: Mapping[str, Any],
    ) -> None:
        self.context, self.model, self.place, self.conversion = context, model, place, conversion
        self.batches = DataLoader(data, batch_size=batch_size)
        self.size = len(data)

    @torch.no_grad()
    def _accuracy(self) -> float:
        right = 0
        for x, y in self.batches:
            right += int((self.model(x.to(self.place)).argmax(1) == y.to(self.place)).sum())
        return right / self.size

    def in_floating_point(self) -> None:
        """Record the accuracy of the network as it is."""
        about = {"long_name": "Accuracy in floating point", "units": "1"}
        self.context.record("quantise", xr.Dataset({"float_accuracy": ((), self._accuracy(), about)}))

    def at(self, count: int) -> None:
        """Record accuracy and cost at a number of samples.

        Args:
            count: Draws of each weight.
        """
        rs.quantize_(self.model, samples=count, seed=self.context.seed(_DRAWS, count), **self.conversion)
        about = {"long_name": "Accuracy in the number system", "units": "1"}
        counts = ("sample_count", [count], {"long_name": "Draws of each weight that are averaged", "units": "1"})
        found = xr.Dataset({"accuracy": ("sample_count", [self._accuracy()], about)}, coords={"sample_count": counts})
        self._record_saturation(counts)
        cost = operation_cost(self.model, next(iter(self.batches))[0][:1].to(self.place))
        rs.restore_(self.model)
        for name, column in cost.drop_vars("zero_share").data_vars.items():
            about = {"long_name": f"{column.long_name}, of all layers".capitalize(), "units": column.units}
            found[f"total_{name}"] = ("sample_count", [float(column.sum())], about)
        self.context.record("quantise", found)
        self.context.record("cost", cost.expand_dims(sample_count=[count]).assign_coords(sample_count=counts))

    def _record_saturation(self, counts: tuple[Any, ...]) -> None:
        # Of the pass over all samples that is behind us, where the system of activations counts what it saturates.
        layers = quantized_layers(self.model)
        activations = next(iter(layers.values())).quantization.arithmetic.activations
        if not hasattr(activations.encode(torch.zeros(1)), "saturated"):
            return
        seen = input_saturation(layers)
        share = (seen["saturated"] / seen["inputs"]).expand_dims(sample_count=[counts[1][0]])
        about = {"long_name": "Share of the inputs that lay beyond the number system of activations", "units": "1"}
        found = xr.Dataset({"saturated_share": share.assign_attrs(about)}).assign_coords(sample_count=counts)
        self.context.record("saturation", found)

    @torch.no_grad()
    def with_attention(self, asked: Attention) -> None:
        """Record accuracies, the refined share and sampled operations of attention.

        Args:
            asked: As the recipe has it.
        """
        rs.quantize_(self.model, seed=0, **self.conversion)
        totals: dict[str, float] = {}
        fields = None
        for number, (x, y) in enumerate(self.batches):
            x, y = x.to(self.place), y.to(self.place)
            if fields is None and asked.carry == "receptive":
                fields = receptive_fields(self.model, x[:1])
            found = attend(
                self.model, x, **asked.model_dump(), fields=fields, seed=self.context.seed(_ATTENTION, number)
            )
            sums = {
                "refined_accuracy": (found.logits.argmax(1) == y).sum(),
                "first_accuracy": (found.first_logits.argmax(1) == y).sum(),
                "share": found.mask.double().mean((1, 2)).sum(),
                **{f"{name}_operations": found.operations[name].sum() for name in _COSTS},
            }
            totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
        rs.restore_(self.model)
        means = {name: total / self.size for name, total in totals.items()}
        spent = sum(means[f"{name}_operations"] for name in _COSTS[:3])
        means["saved_share"] = 1 - spent / means["everywhere_operations"]
        self.context.record(
            "attention",
            xr.Dataset({key: ((), means[key], {"long_name": text, "units": "1"}) for key, text in _NAMES.items()}),
        )


_COSTS = ("first", "extra", "redone", "everywhere")
_NAMES = {
    "refined_accuracy": "Accuracy after refinement",
    "first_accuracy": "Accuracy of the first pass",
    "share": "Share of the pixels of the last feature map that are refined",
    "first_operations": "Sampled operations of the first pass, of an image",
    "extra_operations": "Sampled operations of the further draws at refined positions, of an image",
    "redone_operations": "Sampled operations of the first draws at refined positions, done again, of an image",
    "everywhere_operations": "Sampled operations of all draws at all positions, of an image",
    "saved_share": "Share of the sampled operations of all draws at all positions that is saved",
}
