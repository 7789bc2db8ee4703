"""ImageNet, and any other folders of images, one for each class: decoded when they are asked for."""

from __future__ import annotations

from pathlib import Path

from torchvision import transforms

from reluscope.errors import RecipeError, ReluscopeError
from reluscope_plugins.datasets.checks import check_flag, check_integer
from reluscope_plugins.datasets.constants import KNOWN
from reluscope_plugins.datasets.folder import data_folder
from reluscope_plugins.datasets.image_files import ImageFiles, class_folders, class_names, normalising
from reluscope_plugins.datasets.splits import holdout

NAME = "imagenet"
LAYOUT = "train/<class>/*.JPEG and val/<class>/*.JPEG"


def imagenet(
    split: str,
    root: str | Path | None = None,
    *,
    folder: str = "imagenet",
    validation: int = 50_000,
    resize: int = 256,
    crop: int = 224,
    normalise: bool = True,
    split_seed: int = 0,
) -> ImageFiles:
    """Load one split of ImageNet (ILSVRC 2012), or of other images in folders of the same layout.

    The labels of the official test images are not public, so the official validation images are the test split, and
    random ones of the training images validate. Every image is resized and cropped at its centre, those of the train
    split too: nothing here draws at random while training, so the random crops of the source are not made.

    Args:
        split: `"train"`, `"validation"` (training images held out) or `"test"` (the official validation images).
        root: Folder that holds `folder`; None looks where RELUSCOPE_DATA points.
        folder: The folder with train/ and val/; where it has a words.txt (WordNet's, with tabs), it names the classes.
        validation: How many training images are held out.
        resize: To how many pixels the shorter side is scaled, by bilinear interpolation.
        crop: Pixels of each side of the square at the centre that is kept.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
        split_seed: Seed of the permutation that divides training from validation.

    Returns:
        Images (sample, 3, crop, crop) and labels; classes are numbered in the order of their folders' names.

    Raises:
        RecipeError: If a parameter does not fit.
        ReluscopeError: If folders are missing, or the two have different classes.

    References:
        Russakovsky et al. 2015, ImageNet large scale visual recognition challenge. Hartmann 2025, section 2.1.1: the
        validation set for testing, 50,000 training images for validation, the shorter side 256 pixels.
    """
    check_integer(NAME, "validation", validation, 1)
    check_integer(NAME, "resize", resize, 1)
    check_integer(NAME, "crop", crop, 1)
    check_integer(NAME, "split_seed", split_seed, 0)
    check_flag(NAME, "normalise", normalise)
    if crop > resize:
        raise RecipeError(f"dataset {NAME!r}: crop is {crop}, expected at most resize, which is {resize}")
    layout = f"{folder}/ with {LAYOUT}"
    base = data_folder(NAME, root, layout) / folder
    wnids, paths, labels = class_folders(NAME, base / "train", layout)
    if split == "test":
        names, paths, labels = class_folders(NAME, base / "val", layout)
        if names != wnids:
            odd = min(set(names) ^ set(wnids))
            raise ReluscopeError(
                f"dataset {NAME!r}: {base}: the class {odd!r} is in only one of train/ and val/, expected the same "
                "classes in both; fetch the data anew"
            )
    else:
        if validation >= len(paths):
            raise RecipeError(
                f"dataset {NAME!r}: validation is {validation}, but {base / 'train'} holds {len(paths)} images; "
                "expected fewer than these"
            )
        train, held_out = holdout(len(paths), validation / len(paths), split_seed)
        chosen = (train if split == "train" else held_out).tolist()
        paths, labels = [paths[i] for i in chosen], [labels[i] for i in chosen]
    card = KNOWN[NAME]
    mean, std = (card.mean, card.std) if normalise else ((), ())
    return ImageFiles(
        paths,
        labels,
        transform=transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(crop), *normalising(mean, std)]),
        name=NAME,
        classes=class_names(wnids, base / "words.txt"),
        mean=mean,
        std=std,
    )
