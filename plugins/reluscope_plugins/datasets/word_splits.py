"""Which recordings of words are for training, for validation and for testing: by lists, by speaker, or by file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from reluscope.errors import ReluscopeError
from reluscope_plugins.datasets.splits import TEST_SEED, choose, holdout

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""Split to the file that lists its recordings, one `<word>/<name>.wav` a line; all others are for training."""

# what stands before _nohash_, and else what stands between the word and the number of the recording
_SPEAKERS = (re.compile(r"(?P<speaker>.+?)_nohash_\d+"), re.compile(r"[^_]+_(?P<speaker>[^_]+)_\d+"))


def speaker_of(path: Path) -> str | None:
    """Read the speaker off the name of a file.

    Args:
        path: The recording.

    Returns:
        The speaker; None where the name does not tell.

    Example:
        >>> speaker_of(Path("yes/0a7c2a8d_nohash_0.wav")), speaker_of(Path("zero/0_george_12.wav"))
        ('0a7c2a8d', 'george')
    """
    for pattern in _SPEAKERS:
        if match := pattern.fullmatch(path.stem):
            return match["speaker"]
    return None


def chosen_files(
    split: str, split_by: str, folder: Path, files: Sequence[Path], split_seed: int, *, dataset: str
) -> list[int]:
    """Choose the recordings of one split.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        split_by: `"lists"`, `"speaker"`, `"file"`, or `"auto"`: the first of them that serves.
        folder: Folder of the words' folders; it holds the lists, if there are any.
        files: The recordings, in an order that is always the same.
        split_seed: Seed of the permutation that divides training from validation.
        dataset: The data set's name, for messages.

    Returns:
        Indices of the split's recordings.

    Raises:
        ReluscopeError: If the way to split does not serve.
    """
    listed = [name for name in LISTS.values() if (folder / name).is_file()]
    if split_by == "lists" or (split_by == "auto" and listed):
        return _by_lists(split, folder, files, dataset)
    speakers = [speaker_of(path) for path in files]
    known = sorted({speaker for speaker in speakers if speaker is not None})
    serves = None not in speakers and len(known) >= 3
    if split_by == "speaker" and not serves:
        at_fault = next((path.name for path, speaker in zip(files, speakers, strict=True) if speaker is None), None)
        what = f"the name {at_fault!r} does not tell the speaker" if at_fault else f"there are {len(known)} speakers"
        raise ReluscopeError(
            f"dataset {dataset!r}: split_by is 'speaker', but {what}; expected names such as 0a7c_nohash_0.wav or "
            "0_george_12.wav, of at least 3 speakers; or give split_by = 'file'"
        )
    if split_by == "file" or not serves:
        return choose(split, len(files), split_seed, dataset=dataset, test_share=0.2).tolist()
    # few speakers: at least one for each split
    rest, test = holdout(len(known), max(0.2, 1 / len(known)), TEST_SEED)
    train, validation = holdout(len(rest), max(0.1, 1 / len(rest)), split_seed)
    parts = {"train": rest[train], "validation": rest[validation], "test": test}
    wanted = {known[i] for i in parts[split].tolist()}
    return [index for index, speaker in enumerate(speakers) if speaker in wanted]


def _by_lists(split: str, folder: Path, files: Sequence[Path], dataset: str) -> list[int]:
    number = {path.relative_to(folder).as_posix(): index for index, path in enumerate(files)}
    words = {path.parent.name for path in files}
    parts: dict[str, set[int]] = {}
    for part, name in LISTS.items():
        if not (folder / name).is_file():
            raise ReluscopeError(
                f"dataset {dataset!r}: there is no {folder / name}, expected both {' and '.join(LISTS.values())}; add "
                "it, or give split_by = 'speaker' or 'file'"
            )
        lines = [line.strip() for line in (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()]
        lines = [line for line in lines if line and line.partition("/")[0] in words]
        for line in lines:
            if line not in number:
                raise ReluscopeError(
                    f"dataset {dataset!r}: {folder / name} lists {line!r}, which is not there; fetch the data anew"
                )
        parts[part] = {number[line] for line in lines}
    both = parts["validation"] & parts["test"]
    if both:
        raise ReluscopeError(
            f"dataset {dataset!r}: {files[min(both)]} is in both {' and '.join(LISTS.values())}, expected in one; mend "
            "them"
        )
    if split != "train":
        return sorted(parts[split])
    return [index for index in range(len(files)) if index not in parts["validation"] | parts["test"]]
