"""Spoken words: real wav files of every kind in both layouts, made here, and the real spoken digits."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from torch.utils.data import TensorDataset

from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import datasets
from reluscope_plugins.datasets.audio_files import fitted, read_wav, resampled
from reluscope_plugins.datasets.word_splits import speaker_of

SPEECH = Lab(plugins=[datasets]).datasets["speech_commands"]
SPLITS = ("train", "validation", "test")
WORDS = ("no", "stop", "yes")
RATE = 2000


def tone(frequency: float, samples: int = RATE, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)


def record(path: Path, values: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.wavfile.write(path, rate, values)


def as_int16(values: np.ndarray) -> np.ndarray:
    return np.round(values * 32767).astype(np.int16)


def fill(base: Path, name: Callable[[str, int, int], str], speakers: int = 10, each: int = 2) -> Path:
    # each recording has a frequency of its own, by which it is known again
    count = 0
    for word in WORDS:
        for speaker in range(speakers):
            for n in range(each):
                count += 1
                record(base / word / name(word, speaker, n), as_int16(tone(2.0 * count)))
    record(base / "_background_noise_/noise.wav", as_int16(tone(3, samples=5 * RATE)))
    (base / "README.md").write_text("words")
    (base / "LICENSE").write_text("CC BY")
    return base


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """Ten speakers say three words twice, named as in the official archive."""
    return fill(tmp_path / "speech_commands", lambda word, speaker, n: f"{speaker:08x}_nohash_{n}.wav")


def contents(parts: list[Any]) -> list[tuple[bytes, str]]:
    return sorted(
        (part[i][0].numpy().tobytes(), part.classes[int(part[i][1])]) for part in parts for i in range(len(part))
    )


def speakers_in(data: Any) -> set[str | None]:
    return {speaker_of(path) for path in data.paths}


def test_no_speaker_is_in_two_splits_and_nothing_is_lost(official: Path) -> None:
    parts = [SPEECH.load(split, official.parent, in_memory=False) for split in SPLITS]
    train, validation, test = map(speakers_in, parts)
    assert [len(train), len(validation), len(test)] == [7, 1, 2]
    assert not (train & validation) | (train & test) | (validation & test)
    assert len(train | validation | test) == 10
    assert [len(part) for part in parts] == [42, 6, 12]
    assert parts[0].classes == WORDS
    expected = sorted(
        ((as_int16(tone(2.0 * (i + 1))) / np.float32(32768)).astype(np.float32).tobytes(), WORDS[i // 20])
        for i in range(60)
    )
    assert contents(parts) == expected


def test_in_memory_and_not_are_the_same_numbers(official: Path) -> None:
    before = torch.get_rng_state()
    for split in SPLITS:
        memory, lazy = (SPEECH.load(split, official.parent, in_memory=choice) for choice in (True, False))
        assert isinstance(memory, TensorDataset)
        assert not isinstance(lazy, TensorDataset)
        assert memory.inputs.shape == (len(lazy), 1, RATE)
        assert torch.equal(memory.inputs, torch.stack([lazy[i][0] for i in range(len(lazy))]))
        assert torch.equal(memory.labels, lazy.labels)
        assert memory.classes == lazy.classes
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_moves_with_the_seed_and_the_test_split_does_not(official: Path) -> None:
    tests = [SPEECH.load("test", official.parent, in_memory=False, split_seed=seed).paths for seed in range(5)]
    assert all(paths == tests[0] for paths in tests)
    validations = {
        tuple(SPEECH.load("validation", official.parent, in_memory=False, split_seed=s).paths) for s in range(9)
    }
    assert len(validations) > 1


def test_the_official_lists_are_kept(official: Path) -> None:
    validation = ["no/00000000_nohash_0.wav", "yes/00000003_nohash_1.wav"]
    testing = ["stop/00000004_nohash_0.wav"]
    (official / "validation_list.txt").write_text("\n".join(validation) + "\n")
    (official / "testing_list.txt").write_text("\n".join(testing) + "\n")
    parts = [SPEECH.load(split, official.parent, in_memory=False) for split in SPLITS]
    names = [[path.relative_to(official).as_posix() for path in part.paths] for part in parts]
    assert names[1:] == [validation, testing]
    everything = {path.relative_to(official).as_posix() for word in WORDS for path in (official / word).iterdir()}
    assert len(names[0]) == 57
    assert set(names[0]) == everything - set(validation) - set(testing)
    # Words that are not asked for do not count, though the lists name them.
    some = SPEECH.load("validation", official.parent, words=["yes", "stop"], in_memory=False)
    assert [path.name for path in some.paths] == ["00000003_nohash_1.wav"]
    assert some.classes == ("yes", "stop")
    assert some.labels.tolist() == [0]
    # And they can be left aside.
    assert len(SPEECH.load("test", official.parent, in_memory=False, split_by="speaker")) == 12
    assert len(SPEECH.load("test", official.parent, in_memory=False, split_by="file")) == 12


def test_lists_that_do_not_fit_are_named(official: Path) -> None:
    lists = [official / name for name in ("validation_list.txt", "testing_list.txt")]
    with pytest.raises(ReluscopeError, match=r"no .*validation_list\.txt"):
        SPEECH.load("train", official.parent, split_by="lists")
    lists[0].write_text("no/00000000_nohash_0.wav\n")
    with pytest.raises(ReluscopeError, match=r"no .*testing_list\.txt.*expected both"):
        SPEECH.load("train", official.parent)
    lists[1].write_text("no/00000000_nohash_0.wav\n")
    with pytest.raises(ReluscopeError, match=r"00000000_nohash_0\.wav is in both"):
        SPEECH.load("train", official.parent)
    lists[1].write_text("no/lost.wav\n")
    with pytest.raises(ReluscopeError, match=r"testing_list\.txt lists 'no/lost\.wav', which is not there"):
        SPEECH.load("train", official.parent)
    lists[1].write_text("")
    with pytest.raises(ReluscopeError, match="no recording is left for test"):
        SPEECH.load("test", official.parent)


@pytest.mark.parametrize(("speakers", "sizes"), [(3, [1, 1, 1]), (6, [4, 1, 1]), (20, [14, 2, 4])])
def test_speakers_named_between_word_and_number(tmp_path: Path, speakers: int, sizes: list[int]) -> None:
    base = fill(tmp_path / "digits", lambda word, speaker, n: f"{word}_speaker{speaker}_{n}.wav", speakers, each=1)
    parts = [SPEECH.load(split, tmp_path, folder=base.name, in_memory=False) for split in SPLITS]
    assert [len(speakers_in(part)) for part in parts] == sizes
    assert len(set.union(*map(speakers_in, parts))) == speakers


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (lambda word, speaker, n: f"{speaker}-{n}.wav", "'0-0.wav' does not tell the speaker"),
        (lambda word, speaker, n: f"{word}_me_{2 * speaker + n}.wav", "there are 1 speakers"),
    ],
)
def test_without_speakers_the_files_are_divided(tmp_path: Path, name: Any, fault: str) -> None:
    fill(tmp_path / "speech_commands", name)
    parts = [SPEECH.load(split, tmp_path, in_memory=False) for split in SPLITS]
    assert [len(part) for part in parts] == [43, 5, 12]
    assert len({path for part in parts for path in part.paths}) == 60
    with pytest.raises(ReluscopeError, match=fault):
        SPEECH.load("train", tmp_path, split_by="speaker")


def write_24_bits(path: Path, values: np.ndarray) -> None:
    data = b"".join(int(v).to_bytes(3, "little", signed=True) for v in values)
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, RATE, 3 * RATE, 3, 24)
    path.write_bytes(header + struct.pack("<4sI", b"data", len(data)) + data)


@pytest.mark.parametrize("kind", ["uint8", "int16", "int24", "int32", "float32", "float64"])
def test_every_kind_of_number_is_read(kind: str, tmp_path: Path) -> None:
    """Within half a step of the kind's numbers, plus rounding to float64 or float32."""
    path, values = tmp_path / "a.wav", tone(17)
    steps = {"uint8": 2**7, "int16": 2**15, "int24": 2**23, "int32": 2**31}
    if kind == "int24":
        write_24_bits(path, np.round(values * steps[kind]))
    elif kind == "uint8":
        record(path, np.round(values * 128 + 128).astype(np.uint8))
    elif kind.startswith("int"):
        record(path, np.round(values * steps[kind]).astype(kind))
    else:
        record(path, values.astype(kind))
    rate, got = read_wav(path, "here")
    assert rate == RATE
    bound = 0.5 / steps[kind] if kind in steps else float(np.finfo(kind).eps)
    assert np.abs(got - values).max() <= bound + 1e-15


