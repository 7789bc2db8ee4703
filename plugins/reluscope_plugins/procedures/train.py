"""Train a classifier and measure it as it learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope import random_state
from reluscope.context import Diverged
from reluscope.devices import find_device
from reluscope.errors import NotFiniteError, ObservationError, RecipeError
from reluscope.optimizer_step import OptimizerStep
from reluscope.optimizers import build_optimizer
from reluscope.preserve import preserved
from reluscope.series import Series
from reluscope_plugins.procedures.augmentation import augment, black
from reluscope_plugins.procedures.requests import SPLITS, Request, check_moments, due, requests_of
from reluscope_plugins.procedures.training_data import batches, description

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
# streams of random draws, so that adding draws to one leaves the others as they are
_WEIGHTS, _ORDER, _AUGMENTATION = 1, 2, 3


def train(
    context: Context,
    *,
    epochs: Positive,
    max_steps: Positive | None = None,
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
    shift: Natural = 0,
    flip: bool = False,
) -> None:
    """Train a classifier by cross entropy and measure it as it learns.

    Writes the groups `epoch` (loss and accuracy of each split, the metrics, from epoch 0, before training) and `step`
    (the rate in force and the loss of the batch), and one group for each other cadence of a metric.

    Args:
        context: The recipe's point: data set, architecture, optimizer, scheduler, metrics.
        epochs: How often each training sample is seen.
        max_steps: Stop after so many optimizer steps, on a schedule that is still that of all epochs; left out, train
            to the end.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to train: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.
        shift: Each image of an optimizer step is moved by up to so many pixels up or down, and left or right; what
            comes in is what a black pixel has become by the data set's `mean` and `std`, 0 where it has none. Drawn
            anew in each step.
        flip: Whether each image of an optimizer step is mirrored left-right with probability 1/2.

    Raises:
        RecipeError: If the recipe lacks a choice that training needs, or its choices do not fit together.
        Diverged: If the loss leaves the finite numbers.
    """
    place = find_device(device)
    Training(
        context, epochs, batch_size, evaluation_batch_size, place, max_steps=max_steps, shift=shift, flip=flip
    ).run()


class Training:
    """One training: the model and its surroundings, and where in the data it is.

    Args:
        context: The recipe's point.
        epochs: How often each training sample is seen.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to train.
        max_steps: Stop after so many optimizer steps; None trains to the end.
        shift: Greatest number of pixels by which the images of an optimizer step are moved.
        flip: Whether the images of an optimizer step are mirrored at random.

    Attributes:
        model: The network.
        data: Split to its samples.
        device: Where the network is.

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
        max_steps: int | None = None,
        shift: int = 0,
        flip: bool = False,
    ) -> None:
        self.shift, self.flip = shift, flip
        self.context = context
        self.epochs = epochs
        self.batch_size = batch_size
        self.evaluation_batch_size = evaluation_batch_size
        self.device = device
        self.requests = requests_of(context)
        self.series = [Series(list(request.metrics.values()), lab=context.lab) for request in self.requests]
        dataset = context.choice("dataset")
        entry = context.lab.datasets[dataset.name]
        self.data = {
            split: entry.load(split, context.data_root, lab=context.lab, **dataset.parameters) for split in SPLITS
        }
        for split, samples in self.data.items():
            if not len(samples):  # type: ignore[arg-type]
                raise RecipeError(f"dataset {dataset.name!r}: its {split} split is empty, expected at least one sample")
        architecture = context.choice("architecture")
        self.model = context.lab.architectures[architecture.name].build(
            seed=context.seed(_WEIGHTS), **architecture.parameters
        )
        self.model.to(device)
        self._fill = black(self.data["train"])
        self._try_a_sample()
        size = len(self.data["train"])  # type: ignore[arg-type]
        self.batches = math.ceil(size / batch_size)
        self.last_step = min(epochs * self.batches, max_steps or epochs * self.batches)
        check_moments(self.requests, self.last_step // self.batches, self.last_step)
        if (size % batch_size or batch_size) == 1 and any(
            isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in self.model.modules()
        ):
            raise RecipeError(
                f"batch_size = {batch_size}: the last of {size} training samples is a batch of one, which batch norm "
                "cannot train on; choose another batch_size"
            )
        optimizer = context.choice("optimizer")
        self.optimizer = build_optimizer(optimizer.name, optimizer.parameters, self.model.parameters())
        scheduler = context.choice("scheduler")
        self._gives_batch = context.lab.schedulers[scheduler.name].batch
        self.scheduler = context.lab.schedulers[scheduler.name].build(
            self.optimizer, total_steps=epochs * self.batches, model=self.model, **scheduler.parameters
        )
        self.epoch, self.batch = 0, 0
        self.pending: list[tuple[int, float, float]] = []
        if context.state is not None:
            self._load(context.state)

    def _try_a_sample(self) -> None:
        # else the error would come from deep inside, and name neither
        sample, _ = next(batches(self.data["train"], torch.arange(1), 1))
        augment(sample, shift=self.shift, flip=self.flip, fill=self._fill, seed=0)
        try:
            with preserved(self.model, training=False), torch.no_grad():
                self.model(sample.to(self.device))
        except (RuntimeError, ObservationError) as error:
            recipe = self.context.recipe
            raise RecipeError(
                f"architecture {recipe.architecture.name!r} does not take the samples of dataset "  # type: ignore[union-attr]
                f"{recipe.dataset.name!r}, of shape {tuple(sample.shape[1:])}: "  # type: ignore[union-attr]
                f"{str(error).splitlines()[0]}; change what it expects (such as widths or input_shape)"
            ) from error

    def run(self, after_epoch: Callable[[int], None] | None = None) -> None:
        """Train, from where a checkpoint left off.

        Args:
            after_epoch: Called with the number of epochs completed, before training and after each epoch, when the
                measurements of that moment were recorded.

        Raises:
            Diverged: If the loss leaves the finite numbers.
        """
        try:
            if self.epoch == 0 and self.batch == 0:
                self._measure(at_epoch=True)  # first: where the data do not fit the model, nothing is left behind
                self.context.record("data", description(self.data))
                if after_epoch is not None:
                    after_epoch(0)
            while self.step < self.last_step:
                self._train_epoch()
                if self.batch < self.batches:
                    break
                self.epoch, self.batch = self.epoch + 1, 0
                self._measure(at_epoch=True)
                if after_epoch is not None:
                    after_epoch(self.epoch)
                if self.step < self.last_step:
                    self.context.checkpoint(self.state)
            self._compare_with_last()
        finally:
            self._record_steps()

    @property
    def step(self) -> int:
        """Number of optimizer steps taken."""
        return self.epoch * self.batches + self.batch

    # The rest of the epoch's samples, in the order of training; all of the next one's where none is left.
    def _remaining(self) -> torch.Tensor:
        epoch, batch = divmod(self.step, self.batches)
        generator = torch.Generator().manual_seed(self.context.seed(_ORDER, epoch))
        order = torch.randperm(len(self.data["train"]), generator=generator)  # type: ignore[arg-type]
        return order[batch * self.batch_size :]

    def _train_epoch(self) -> None:
        self.model.train()
        for inputs, labels in batches(self.data["train"], self._remaining(), self.batch_size):
            self._step(self._augmented(inputs.to(self.device)), labels.to(self.device))
            self.batch += 1
            self.context.advance(self.step / self.last_step)
            self._measure(at_epoch=False)
            if self.step == self.last_step:
                return
            if self.batch < self.batches:
                self.context.checkpoint(self.state)

    def _augmented(self, inputs: torch.Tensor) -> torch.Tensor:
        seed = self.context.seed(_AUGMENTATION, self.step)
        return augment(inputs, shift=self.shift, flip=self.flip, fill=self._fill, seed=seed)

    def _step(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        rate = float(self.optimizer.param_groups[0]["lr"])
        value = self._backward(inputs, labels)
        self.optimizer.step()
        step: Any = self.scheduler.step
        step(inputs) if self._gives_batch else step()
        self.pending.append((self.step + 1, rate, value))

    def _backward(self, inputs: torch.Tensor, labels: torch.Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(inputs)
        if not isinstance(output, torch.Tensor) or output.ndim != 2:
            got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise RecipeError(
                f"architecture: its output is {got}, expected logits (sample, class); pass what makes it return them, "
                "such as aux_logits = false"
            )
        loss = torch.nn.functional.cross_entropy(output, labels)
        value = loss.item()
        if not math.isfinite(value):
            rate = float(self.optimizer.param_groups[0]["lr"])
            raise Diverged(f"the loss is {value} at step {self.step}, with learning rate {rate:.4g}; lower the rate")
        loss.backward()
        return value

    # The step that comes next, and its batch; training goes on as if it had not been looked at.
    def _next_step(self) -> tuple[OptimizerStep, tuple[torch.Tensor, torch.Tensor]]:
        inputs, labels = next(batches(self.data["train"], self._remaining()[: self.batch_size], self.batch_size))
        inputs, labels = self._augmented(inputs.to(self.device)), labels.to(self.device)
        with preserved(self.model, training=True):
            self._backward(inputs, labels)
            return OptimizerStep(self.optimizer), (inputs, labels)

    def _measure(self, *, at_epoch: bool) -> None:
        for group, requests in due(self.requests, self.epoch if at_epoch else None, self.step):
            parts: list[xr.Dataset] = []
            for request in requests:
                occasion = request.occasion
                loader: Iterable[tuple[torch.Tensor, torch.Tensor]] = batches(
                    self.data[occasion.split],
                    torch.arange(min(occasion.samples or 2**62, len(self.data[occasion.split]))),  # type: ignore[arg-type]
                    self.evaluation_batch_size,
                )
                try:
                    step = None
                    if occasion.step:
                        step, batch = self._next_step()
                        loader = loader if occasion.samples else [batch]
                    found, kept = self._series_of(request).measure(
                        self.model, loader, device=self.device, training=occasion.training, step=step
                    )
                except NotFiniteError as error:
                    if self.step == 0:  # nothing was trained yet: it is the data, or the initial weights
                        raise
                    raise Diverged(
                        f"the network is no longer finite at step {self.step} ({error}); lower the rate"
                    ) from error
                parts.append(request.named(found))
                for table, entries in kept.items():
                    self.context.record(request.group_of(table), self._dated(entries, request.cadence.unit))
            dim = requests[0].cadence.unit
            merged = xr.merge(parts, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
            data = self._dated(merged, dim)
            if group == "epoch":
                rate = float(self.optimizer.param_groups[0]["lr"])
                data["rate"] = ("epoch", [rate], {"long_name": "Learning rate of the next step", "units": "1"})
            self.context.record(group, data)

    def _series_of(self, request: Request) -> Series:
        return self.series[self.requests.index(request)]

    def _dated(self, data: xr.Dataset, dim: str) -> xr.Dataset:
        data = data.expand_dims({dim: [self.epoch if dim == "epoch" else self.step]})
        if dim == "epoch":
            data = data.assign_coords(step=("epoch", [self.step], {"long_name": "Optimizer steps taken", "units": "1"}))
        data[dim].attrs |= {"long_name": dim.capitalize(), "units": "1"}
        return data

    def _compare_with_last(self) -> None:
        for request, series in zip(self.requests, self.series, strict=True):
            if series.keeps:
                kept = {table: self.context.recorded(request.group_of(table)) for table in series.keeps}
                compared = series.compared_with_last(kept, request.cadence.unit)
                self.context.record(request.cadence.group, request.named(compared))

    def _record_steps(self) -> None:
        if not self.pending:
            return
        steps, rates, losses = (np.array(column) for column in zip(*self.pending, strict=True))
        self.pending.clear()
        self.context.record(
            "step",
            xr.Dataset(
                {
                    "rate": ("step", rates, {"long_name": "Learning rate in force", "units": "1"}),
                    "batch_loss": (
                        "step",
                        losses,
                        {"long_name": "Cross entropy of the training batch", "units": "nat"},
                    ),
                },
                coords={"step": ("step", steps, {"long_name": "Optimizer step", "units": "1"})},
            ),
        )

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on from here.

        Returns:
            Plain types and tensors.
        """
        self._record_steps()
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": random_state.capture(),
            "series": [series.state() for series in self.series],
        }

    def _load(self, state: Any) -> None:
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        random_state.restore(state["random"])
        for series, kept in zip(self.series, state["series"], strict=True):
            series.load(kept)
