"""Data sets: samples to train and measure on, divided into training, validation and test."""

from __future__ import annotations

import dataclasses

from reluscope.entries import Dataset
from reluscope.hookspecs import hookimpl
from reluscope_plugins.datasets.constants import KNOWN


@hookimpl
def reluscope_datasets() -> list[Dataset]:
    """Return the data sets.

    Returns:
        Their entries.
    """
    implementations = {
        "digits": ("Handwritten digits of scikit-learn, 8 x 8 pixels, no download", "digits:digits"),
        "mnist": ("Handwritten digits, 28 x 28 pixels", "vision:mnist"),
        "fashion_mnist": ("Pieces of clothing, 28 x 28 pixels", "vision:fashion_mnist"),
        "cifar10": ("Photographs of 10 kinds of things, 32 x 32 pixels", "vision:cifar10"),
        "cifar100": ("Photographs of 100 kinds of things, 32 x 32 pixels", "vision:cifar100"),
        "tiny_imagenet": ("Photographs of 200 kinds of things, 64 x 64 pixels", "tiny_imagenet:tiny_imagenet"),
        "imagenet": ("Photographs in a folder for each class, decoded when asked for", "imagenet:imagenet"),
        "speech_commands": ("Recordings of spoken words, in a folder for each", "speech_commands:speech_commands"),
        "checkerboard": ("Points in the plane, four classes in squares", "checkerboard:checkerboard"),
    }
    known = [
        Dataset(
            name=name,
            summary=summary,
            definition=f"reluscope_plugins.datasets.{target}",
            **{field.name: getattr(KNOWN[name], field.name) for field in dataclasses.fields(KNOWN[name])},
        )
        for name, (summary, target) in implementations.items()
    ]
    return [
        *known,
        Dataset(
            name="arrays",
            summary="Inputs and labels from anybody's .npz file",
            definition="reluscope_plugins.datasets.arrays:arrays",
            licence="that of the file",
            source="the file that the parameter path names",
        ),
        Dataset(
            name="gaussian",
            summary="Drawn from normal distributions: one cluster for each class, or plain noise with random labels",
            definition="reluscope_plugins.datasets.gaussian:gaussian",
            licence="none needed: drawn anew from a seed",
            source="drawn from a seed",
        ),
        *(
            Dataset(
                name=name,
                summary=summary,
                definition=f"reluscope_plugins.datasets.{name}:{name}",
                licence="that of the data set",
                source="the data set that the parameter dataset names",
            )
            for name, summary in (
                ("mislabel", "Any data set with a wrong label for each of k samples"),
                ("random_labels", "Any data set with labels drawn anew for a share of the samples"),
                ("pixel_shuffle", "Any data set with the pixels of its images in a random order"),
                ("rescale", "Any data set with its inputs multiplied by a factor, and shifted"),
                ("subset", "Any data set with fewer samples: so many of each split, drawn at random"),
            )
        ),
    ]
