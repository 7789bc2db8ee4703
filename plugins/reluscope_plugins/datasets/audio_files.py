"""Recordings in wav files: read as one channel of numbers from -1 to 1, at one sample rate and of one length."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io.wavfile
import scipy.signal
import torch
from torch.utils.data import Dataset

from reluscope.errors import ReluscopeError

# what scipy raises on files that are missing, cut short or damaged: a header without data trips over its own variables
UNREADABLE = (OSError, ValueError, EOFError, struct.error, ArithmeticError, NameError, MemoryError)


class AudioFiles(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Recordings in wav files and their labels; a file is read when its sample is asked for.

    Args:
        paths: The files.
        labels: The class of each.
        sample_rate: Samples a second.
        length: Samples of each recording: longer ones are cut at the end, shorter ones get zeros there.
        resample: Whether files of another rate are resampled; if not, they are an error.
        name: The data set's name.
        classes: Class names in the order of the labels.

    Attributes:
        paths: The files.
        labels: (sample,), int64.
        sample_rate: Samples a second.
        name: The data set's name.
        classes: Class names in the order of the labels.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[int],
        *,
        sample_rate: int,
        length: int,
        resample: bool,
        name: str,
        classes: Sequence[str],
    ) -> None:
        self.paths = list(paths)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.sample_rate = sample_rate
        self._length = length
        self._resample = resample
        self.name = name
        self.classes = tuple(classes)

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns:
            It.
        """
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one recording.

        Args:
            index: From 0.

        Returns:
            (1, length), and its label.

        Raises:
            ReluscopeError: If the file is damaged, or of another rate than it should be.
        """
        path = self.paths[index]
        rate, recording = read_wav(path, self.name)
        if rate != self.sample_rate:
            if not self._resample:
                raise ReluscopeError(
                    f"dataset {self.name!r}: {path} has {rate} samples a second and others have {self.sample_rate}; "
                    f"give sample_rate = {self.sample_rate} to have them resampled"
                )
            recording = resampled(recording, rate, self.sample_rate)
        return torch.from_numpy(fitted(recording, self._length).astype(np.float32))[None], self.labels[index]


def read_wav(path: Path, dataset: str) -> tuple[int, npt.NDArray[np.float64]]:
    """Read a wav file as one channel of numbers.

    Integers of 8, 16, 24 or 32 bits are divided by their greatest magnitude, floating-point numbers stay as they are;
    several channels are averaged.

    Args:
        path: The file.
        dataset: The data set's name, for messages.

    Returns:
        Samples a second, and the recording (time,), from -1 to 1.

    Raises:
        ReluscopeError: If the file cannot be read, holds nothing, or holds NaN or Inf.
    """
    try:
        with warnings.catch_warnings():
            # a file cut short is an error here, a chunk of somebody's own is not
            warnings.simplefilter("error", scipy.io.wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", message="Chunk", category=scipy.io.wavfile.WavFileWarning)
            rate, values = scipy.io.wavfile.read(path)
    except (*UNREADABLE, scipy.io.wavfile.WavFileWarning) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ReluscopeError(
            f"dataset {dataset!r}: cannot read the recording {path} ({reason}); expected a whole wav file of PCM or "
            "floating-point numbers; fetch it anew or take it out"
        ) from error
    if not values.size or rate < 1:
        raise ReluscopeError(
            f"dataset {dataset!r}: the recording {path} has {values.size} samples, {rate} a second; expected at least "
            "one of each; take it out"
        )
    recording = _scaled(values)
    if not np.isfinite(recording).all():
        raise ReluscopeError(
            f"dataset {dataset!r}: the recording {path} holds NaN or Inf; fetch it anew or take it out"
        )
    return int(rate), recording.mean(axis=1) if recording.ndim == 2 else recording


def _scaled(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    numbers = values.astype(np.float64)
    if values.dtype == np.uint8:  # PCM of 8 bits has its zero at 128
        return (numbers - 128) / 128
    # scipy leaves 24 bits in the upper part of 32
    return numbers / -float(np.iinfo(values.dtype).min) if values.dtype.kind == "i" else numbers


def resampled(recording: npt.NDArray[np.float64], rate: int, target: int) -> npt.NDArray[np.float64]:
    """Bring a recording to another sample rate, with scipy's polyphase filter against aliasing.

    Args:
        recording: (time,).
        rate: Samples a second that it has.
        target: Those that it shall have.

    Returns:
        (time,), `ceil(len * target / rate)` long.

    Example:
        >>> len(resampled(np.zeros(8000), 8000, 16000))
        16000
    """
    common = math.gcd(rate, target)
    found: npt.NDArray[np.float64] = scipy.signal.resample_poly(recording, target // common, rate // common)
    return found


def fitted(recording: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float64]:
    """Cut a recording at its end, or put zeros there.

    Args:
        recording: (time,).
        length: How long it shall be.

    Returns:
        (length,).

    Example:
        >>> fitted(np.ones(2), 3)
        array([1., 1., 0.])
    """
    return np.pad(recording[:length], (0, max(0, length - len(recording))))
