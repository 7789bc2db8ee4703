"""Pixels in another order: images of any data set from which the neighbourhoods are gone, but not the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import Dataset

from reluscope.errors import ReluscopeError
from reluscope.random_state import derived_seed
from reluscope_plugins.datasets.building import carry_over, load_inner
from reluscope_plugins.datasets.checks import SPLITS, check_choice, check_integer, check_splits
from reluscope_plugins.datasets.samples import tensorwise, with_tensors

if TYPE_CHECKING:
    from reluscope.lab import Lab

# streams of random draws: one for the order that all images share, one for those of each
_SHARED, _EACH = 0, 1
# images that are put in order at a time, each by an order of its own: what the orders take stays small
_CHUNK = 512


def pixel_shuffle(
    split: str,
    root: str | Path | None = None,
    *,
    dataset: Mapping[str, Any],
    order: Literal["fixed", "per_image"] = "fixed",
    seed: int = 0,
    splits: Sequence[str] = SPLITS,
    lab: Lab | None = None,
) -> Any:
    """Load a data set and put the pixels of its images in a random order.

    A pixel keeps its values in all channels: pixel i of the result is pixel `permutation[i]` of the image, rows of
    pixels one after another. What has one dim only (features) is put in order as a whole; of what has more, the first
    is the channel.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set whose images are shuffled: its `name` and its parameters.
        order: `"fixed"`: one permutation for all images of all splits; `"per_image"`: one for each image, which stays
            the same for the whole training.
        seed: Seed of the permutations.
        splits: Which splits are shuffled; the others are as they would be without.
        lab: Where the data set is looked up.

    Returns:
        For a shuffled split: the data, in memory where they are without, and loaded one by one where not; else the data
        set's own split. `pixel_order` gives the permutations.

    Raises:
        ReluscopeError: If the samples are not tensors, or have no dim.

    References:
        Zhang, Bengio, Hardt, Recht and Vinyals 2017, Understanding deep learning requires rethinking generalization,
        section 2.1: shuffled pixels (fixed) and random pixels (per image).

    Example:
        >>> from reluscope.lab import Lab
        >>> from reluscope_plugins import datasets
        >>> lab = Lab(plugins=[datasets])
        >>> plain = lab.datasets["digits"].load("test")
        >>> shuffled = pixel_shuffle("test", dataset={"name": "digits"}, seed=5, lab=lab)
        >>> back = pixel_order(64, seed=5).argsort()
        >>> torch.equal(shuffled.inputs.flatten(1)[:, back], plain.inputs.flatten(1))
        True
    """
    check_choice("pixel_shuffle", "order", order, ("fixed", "per_image"))
    check_integer("pixel_shuffle", "seed", seed, 0)
    check_splits("pixel_shuffle", splits)
    entry, data = load_inner("pixel_shuffle", dataset, split, root, lab)
    if split not in splits:
        return data
    own = split if order == "per_image" else None
    if not tensorwise(data):
        return Shuffled(data, seed=seed, split=own)
    inputs = data.tensors[0]
    if inputs.dim() < 2:
        raise ReluscopeError(
            f"dataset 'pixel_shuffle': a sample of dataset {entry.name!r} is one number, expected pixels or features"
        )
    if own is None:
        shuffled = _by(inputs, pixel_order(_pixels(inputs[0]), seed=seed)[None])
    else:
        shuffled = torch.empty_like(inputs)
        for chunk in torch.arange(len(inputs)).split(_CHUNK):
            orders = [pixel_order(_pixels(inputs[0]), seed=seed, split=own, index=int(i)) for i in chunk]
            shuffled[chunk] = _by(inputs[chunk], torch.stack(orders))
    made: Any = with_tensors(data, inputs=shuffled)
    made.name = "pixel_shuffle"
    return made


def pixel_order(pixels: int, *, seed: int, split: str | None = None, index: int = 0) -> torch.Tensor:
    """Return the order that `pixel_shuffle` puts pixels in.

    Args:
        pixels: How many an image has (its number of features, where it has no channels).
        seed: Seed of the permutations.
        split: None for the order that all images share; the split for that of one image.
        index: Which image of the split.

    Returns:
        (pixel,): from where each pixel of the result comes; its `argsort()` undoes it.

    Example:
        >>> pixel_order(5, seed=0).sort().values
        tensor([0, 1, 2, 3, 4])
    """
    stream = (_SHARED,) if split is None else (_EACH, SPLITS.index(split), index)
    return torch.randperm(pixels, generator=torch.Generator().manual_seed(derived_seed(seed, *stream)))


class Shuffled(Dataset[tuple[torch.Tensor, Any]]):
    """A data set whose images are put in another order as they are loaded.

    Args:
        data: Map-style; its inputs are tensors.
        seed: Seed of the permutations.
        split: None for one order of all images; the split for one of each.

    Attributes:
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
    """

    name = "pixel_shuffle"

    def __init__(self, data: Any, *, seed: int, split: str | None) -> None:
        self._data = data
        self._seed = seed
        self._split = split
        self._shared: torch.Tensor | None = None
        self.classes: tuple[str, ...]
        self.mean: tuple[float, ...]
        self.std: tuple[float, ...]
        carry_over(data, self)
        # what an inner corruption recorded, and what spares loading each sample to see its label
        for attribute in ("labels", "targets", "clean_labels", "mislabelled", "redrawn"):
            if (value := getattr(data, attribute, None)) is not None:
                setattr(self, attribute, value)

    def __len__(self) -> int:
        """Return the number of samples.

        Returns:
            It.
        """
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        """Load one sample.

        Args:
            index: From 0.

        Returns:
            The image with its pixels in the other order, and its label.

        Raises:
            ReluscopeError: If the input is no tensor of pixels or features.
        """
        image, label = self._data[index]
        if not isinstance(image, torch.Tensor) or image.dim() == 0:
            raise ReluscopeError(
                f"dataset 'pixel_shuffle': sample {index} of {type(self._data).__name__} is "
                f"{type(image).__name__}, expected a tensor of pixels or features"
            )
        return _by(image[None], self._order(index, _pixels(image))[None])[0], label

    def _order(self, index: int, pixels: int) -> torch.Tensor:
        if self._split is not None:
            number = index if index >= 0 else len(self) + index
            return pixel_order(pixels, seed=self._seed, split=self._split, index=number)
        if self._shared is None or len(self._shared) != pixels:
            self._shared = pixel_order(pixels, seed=self._seed)
        return self._shared


def _pixels(sample: torch.Tensor) -> int:
    return sample.numel() if sample.dim() == 1 else sample[0].numel()


def _by(inputs: torch.Tensor, orders: torch.Tensor) -> torch.Tensor:
    # inputs (sample, feature) or (sample, channel, ...), orders (sample or 1, pixel)
    flat = inputs.unsqueeze(1) if inputs.dim() == 2 else inputs.flatten(2)
    if len(orders) == 1:
        return flat[..., orders[0]].reshape(inputs.shape)
    return flat.gather(2, orders.unsqueeze(1).expand_as(flat)).reshape(inputs.shape)