@pytest.mark.parametrize(
    ("dtype", "least", "zero"), [(np.uint8, 0, 128), (np.int16, -(2**15), 0), (np.int32, -(2**31), 0)]
)
def test_full_scale_and_silence(dtype: Any, least: int, zero: int, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", np.array([least, zero], dtype=dtype))
    assert read_wav(tmp_path / "a.wav", "here")[1].tolist() == [-1.0, 0.0]


def test_channels_are_averaged(tmp_path: Path) -> None:
    record(tmp_path / "a.wav", np.stack([tone(3), tone(7)], axis=1))
    assert np.allclose(read_wav(tmp_path / "a.wav", "here")[1], (tone(3) + tone(7)) / 2)


def test_resampling_keeps_a_tone() -> None:
    """Away from the ends, a tone far below both Nyquist frequencies stays within the filter's ripple.

    The default filter is a Kaiser window of beta 5: attenuation beta / 0.1102 + 8.7 = 54 dB, so 0.2 % of the amplitude
    in each band; 1 % is allowed.
    """
    for rate, target in ((8000, 16000), (16000, 8000), (22050, 8000), (8000, 8000)):
        got = resampled(tone(300, rate, rate), rate, target)
        assert len(got) == target
        middle = slice(target // 8, -target // 8)
        assert np.abs(got - tone(300, target, target))[middle].max() < 0.005
    # A tone above half the new rate would come back at another frequency if nothing held it back.
    alias = resampled(tone(7000, 16000, 16000), 16000, 8000)
    assert np.abs(alias[1000:-1000]).max() < 0.005


@pytest.mark.parametrize("length", [1, 4, 5, 9])
def test_length_is_fixed_at_the_end(length: int) -> None:
    values = np.arange(1.0, 6.0)
    assert fitted(values, length).tolist() == [values[i] if i < 5 else 0.0 for i in range(length)]


def test_rates_are_brought_together_on_demand(official: Path) -> None:
    record(official / "yes/00000009_nohash_0.wav", as_int16(tone(11, 800, 800)), rate=800)
    with pytest.raises(ReluscopeError, match=r"00000009_nohash_0\.wav has 800 samples a second and others have 2000"):
        [SPEECH.load(split, official.parent) for split in SPLITS]
    parts = [SPEECH.load(split, official.parent, sample_rate=1000, length=1500) for split in SPLITS]
    inputs = torch.cat([part.inputs for part in parts])
    assert inputs.shape == (60, 1, 1500)
    assert (inputs[:, :, 1000:] == 0).all(), "a second of sound, and zeros behind it"
    assert (inputs[:, :, :1000].abs().amax((1, 2)) > 0.4).all()


def test_words_are_checked(official: Path) -> None:
    with pytest.raises(RecipeError, match=r"no word 'stob'\. Did you mean 'stop'"):
        SPEECH.load("train", official.parent, words=["yes", "stob"])
    for words in ("yes", ["yes", "yes"]):
        with pytest.raises(RecipeError, match="expected a list of different words"):
            SPEECH.load("train", official.parent, words=words)
    (official / "empty").mkdir()
    with pytest.raises(ReluscopeError, match=r"empty holds no wav files"):
        SPEECH.load("train", official.parent)
    assert SPEECH.load("train", official.parent, words=["yes", "no"]).classes == ("yes", "no")


def test_missing_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReluscopeError, match=r"speech_commands; expected a folder for each word.*RELUSCOPE_DATA"):
        SPEECH.load("train", tmp_path)
    (tmp_path / "speech_commands/_background_noise_").mkdir(parents=True)
    with pytest.raises(ReluscopeError, match="holds no folders, expected one for each word"):
        SPEECH.load("train", tmp_path)
    monkeypatch.delenv("RELUSCOPE_DATA", raising=False)
    with pytest.raises(ReluscopeError, match="RELUSCOPE_DATA"):
        SPEECH.load("train")


@pytest.mark.parametrize(
    "params",
    [{"sample_rate": 0}, {"length": 0}, {"length": 1.5}, {"split_seed": -1}, {"in_memory": 1}, {"split_by": "word"}],
)
def test_parameters_that_do_not_fit(params: dict[str, Any], official: Path) -> None:
    with pytest.raises(RecipeError, match=next(iter(params))):
        SPEECH.load("train", official.parent, **params)


def test_broken_recordings_are_named_wherever_they_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    record(path, as_int16(tone(5, 30)))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ReluscopeError, match=r"recording .*broken\.wav") as caught:
            read_wav(path, "here")
        assert "\n" not in str(caught.value)


