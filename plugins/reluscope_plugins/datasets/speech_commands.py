"""Speech Commands, and any other spoken words: a folder for each word, with a wav file for each recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from reluscope.errors import RecipeError, ReluscopeError, nearest
from reluscope_plugins.datasets.audio_files import AudioFiles, read_wav
from reluscope_plugins.datasets.checks import check_choice, check_flag, check_integer
from reluscope_plugins.datasets.folder import VARIABLE, data_folder
from reluscope_plugins.datasets.samples import Samples
from reluscope_plugins.datasets.word_splits import chosen_files

NAME = "speech_commands"


def speech_commands(
    split: str,
    root: str | Path | None = None,
    *,
    folder: str = "speech_commands",
    words: Sequence[str] = (),
    sample_rate: int | None = None,
    length: int | None = None,
    split_by: Literal["auto", "lists", "speaker", "file"] = "auto",
    split_seed: int = 0,
    in_memory: bool = True,
) -> Samples | AudioFiles:
    """Load one split of recordings of spoken words.

    Folders whose names begin with `_` or `.`, such as `_background_noise_`, are no words. Recordings have one channel
    (several are averaged), numbers from -1 to 1, and one length: longer ones are cut at the end, shorter ones get zeros
    there.

    The official lists divide the recordings where the folder holds them. Where it does not, no speaker is in two splits
    if the files' names tell who speaks (`<speaker>_nohash_<n>.wav` or `<word>_<speaker>_<n>.wav`): a fifth of the
    speakers, always the same, tests, and a tenth of the others validates, at least one each. Else, and with fewer than
    three speakers, the recordings are divided at random in these shares.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds `folder`; None looks where RELUSCOPE_DATA points.
        folder: The folder of the words' folders.
        words: Which words, in the order of the labels; none takes all, sorted.
        sample_rate: Samples a second that recordings are brought to; None keeps those of the files, which must agree.
        length: Samples of each recording; None takes one second.
        split_by: `"lists"` (validation_list.txt and testing_list.txt), `"speaker"`, `"file"`, or `"auto"`, the first of
            these that serves.
        split_seed: Seed of the permutation that divides training from validation; lists do not look at it.
        in_memory: Whether all recordings of the split are read now (5.4 GB for the official train split at 16 kHz); if
            not, each is read anew whenever it is asked for.

    Returns:
        Recordings (sample, 1, length) and labels; the same numbers in memory and not.

    Raises:
        RecipeError: If a parameter does not fit.
        ReluscopeError: If folders or files are missing, empty or damaged.

    References:
        Warden 2018, Speech Commands: a dataset for limited-vocabulary speech recognition. Hartmann 2025, section 2.1.1.
    """
    for name, value in (("sample_rate", sample_rate), ("length", length)):
        if value is not None:
            check_integer(NAME, name, value, 1)
    check_integer(NAME, "split_seed", split_seed, 0)
    check_flag(NAME, "in_memory", in_memory)
    check_choice(NAME, "split_by", split_by, ("auto", "lists", "speaker", "file"))
    base = data_folder(NAME, root, f"{folder}/<word>/*.wav") / folder
    found = _words(base, words)
    files = [(path, label) for label, word in enumerate(found) for path in _recordings(base / word)]
    chosen = chosen_files(split, split_by, base, [path for path, _ in files], split_seed, dataset=NAME)
    if not chosen:
        raise ReluscopeError(f"dataset {NAME!r}: {base}: no recording is left for {split}; give more, or other words")
    rate = sample_rate or read_wav(files[0][0], NAME)[0]
    data = AudioFiles(
        [files[i][0] for i in chosen],
        [files[i][1] for i in chosen],
        sample_rate=rate,
        length=length or rate,
        resample=sample_rate is not None,
        name=NAME,
        classes=found,
    )
    if not in_memory:
        return data
    recordings = torch.empty((len(data), 1, length or rate))
    for index in range(len(data)):
        recordings[index] = data[index][0]
    return Samples(recordings, data.labels, name=NAME, classes=found)


def _words(base: Path, wanted: Sequence[str]) -> list[str]:
    if not base.is_dir():
        raise ReluscopeError(
            f"dataset {NAME!r}: there is no folder {base}; expected a folder for each word in it, with wav files; set "
            f"the environment variable {VARIABLE} to the folder that holds {base.name!r}, or name another with folder"
        )
    there = sorted(path.name for path in base.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    if not there:
        raise ReluscopeError(f"dataset {NAME!r}: {base} holds no folders, expected one for each word, with wav files")
    if isinstance(wanted, str) or len(set(wanted)) != len(wanted):
        raise RecipeError(f"dataset {NAME!r}: words is {wanted!r}, expected a list of different words")
    for word in wanted:
        if word not in there:
            raise RecipeError(f"dataset {NAME!r}: {base} holds no word {word!r}. {nearest(str(word), there)}")
    return list(wanted) or there


def _recordings(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav")
    if not found:
        raise ReluscopeError(
            f"dataset {NAME!r}: {folder} holds no wav files, expected some for each word; fetch them, take the folder "
            "out, or list the others under words"
        )
    return found
