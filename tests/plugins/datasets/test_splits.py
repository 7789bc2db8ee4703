"""Every sample is in exactly one split."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import RecipeError, ReluscopeError
from reluscope_plugins.datasets.splits import choose, holdout

SPLITS = ("train", "validation", "test")


@given(samples=st.integers(0, 200), share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_holdout_is_disjoint_and_complete(samples: int, share: float, seed: int) -> None:
    rest, held_out = holdout(samples, share, seed)
    assert sorted([*rest.tolist(), *held_out.tolist()]) == list(range(samples))
    assert len(held_out) == round(samples * share)


@given(samples=st.integers(20, 500), seed=st.integers(0, 1000), test_share=st.sampled_from([0.2, 0.5]))
def test_splits_are_disjoint_and_complete(samples: int, seed: int, test_share: float) -> None:
    parts = {split: choose(split, samples, seed, dataset="any", test_share=test_share).tolist() for split in SPLITS}
    assert sorted(itertools.chain(*parts.values())) == list(range(samples))
    assert len(parts["test"]) == round(samples * test_share)
    assert len(parts["validation"]) == round((samples - len(parts["test"])) * 0.1)
    again = choose("test", samples, seed + 1, dataset="any", test_share=test_share)
    assert again.tolist() == parts["test"], "split_seed must not move the test set"


def test_official_training_set_is_divided_90_to_10() -> None:
    train, validation = (choose(split, 60_000, 0, dataset="any") for split in ("train", "validation"))
    assert (len(train), len(validation)) == (54_000, 6_000)
    assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(60_000))


def test_seeds_give_different_divisions_and_the_same_seed_the_same() -> None:
    first, same, other = (choose("train", 100, seed, dataset="any") for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    choose("train", 100, 3, dataset="any", test_share=0.2)
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ReluscopeError, match="3 samples leave none for validation"):
        choose("validation", 3, 0, dataset="any")


@pytest.mark.parametrize("seed", ["a", 1.5, True, None])
def test_a_seed_is_an_integer(seed: Any) -> None:
    with pytest.raises(RecipeError, match="split_seed is"):
        choose("train", 100, seed, dataset="any")
