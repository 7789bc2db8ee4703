"""Random labels for a share of the samples of any data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reluscope.random_state import derived_seed
from reluscope_plugins.datasets.building import load_inner
from reluscope_plugins.datasets.checks import SPLITS, check_fraction, check_integer, check_splits
from reluscope_plugins.datasets.relabelling import labels_of, number_of_classes, relabelled

if TYPE_CHECKING:
    from reluscope.lab import Lab


def random_labels(
    split: str,
    root: str | Path | None = None,
    *,
    dataset: Mapping[str, Any],
    fraction: float = 1.0,
    seed: int = 0,
    splits: Sequence[str] = ("train",),
    lab: Lab | None = None,
) -> Any:
    """Load a data set and draw the label of each sample anew with a given probability, uniformly from all classes.

    Each sample's label is drawn anew independently of the others', and may come out as it was: with C classes a share
    of `fraction (C - 1) / C` is wrong in expectation. A greater fraction with the same seed draws anew what a smaller
    one does in the same way, and more.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set to corrupt: its `name` and its parameters.
        fraction: Probability that a label is drawn anew.
        seed: Seed of the draws.
        splits: Which splits are corrupted; the others are as they would be without.
        lab: Where the data set is looked up.

    Returns:
        For a corrupted split: the data with attributes `redrawn` ((sample,), bool), `mislabelled` ((sample,), bool:
        where the label differs from the clean one) and `clean_labels` ((sample,)), in memory where they are without,
        and loaded one by one where not; else the data set's own split.

    References:
        Zhang, Bengio, Hardt, Recht and Vinyals 2017, Understanding deep learning requires rethinking generalization,
        section 2.1: partially corrupted labels; fraction 1: random labels.

    Example:
        >>> from reluscope.lab import Lab
        >>> from reluscope_plugins import datasets
        >>> data = random_labels("train", dataset={"name": "digits"}, fraction=1.0, lab=Lab(plugins=[datasets]))
        >>> bool(data.redrawn.all()), bool(data.mislabelled.all())
        (True, False)
    """
    check_fraction("random_labels", "fraction", fraction)
    check_integer("random_labels", "seed", seed, 0)
    check_splits("random_labels", splits)
    entry, data = load_inner("random_labels", dataset, split, root, lab)
    if split not in splits:
        return data
    clean = labels_of(data)
    generator = torch.Generator().manual_seed(derived_seed(seed, SPLITS.index(split)))
    redrawn = torch.rand(len(clean), generator=generator, dtype=torch.float64) < fraction
    drawn = torch.randint(number_of_classes(data, entry, clean), (len(clean),), generator=generator)
    made = relabelled(data, torch.where(redrawn, drawn, clean), name="random_labels")
    made.redrawn = redrawn
    return made
