"""Images in files, decoded when they are asked for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torchvision.datasets
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from reluscope.errors import ReluscopeError
from reluscope_plugins.datasets.folder import VARIABLE

# what Pillow raises on files that are missing, cut short, damaged, or so large that they are taken for an attack
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class ImageFiles(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images in files and their labels; a file is read when its sample is asked for.

    Args:
        paths: The files.
        labels: The class of each.
        transform: From bytes (3, height, width), uint8, to the input.
        name: The data set's name.
        classes: Class names in the order of the labels.
        mean: What the transform subtracts from each channel; empty where nothing.
        std: By what it divides each channel afterwards.

    Attributes:
        paths: The files.
        labels: (sample,), int64.
        name: The data set's name.
        classes: Class names in the order of the labels.
        mean: What is subtracted from each channel.
        std: By what each channel is divided afterwards.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        labels: Sequence[int],
        *,
        transform: Callable[[Image.Image], torch.Tensor],
        name: str,
        classes: Sequence[str],
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
    ) -> None:
        self.paths = list(paths)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self._transform = transform
        self.name = name
        self.classes = tuple(classes)
        self.mean = tuple(mean)
        self.std = tuple(std)

    def __len__(self) -> int:
        """Return the number of images.

        Returns:
            It.
        """
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read and decode one image.

        Args:
            index: From 0.

        Returns:
            The image, normalised, and its label.
        """
        return self._transform(decoded(self.paths[index], self.name)), self.labels[index]


def decoded(path: str | Path, dataset: str) -> Image.Image:
    """Read and decode an image file.

    Args:
        path: The file.
        dataset: The data set's name, for the message.

    Returns:
        The image, with three channels.

    Raises:
        ReluscopeError: If the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise ReluscopeError(
            f"dataset {dataset!r}: cannot read the image {path} ({reason}); fetch it anew or take it out"
        ) from error


def normalising(mean: Sequence[float], std: Sequence[float]) -> list[Callable[..., torch.Tensor]]:
    """Return the last steps of a transform: from an image to numbers, normalised.

    Args:
        mean: What to subtract from each channel; empty leaves values within 0..1.
        std: By what to divide each channel afterwards.

    Returns:
        torchvision's transforms, in order.
    """
    steps: list[Callable[..., torch.Tensor]] = [
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float32),
    ]
    return [*steps, transforms.Normalize(mean, std)] if mean else steps


def class_folders(dataset: str, folder: Path, layout: str) -> tuple[list[str], list[str], list[int]]:
    """List the images below a folder that has a folder for each class.

    Args:
        dataset: The data set's name, for messages.
        folder: Where the classes' folders are.
        layout: What is expected, for messages.

    Returns:
        The classes, sorted; the files, sorted within each class; the class of each file.

    Raises:
        ReluscopeError: If the folder, its classes, or images of a class are not there.
    """
    if not folder.is_dir():
        raise ReluscopeError(missing(dataset, folder, layout))
    try:
        listing = torchvision.datasets.ImageFolder(str(folder))
    except FileNotFoundError as error:  # no class at all, or a class without images
        raise ReluscopeError(
            f"dataset {dataset!r}: {str(error).splitlines()[0].rstrip('.')}; expected {layout}; fetch the data anew"
        ) from error
    return listing.classes, [path for path, _ in listing.samples], list(listing.targets)


def missing(dataset: str, path: Path, layout: str) -> str:
    """Say that a file or folder is not there.

    Args:
        dataset: The data set's name.
        path: What is not there.
        layout: What is expected.

    Returns:
        The message.
    """
    return (
        f"dataset {dataset!r}: there is no {path}; expected {layout}; set the environment variable {VARIABLE} to the "
        "folder that holds it"
    )


def class_names(wnids: Sequence[str], words: Path) -> tuple[str, ...]:
    """Name classes by the first of the words that WordNet has for each.

    Args:
        wnids: WordNet's identifiers.
        words: A file with an identifier, a tab, and words with commas between them, on each line; need not exist.

    Returns:
        A name for each class: the identifier where the file has none, and beside the word where two classes share it.
    """
    known: dict[str, str] = {}
    if words.is_file():
        for line in words.read_text(encoding="utf-8", errors="replace").splitlines():
            wnid, _, synonyms = line.partition("\t")
            known[wnid] = synonyms.split(",")[0].strip()
    names = [known.get(wnid) or wnid for wnid in wnids]
    return tuple(f"{name} ({wnid})" if names.count(name) > 1 else name for name, wnid in zip(names, wnids, strict=True))
