"""Tiny ImageNet: photographs of 200 kinds of things, 64 x 64 pixels, in the layout of its archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

from reluscope.errors import ReluscopeError
from reluscope_plugins.datasets.checks import check_flag
from reluscope_plugins.datasets.constants import KNOWN
from reluscope_plugins.datasets.folder import data_folder
from reluscope_plugins.datasets.image_files import (
    ImageFiles,
    class_folders,
    class_names,
    decoded,
    missing,
    normalising,
)
from reluscope_plugins.datasets.samples import ByteSamples
from reluscope_plugins.datasets.splits import choose

NAME = "tiny_imagenet"
SIZE = 64
LAYOUT = (
    "train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt and wnids.txt, as in tiny-imagenet-200.zip"
)


def tiny_imagenet(
    split: str,
    root: str | Path | None = None,
    *,
    folder: str = "tiny-imagenet-200",
    in_memory: bool = True,
    normalise: bool = True,
    split_seed: int = 0,
) -> ByteSamples | ImageFiles:
    """Load one split of Tiny ImageNet.

    The labels of the official test images were never published, so the official validation images are the test split
    here, as they are wherever accuracies on this data set are reported; 10 % of the official training images are held
    out for validation. Classes are numbered in the order of their WordNet identifiers, as torchvision numbers them.

    Args:
        split: `"train"` (90 % of the official training images), `"validation"` (the other 10 %) or `"test"` (the
            official validation images).
        root: Folder that holds `folder`; None looks where RELUSCOPE_DATA points.
        folder: The unpacked archive.
        in_memory: Whether all images of the split are decoded now and kept as bytes (1.1 GB for the train split); if
            not, each is decoded anew whenever it is asked for.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
        split_seed: Seed of the permutation that divides training from validation.

    Returns:
        Images (sample, 3, 64, 64) and labels; the same numbers in memory and not.

    References:
        Le and Yang 2015, Tiny ImageNet visual recognition challenge. Hartmann 2025, section 2.1.1.
    """
    check_flag(NAME, "in_memory", in_memory)
    check_flag(NAME, "normalise", normalise)
    layout = f"{folder}/ with {LAYOUT}"
    base = data_folder(NAME, root, layout) / folder
    wnids, paths, labels = class_folders(NAME, base / "train", layout)
    _check_classes(base, wnids)
    if split == "test":
        paths, labels = _annotated(base, wnids)
    else:
        chosen = choose(split, len(paths), split_seed, dataset=NAME).tolist()
        paths, labels = [paths[i] for i in chosen], [labels[i] for i in chosen]
    card = KNOWN[NAME]
    classes = class_names(wnids, base / "words.txt")
    mean, std = (card.mean, card.std) if normalise else ((), ())
    if in_memory:
        images = torch.empty((len(paths), 3, SIZE, SIZE), dtype=torch.uint8)
        convert = transforms.PILToTensor()
        for index, path in enumerate(paths):
            images[index] = convert(_of_size(decoded(path, NAME), path))
        return ByteSamples(images, torch.tensor(labels), name=NAME, classes=classes, mean=mean, std=std)
    return _Sized(
        paths,
        labels,
        transform=transforms.Compose(normalising(mean, std)),
        name=NAME,
        classes=classes,
        mean=mean,
        std=std,
    )


class _Sized(ImageFiles):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        path = self.paths[index]
        return self._transform(_of_size(decoded(path, self.name), path)), self.labels[index]


def _of_size(image: Image.Image, path: str | Path) -> Image.Image:
    if image.size != (SIZE, SIZE):
        raise ReluscopeError(
            f"dataset {NAME!r}: the image {path} has {image.width} x {image.height} pixels, expected {SIZE} x {SIZE}; "
            "fetch it anew (folders of other images: take the data set 'imagenet')"
        )
    return image


def _check_classes(base: Path, wnids: Sequence[str]) -> None:
    listing = base / "wnids.txt"
    if not listing.is_file():
        raise ReluscopeError(missing(NAME, listing, LAYOUT))
    listed = set(listing.read_text(encoding="utf-8", errors="replace").split())
    for got, where in ((listed - set(wnids), "no folder in train/"), (set(wnids) - listed, "no line in wnids.txt")):
        if got:
            raise ReluscopeError(
                f"dataset {NAME!r}: {base}: {min(got)!r} has {where}, expected the same {len(listed)} classes in both; "
                "fetch the data anew"
            )


def _annotated(base: Path, wnids: Sequence[str]) -> tuple[list[str], list[int]]:
    # a line of val_annotations.txt: name of the file, class, and the box around the thing
    annotations = base / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise ReluscopeError(missing(NAME, annotations, LAYOUT))
    number = {wnid: index for index, wnid in enumerate(wnids)}
    paths: list[str] = []
    labels: list[int] = []
    for line, text in enumerate(annotations.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = text.split("\t")
        if len(fields) < 2 or fields[1] not in number:
            raise ReluscopeError(
                f"dataset {NAME!r}: {annotations}, line {line}: got {text[:60]!r}, expected a file, a tab, and a class "
                "of wnids.txt; fetch the data anew"
            )
        path = base / "val" / "images" / fields[0]
        if not path.is_file():
            raise ReluscopeError(missing(NAME, path, LAYOUT))
        paths.append(str(path))
        labels.append(number[fields[1]])
    if not paths:
        raise ReluscopeError(f"dataset {NAME!r}: {annotations} is empty, expected a line for each image")
    return paths, labels
