"""Inputs and labels from anybody's .npz file."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reluscope.errors import RecipeError, ReluscopeError, nearest
from reluscope_plugins.datasets.folder import VARIABLE
from reluscope_plugins.datasets.samples import Samples, standardise
from reluscope_plugins.datasets.splits import choose

Array = npt.NDArray[Any]


def arrays(
    split: str,
    root: str | Path | None = None,
    *,
    path: str,
    x: str | None = None,
    y: str | None = None,
    x_test: str | None = None,
    y_test: str | None = None,
    layout: str = "NHWC",
    classes: Sequence[str] = (),
    normalise: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    split_seed: int = 0,
) -> Samples:
    """Load inputs and integer labels from a .npz file; nothing in it is unpickled.

    Inputs of type uint8 are images or the like and are scaled from 0..255 to 0..1; all other numbers stay as they are.
    Four dims are images; three dims of uint8 are images of one channel.

    Args:
        split: `"train"`, `"validation"` or `"test"`. Where the file has a test set, training and validation are 90 %
            and 10 % of the rest; where it has none, a fifth, always the same, is set aside for testing first.
        root: Folder that `path` is relative to; None takes that which RELUSCOPE_DATA names, else the working folder.
        path: The file.
        x: Name of the inputs in the file; None takes `x_train` if the file has it, else `x`.
        y: Name of the labels; None takes `y_train` or `y` likewise.
        x_test: Name of the test set's inputs; None takes `x_test` if the file has it and `x` is not given.
        y_test: Name of the test set's labels; None takes `y_test` likewise.
        layout: `"NHWC"` (channels last) or `"NCHW"`: how images lie in the file.
        classes: Class names in the order of the labels; none names them after the labels.
        normalise: Whether each channel is shifted and scaled by its mean and standard deviation in the train split.
        mean: Subtract these instead, one for each channel, in units of the scaled values.
        std: And divide by these.
        split_seed: Seed of the permutation that divides training from validation.

    Returns:
        Inputs (sample, channel, height, width) or (sample, ...) and labels.

    Raises:
        RecipeError: If a parameter does not fit.
        ReluscopeError: If the file is missing or damaged, lacks an array, or holds what cannot be trained on.

    References:
        Hartmann 2025, section 2.1.1, for the 90/10 division.
    """
    if layout not in ("NHWC", "NCHW"):
        raise RecipeError(f"dataset 'arrays': layout is {layout!r}, expected 'NHWC' or 'NCHW'")
    if (mean is None) != (std is None):
        raise RecipeError("dataset 'arrays': only one of mean and std is given; give both, or normalise = true")
    file = _find(path, root)
    with _open(file) as archive:
        pairs = _keys(file, archive.files, x, y, x_test, y_test)
        loaded = [(*pair, _inputs(file, archive, pair[0], layout), _labels(file, archive, pair[1])) for pair in pairs]
    for inputs_name, labels_name, inputs, labels in loaded:
        if len(inputs) != len(labels):
            raise ReluscopeError(
                f"{file}: {inputs_name!r} has {len(inputs)} samples and {labels_name!r} has {len(labels)}, expected as "
                "many; mend the file"
            )
    if len(loaded) == 2 and loaded[0][2].shape[1:] != loaded[1][2].shape[1:]:
        raise ReluscopeError(
            f"{file}: a sample of {loaded[0][0]!r} has shape {tuple(loaded[0][2].shape[1:])} and one of "
            f"{loaded[1][0]!r} {tuple(loaded[1][2].shape[1:])}, expected the same; mend the file"
        )
    inputs, labels = loaded[0][2:]
    test_share = 0.2 if len(loaded) == 1 else 0.0
    train = choose("train", len(labels), split_seed, dataset="arrays", test_share=test_share)
    names = _class_names(file, classes, max(int(part[3].max()) if len(part[3]) else 0 for part in loaded))
    if normalise and mean is None:
        mean, std = _statistics(inputs[train])
    if split == "test" and len(loaded) == 2:
        inputs, labels = loaded[1][2:]
        if not len(labels):
            raise ReluscopeError(f"{file}: {loaded[1][0]!r} holds no samples; leave it out or fill it")
    else:
        chosen = choose(split, len(labels), split_seed, dataset="arrays", test_share=test_share)
        inputs, labels = inputs[chosen], labels[chosen]
    if mean is not None and std is not None:
        _check_statistics(mean, std, channels=inputs.shape[1])
        inputs = standardise(inputs, mean, std)
    return Samples(inputs, labels, name="arrays", classes=names, mean=mean or (), std=std or ())


def _find(path: str, root: str | Path | None) -> Path:
    folder = root if root is not None else os.environ.get(VARIABLE)
    candidates = [Path(folder or ".").expanduser() / Path(path).expanduser(), Path(path).expanduser()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " or ".join(dict.fromkeys(map(str, candidates)))
    raise ReluscopeError(
        f"dataset 'arrays': no file {looked}; give path as an absolute path, or relative to the folder that {VARIABLE} "
        "names or to the working folder"
    )


@contextlib.contextmanager
def _open(file: Path) -> Iterator[np.lib.npyio.NpzFile]:
    # numpy leaves a file that it cannot read open, so it is ours to close.
    with file.open("rb") as stream:
        try:
            archive = np.load(stream, allow_pickle=False)
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise ReluscopeError(f"{file}: cannot be read as .npz ({reason}); write it with numpy.savez") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ReluscopeError(f"{file}: holds a single array, expected several; write it with numpy.savez")
        with archive:
            yield archive


def _keys(
    file: Path, known: Sequence[str], x: str | None, y: str | None, x_test: str | None, y_test: str | None
) -> list[tuple[str, str]]:
    has_train = "x_train" in known
    if x is None and x_test is None and "x_test" in known:
        x_test = "x_test"
    if x_test is not None:
        y_test = y_test or "y_test"
    elif y_test is not None:
        raise RecipeError(f"dataset 'arrays': y_test is {y_test!r} but x_test is not given; give both or none")
    pairs = [(x or ("x_train" if has_train else "x"), y or ("y_train" if has_train else "y"))]
    if x_test is not None and y_test is not None:
        pairs.append((x_test, y_test))
    for key in (key for pair in pairs for key in pair):
        if key not in known:
            raise ReluscopeError(
                f"{file}: no array {key!r}. {nearest(key, known)} Name them with the parameters x, y, x_test, y_test"
            )
    return pairs


def _array(file: Path, archive: np.lib.npyio.NpzFile, key: str) -> Array:
    try:
        found: Array = archive[key]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ReluscopeError(
            f"{file}: array {key!r} cannot be read ({error}); expected plain numbers, no objects; write it anew"
        ) from error
    if found.dtype.kind not in "biuf" or found.ndim == 0:
        raise ReluscopeError(
            f"{file}: array {key!r} is {found.ndim}-dimensional of type {found.dtype}, expected plain numbers"
        )
    return found


def _inputs(file: Path, archive: np.lib.npyio.NpzFile, key: str, layout: str) -> torch.Tensor:
    found = _array(file, archive, key)
    if found.ndim < 2:
        raise ReluscopeError(
            f"{file}: array {key!r} has shape {found.shape}, expected (sample, feature) or images; reshape it"
        )
    if found.dtype == np.uint8:
        scaled = torch.from_numpy(np.ascontiguousarray(found)).to(torch.float32).div_(255)
        if found.ndim == 3:
            return scaled.unsqueeze(1)
    else:
        # float64 beyond the range of float32 becomes Inf, which the check below names.
        with np.errstate(over="ignore"):
            scaled = torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))
        finite = torch.isfinite(scaled)
        if not finite.all():
            sample = int((~finite).flatten(1).any(1).nonzero()[0])
            raise ReluscopeError(
                f"{file}: array {key!r} holds {int((~finite).sum())} NaN or Inf as float32, the first in sample "
                f"{sample}, expected finite numbers; clean the data"
            )
    return scaled.permute(0, 3, 1, 2).contiguous() if found.ndim == 4 and layout == "NHWC" else scaled


def _labels(file: Path, archive: np.lib.npyio.NpzFile, key: str) -> torch.Tensor:
    found = _array(file, archive, key)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ReluscopeError(
            f"{file}: labels {key!r} have shape {found.shape}, expected (sample,); turn one-hot rows into class numbers"
        )
    if found.dtype.kind == "f":
        if not np.isfinite(found).all():
            raise ReluscopeError(f"{file}: labels {key!r} hold NaN or Inf, expected integers from 0; clean the data")
        if not (found == np.round(found)).all():
            odd = found[found != np.round(found)][0]
            raise ReluscopeError(f"{file}: labels {key!r} hold {odd}, expected integers from 0: the classes")
    if len(found) and found.min() < 0:
        raise ReluscopeError(f"{file}: labels {key!r} hold {found.min()}, expected integers from 0: the classes")
    return torch.from_numpy(found.astype(np.int64))


def _class_names(file: Path, classes: Sequence[str], greatest: int) -> tuple[str, ...]:
    if not classes:
        return tuple(map(str, range(greatest + 1)))
    if isinstance(classes, str) or len(classes) <= greatest:
        raise RecipeError(
            f"dataset 'arrays': classes are {classes!r}, but {file} has labels up to {greatest}; expected a list of at "
            f"least {greatest + 1} names"
        )
    return tuple(map(str, classes))


def _statistics(inputs: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    dims = [dim for dim in range(inputs.dim()) if dim != 1]
    values = inputs.double()
    std = values.std(dims, correction=0)
    # A channel that never changes says nothing; dividing it by 1 keeps it at zero.
    return tuple(values.mean(dims).tolist()), tuple(torch.where(std > 0, std, 1.0).tolist())


def _check_statistics(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    for name, values in (("mean", mean), ("std", std)):
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != channels:
            raise RecipeError(
                f"dataset 'arrays': {name} is {values!r}, expected a list of {channels} numbers, one for each channel"
            )
        for value in values:
            number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
            if not number or (name == "std" and value <= 0):
                expected = "a number above 0" if name == "std" else "a number"
                raise RecipeError(f"dataset 'arrays': {name} holds {value!r}, expected {expected}")
