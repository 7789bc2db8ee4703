"""Tiny ImageNet and ImageNet, in their official layouts, made of small real JPEG files."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import datasets

LAB = Lab(plugins=[datasets])
TINY, IMAGENET = LAB.datasets["tiny_imagenet"], LAB.datasets["imagenet"]
SPLITS = ("train", "validation", "test")
WNIDS = ("n02012849", "n01443537", "n03126707")  # wnids.txt is not sorted
WORDS = "n01443537\tgoldfish, Carassius auratus\nn02012849\tcrane\nn03126707\tcrane\nn99999999\tnothing\n"
TRAINING, TESTING = 20, 4


def picture(path: Path, rng: np.random.Generator, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> None:
    # A coarse pattern, so that JPEG changes it little.
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path, "JPEG", quality=95)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three classes of 20 + 4 images in the layout of tiny-imagenet-200.zip, one of them grey."""
    base, rng = tmp_path / "tiny-imagenet-200", np.random.default_rng(0)
    lines = []
    for wnid in WNIDS:
        for i in range(TRAINING):
            picture(base / f"train/{wnid}/images/{wnid}_{i}.JPEG", rng, mode="L" if i == 3 else "RGB")
        (base / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    for i in range(TESTING * len(WNIDS)):
        picture(base / f"val/images/val_{i}.JPEG", rng)
        lines.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t32\t44\t62\n")
    picture(base / "test/images/test_0.JPEG", rng)
    (base / "val/val_annotations.txt").write_text("".join(lines))
    (base / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (base / "words.txt").write_text(WORDS)
    return base


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes of 12 + 3 images of various sizes, a folder for each."""
    base, rng = tmp_path / "imagenet", np.random.default_rng(1)
    for wnid, size in (("n01440764", (90, 60)), ("n01443537", (50, 80))):
        for i in range(12):
            picture(base / f"train/{wnid}/{wnid}_{i}.JPEG", rng, size)
        for i in range(3):
            picture(base / f"val/{wnid}/ILSVRC2012_val_{i}.JPEG", rng, size, mode="CMYK" if i == 1 else "RGB")
    return base


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def as_set(parts: list[Any]) -> list[tuple[bytes, int]]:
    return sorted(
        ((255 * x).round().to(torch.uint8).numpy().tobytes(), int(y))
        for part in parts
        for x, y in (part[i] for i in range(len(part)))
    )


@pytest.mark.parametrize("in_memory", [True, False])
def test_tiny_splits_are_complete_and_disjoint(tiny: Path, in_memory: bool) -> None:
    parts = [TINY.load(split, tiny.parent, in_memory=in_memory, normalise=False) for split in SPLITS]
    assert [len(part) for part in parts] == [54, 6, 12]
    order = sorted(WNIDS)
    expected = sorted((pixels(p).tobytes(), order.index(p.parts[-3])) for p in tiny.glob("train/*/images/*"))
    assert as_set(parts[:2]) == expected
    lines = [line.split("\t") for line in (tiny / "val/val_annotations.txt").read_text().splitlines()]
    assert as_set(parts[2:]) == sorted(
        (pixels(tiny / "val/images" / f).tobytes(), order.index(w)) for f, w, *_ in lines
    )
    assert parts[0].classes == ("goldfish", "crane (n02012849)", "crane (n03126707)")
    assert isinstance(parts[0], TensorDataset) == in_memory


def test_tiny_in_memory_and_not_are_the_same_numbers(tiny: Path) -> None:
    for split in SPLITS:
        memory, lazy = (TINY.load(split, tiny.parent, in_memory=choice) for choice in (True, False))
        assert memory.tensors[0].dtype == torch.uint8
        assert (memory.mean, memory.std) == (lazy.mean, lazy.std) == (TINY.mean, TINY.std)
        batch, labels = memory[torch.arange(len(memory))]
        assert torch.equal(batch, torch.stack([lazy[i][0] for i in range(len(lazy))]))
        assert torch.equal(labels, lazy.labels)
        assert torch.equal(batch[2], memory[2][0])
        # A dense reference: each channel by its own constants, in double precision.
        raw = memory.tensors[0].double().numpy() / 255
        for channel in range(3):
            expected = (raw[:, channel] - TINY.mean[channel]) / TINY.std[channel]
            assert np.allclose(batch[:, channel].numpy(), expected, atol=1e-5)


def test_tiny_validation_moves_with_the_seed_and_the_test_split_does_not(tiny: Path) -> None:
    first, second = (TINY.load("validation", tiny.parent, split_seed=seed) for seed in (0, 1))
    assert not torch.equal(first.tensors[0], second.tensors[0])
    first, second = (TINY.load("test", tiny.parent, split_seed=seed) for seed in (0, 1))
    assert torch.equal(first.tensors[0], second.tensors[0])


def test_tiny_without_words_takes_the_identifiers(tiny: Path) -> None:
    (tiny / "words.txt").unlink()
    assert TINY.load("test", tiny.parent).classes == tuple(sorted(WNIDS))


def test_the_folder_comes_from_the_environment(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELUSCOPE_DATA", raising=False)
    with pytest.raises(ReluscopeError, match=r"RELUSCOPE_DATA.*train/<wnid>/images"):
        TINY.load("test")
    monkeypatch.setenv("RELUSCOPE_DATA", str(tiny.parent))
    assert len(TINY.load("test")) == 12


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


BROKEN: dict[str, tuple[Callable[[Path], Any], str, list[str]]] = {
    "no folder": (lambda b: b.rename(b.parent / "other"), "train", ["RELUSCOPE_DATA", "tiny-imagenet-200/", "<wnid>"]),
    "no wnids": (lambda b: (b / "wnids.txt").unlink(), "train", ["no", "wnids.txt", "RELUSCOPE_DATA"]),
    "no annotations": (lambda b: (b / "val/val_annotations.txt").unlink(), "test", ["val_annotations.txt"]),
    "wnid too many": (
        lambda b: (b / "wnids.txt").write_text("\n".join([*WNIDS, "n1"])),
        "train",
        ["'n1' has no folder in train/"],
    ),
    "wnid too few": (
        lambda b: (b / "wnids.txt").write_text("\n".join(WNIDS[1:])),
        "train",
        ["'n02012849' has no line in wnids.txt"],
    ),
    "cut": (lambda b: cut(b / "val/images/val_5.JPEG"), "test", ["cannot read the image", "val_5.JPEG"]),
    "empty": (
        lambda b: (b / "val/images/val_5.JPEG").write_bytes(b""),
        "test",
        ["cannot read the image", "val_5.JPEG"],
    ),
    "no image": (lambda b: (b / "val/images/val_5.JPEG").write_text("hello"), "test", ["val_5.JPEG"]),
    "missing": (lambda b: (b / "val/images/val_5.JPEG").unlink(), "test", ["there is no", "val_5.JPEG"]),
    "size": (
        lambda b: picture(b / "val/images/val_5.JPEG", np.random.default_rng(0), (32, 64)),
        "test",
        ["val_5.JPEG", "32 x 64", "64 x 64"],
    ),
    "class": (
        lambda b: (b / "val/val_annotations.txt").write_text("val_0.JPEG\tn7\n"),
        "test",
        ["line 1", "n7", "wnids.txt"],
    ),
    "blank": (lambda b: (b / "val/val_annotations.txt").write_text(""), "test", ["val_annotations.txt is empty"]),
    "no images of a class": (
        lambda b: [p.unlink() for p in (b / "train/n01443537/images").iterdir()],
        "train",
        ["n01443537"],
    ),
}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_tiny_is_named(case: str, in_memory: bool, tiny: Path) -> None:
    damage, split, expected = BROKEN[case]
    damage(tiny)

    def read_all() -> None:
        data = TINY.load(split, tiny.parent, in_memory=in_memory)
        for i in range(len(data)):
            data[i]

    with pytest.raises(ReluscopeError) as caught:
        read_all()
    assert "\n" not in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_imagenet_is_resized_and_cropped(folders: Path) -> None:
    params = {"validation": 5, "resize": 40, "crop": 32, "normalise": False}
    parts = [IMAGENET.load(split, folders.parent, **params) for split in SPLITS]
    assert [len(part) for part in parts] == [19, 5, 6]
    files = [Path(p) for part in parts for p in part.paths]
    assert sorted(files) == sorted([*folders.glob("train/*/*"), *folders.glob("val/*/*")])
    for part, side in zip(parts, ("train", "train", "val"), strict=True):
        for i, path in enumerate(map(Path, part.paths)):
            image, label = part[i]
            assert path.parts[-3] == side
            assert part.classes[int(label)] == path.parts[-2]
            # The reference: Pillow alone, the shorter side to 40, then the middle 32 x 32.
            with Image.open(path) as opened:
                rgb = opened.convert("RGB")
            scale = 40 / min(rgb.size)
            wide, high = int(rgb.width * scale), int(rgb.height * scale)
            resized = rgb.resize((wide, high), Image.Resampling.BILINEAR)
            left, top = round((wide - 32) / 2), round((high - 32) / 2)
            expected = np.asarray(resized.crop((left, top, left + 32, top + 32))).transpose(2, 0, 1) / 255
            assert np.allclose(image.numpy(), expected, atol=1e-6)


def test_imagenet_is_normalised_decodes_nothing_early_and_leaves_random_states_alone(folders: Path) -> None:
    for path in folders.glob("train/*/*_7.JPEG"):
        path.write_bytes(b"broken")
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    data = IMAGENET.load("train", folders.parent, validation=2)
    with pytest.raises(ReluscopeError, match=r"n0144\d+_7\.JPEG"):
        [data[i] for i in range(len(data))]
    test = IMAGENET.load("test", folders.parent, validation=2)
    image, label = test[4]
    raw = IMAGENET.load("test", folders.parent, validation=2, normalise=False)[4][0]
    assert image.shape == IMAGENET.shape
    assert label.dtype == torch.int64
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
    assert torch.allclose(image, (raw - mean) / std, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    assert pickle.loads(pickle.dumps(test))[4][0].equal(image), "workers of a loader get a copy"
    assert next(iter(DataLoader(test, batch_size=6)))[0].shape == (6, 3, 224, 224)


def test_imagenet_names_classes_by_a_words_file(folders: Path) -> None:
    assert IMAGENET.load("test", folders.parent).classes == ("n01440764", "n01443537")
    (folders / "words.txt").write_text(WORDS)
    assert IMAGENET.load("test", folders.parent).classes == ("n01440764", "goldfish")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "validation is 50000, but .* holds 24 images"),
        ({"validation": 24}, "fewer"),
        ({"validation": 0}, "validation is 0, expected an integer of at least 1"),
        ({"validation": 2, "crop": 300}, "crop is 300, expected at most resize"),
        ({"validation": 2, "normalise": 1}, "normalise is 1, expected true or false"),
        ({"validation": 2, "split_seed": "a"}, "split_seed is 'a'"),
    ],
)
def test_parameters_of_imagenet_that_do_not_fit(params: dict[str, Any], message: str, folders: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        IMAGENET.load("train", folders.parent, **params)


def test_imagenet_folders_that_do_not_fit(folders: Path) -> None:
    with pytest.raises(ReluscopeError, match=r"RELUSCOPE_DATA"):
        IMAGENET.load("train", folders.parent, folder="elsewhere")
    (folders / "val/n01443537").rename(folders / "val/n02")
    with pytest.raises(ReluscopeError, match="'n01443537' is in only one of train/ and val/"):
        IMAGENET.load("test", folders.parent)
    for path in folders.glob("train/*"):
        path.rename(folders / path.name)
    with pytest.raises(ReluscopeError, match="train/<class>"):
        IMAGENET.load("train", folders.parent)
