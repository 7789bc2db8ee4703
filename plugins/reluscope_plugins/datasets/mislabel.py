"""Wrong labels for a given number of samples of any data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reluscope.errors import RecipeError
from reluscope.random_state import derived_seed
from reluscope_plugins.datasets.building import load_inner
from reluscope_plugins.datasets.checks import SPLITS, check_integer, check_splits
from reluscope_plugins.datasets.relabelling import labels_of, number_of_classes, relabelled

if TYPE_CHECKING:
    from reluscope.lab import Lab


def mislabel(
    split: str,
    root: str | Path | None = None,
    *,
    dataset: Mapping[str, Any],
    k: int,
    seed: int = 0,
    splits: Sequence[str] = ("train",),
    lab: Lab | None = None,
) -> Any:
    """Load a data set and give k samples of a split a wrong label, each drawn uniformly from the other classes.

    Which samples they are is drawn uniformly from the split and stays the same for the whole training. A greater k with
    the same seed mislabels the samples of a smaller one in the same way, and more.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set to corrupt: its `name` and its parameters.
        k: How many labels of each corrupted split are wrong.
        seed: Seed of the draws.
        splits: Which splits are corrupted; the others are as they would be without.
        lab: Where the data set is looked up.

    Returns:
        For a corrupted split: the data with attributes `mislabelled` ((sample,), bool) and `clean_labels` ((sample,)),
        in memory where they are without, and loaded one by one where not; else the data set's own split.

    Raises:
        RecipeError: If a parameter does not fit.

    Example:
        >>> from reluscope.lab import Lab
        >>> from reluscope_plugins import datasets
        >>> data = mislabel("train", dataset={"name": "digits"}, k=100, lab=Lab(plugins=[datasets]))
        >>> int(data.mislabelled.sum()), len(data)
        (100, 1294)
    """
    check_integer("mislabel", "k", k, 0)
    check_integer("mislabel", "seed", seed, 0)
    check_splits("mislabel", splits)
    entry, data = load_inner("mislabel", dataset, split, root, lab)
    if split not in splits:
        return data
    clean = labels_of(data)
    if k > len(clean):
        raise RecipeError(
            f"dataset 'mislabel': k is {k}, but the {split} split of dataset {entry.name!r} has {len(clean)} samples; "
            "expected at most as many"
        )
    classes = number_of_classes(data, entry, clean)
    if classes < 2:
        raise RecipeError(
            f"dataset 'mislabel': dataset {entry.name!r} has {classes} class, expected at least 2: there is no wrong "
            "label to give"
        )
    generator = torch.Generator().manual_seed(derived_seed(seed, SPLITS.index(split)))
    chosen = torch.randperm(len(clean), generator=generator)[:k]
    # drawn for all samples, so that a sample's wrong label does not depend on k
    others = torch.randint(classes - 1, (len(clean),), generator=generator)[chosen]
    labels = clean.clone()
    labels[chosen] = others + (others >= clean[chosen])
    return relabelled(data, labels, name="mislabel")