def test_any_byte_of_a_header_may_be_wrong(tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    record(path, as_int16(tone(5, 30)))
    whole = path.read_bytes()
    for position in range(44):
        for flip in (0x01, 0x80, 0xFF):
            content = bytearray(whole)
            content[position] ^= flip
            path.write_bytes(bytes(content))
            # Some of these bytes do not matter; any other error than ours fails the test.
            with contextlib.suppress(ReluscopeError):
                rate, values = read_wav(path, "here")
                assert rate > 0
                assert np.isfinite(values).all()


def test_recordings_of_nothing_or_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    record(path, np.array([0.0, np.nan]))
    with pytest.raises(ReluscopeError, match=r"odd\.wav holds NaN or Inf"):
        read_wav(path, "here")
    record(path, np.zeros(0, dtype=np.int16))
    with pytest.raises(ReluscopeError, match=r"odd\.wav"):
        read_wav(path, "here")


def test_chunks_of_somebodys_own_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    record(path, as_int16(tone(5, 30)))
    whole = path.read_bytes()
    extra = struct.pack("<4sI", b"own ", 4) + b"abcd"
    path.write_bytes(whole[:4] + struct.pack("<I", len(whole) - 8 + len(extra)) + whole[8:36] + extra + whole[36:])
    assert np.array_equal(read_wav(path, "here")[1], as_int16(tone(5, 30)) / 32768)


@pytest.mark.data
def test_real_spoken_digits(data_root: Path) -> None:
    """3,000 recordings of 10 words by 6 speakers at 8 kHz, 50 of each word by each speaker."""
    parts = [SPEECH.load(split, data_root, folder="spoken_digits") for split in SPLITS]
    assert [len(part) for part in parts] == [2000, 500, 500]
    assert parts[0].inputs.shape[1:] == (1, 8000)
    assert parts[0].classes == ("eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero")
    for part, count in zip(parts, (200, 50, 50), strict=True):
        assert torch.bincount(part.labels).tolist() == [count] * 10
        assert part.inputs.abs().max() <= 1
        assert (part.inputs.abs().amax((1, 2)) > 0).all(), "no recording is silent"
    lazy = [SPEECH.load(split, data_root, folder="spoken_digits", in_memory=False) for split in SPLITS]
    assert [len(speakers_in(part)) for part in lazy] == [4, 1, 1]
    assert len(set.union(*map(speakers_in, lazy))) == 6
    for index in (0, 123, 499):
        path, word = lazy[2].paths[index], lazy[2].classes[int(lazy[2].labels[index])]
        assert path.parent.name == word
        values = scipy.io.wavfile.read(path)[1][:8000] / np.float32(32768)
        expected = np.concatenate([values, np.zeros(8000 - len(values), dtype=np.float32)])
        assert np.array_equal(parts[2].inputs[index, 0].numpy(), expected)
