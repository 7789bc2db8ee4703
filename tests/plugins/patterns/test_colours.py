"""Colours of patterns: how far apart they are, and that they stay the same.

Statistical tests: seeds fixed, error probability at most 1e-6 each.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from scipy.spatial import cKDTree

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.colours import BORDERS, JUST_NOTICEABLE, bordered, colours, oklab, palette, rgb

ERROR = 1e-6


def drawn(count: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, count, dtype=np.uint64)


def test_oklab_of_the_primaries() -> None:
    """The values that CSS Color Module Level 4 prints."""
    printed = {
        0xFFFFFF: (1.0, 0.0, 0.0),
        0x000000: (0.0, 0.0, 0.0),
        0xFF0000: (0.62796, 0.22486, 0.12585),
        0x00FF00: (0.86644, -0.23389, 0.17950),
        0x0000FF: (0.45201, -0.03246, -0.31153),
    }
    np.testing.assert_allclose(oklab(np.array(list(printed))), list(printed.values()), atol=5e-5)


def test_any_two_colours_of_the_palette_can_be_told_apart() -> None:
    shades = palette()
    assert len(shades) == len(set(shades.tolist())) == 5154  # what the docstring of `colours` says
    distances, _ = cKDTree(oklab(shades)).query(oklab(shades), k=2)
    assert distances[:, 1].min() > 0.0205 > JUST_NOTICEABLE
    for border in BORDERS:
        assert np.linalg.norm(oklab(shades) - oklab(np.array(border)), axis=-1).min() > 2 * JUST_NOTICEABLE


def test_palette_is_the_same_everywhere() -> None:
    # a colour is a promise to older pictures: this sum changes if any does
    assert (int(palette().astype(np.int64).sum()), int(palette()[0]), int(palette()[-1])) == (
        47439097973,
        57714,
        16756081,
    )


def test_colour_depends_on_the_key_alone() -> None:
    keys = drawn(1000, 64)
    order = np.random.default_rng(1).permutation(1000)
    assert np.array_equal(colours(keys)[order], colours(keys[order]))
    assert np.array_equal(colours(keys.reshape(10, 100)), colours(keys).reshape(10, 100))
    small = np.arange(256, dtype=np.uint8)
    assert np.array_equal(colours(small), colours(small.astype(np.uint64)))
    assert set(colours(keys).tolist()) <= set(palette().tolist())


@pytest.mark.parametrize("bits", [12, 16, 64])
def test_neighbours_look_alike_with_the_probability_that_is_stated(bits: int) -> None:
    """Null: two patterns that differ in one bit get one colour with probability 1 / 5154; 300,000 pairs.

    Of 12 bits there are 2 * 12 * 4096 / 2 = 24,576 different pairs, so fewer are drawn: all of them.
    """
    if bits == 12:
        keys, flips = np.repeat(np.arange(4096, dtype=np.uint64), 12), np.tile(np.arange(12, dtype=np.uint64), 4096)
        lower = (keys >> flips) & np.uint64(1) == 0
        keys, flips = keys[lower], flips[lower]
    else:
        keys = drawn(300_000, bits)
        flips = np.random.default_rng(2).integers(0, bits, len(keys)).astype(np.uint64)
    one, other = colours(keys), colours(keys ^ (np.uint64(1) << flips))
    near = int((np.linalg.norm(oklab(one) - oklab(other), axis=-1) < JUST_NOTICEABLE).sum())
    low, high = scipy.stats.binom.ppf([ERROR / 2, 1 - ERROR / 2], len(keys), 1 / 5154)
    assert low <= near <= high


def test_colours_are_spread_evenly() -> None:
    """Null: each of 5154 colours is equally likely; chi-square on a million random keys."""
    counts = np.bincount(np.searchsorted(palette(), colours(np.arange(1_000_000))), minlength=5154)
    assert scipy.stats.chisquare(counts).pvalue > ERROR


def test_archives_hold_colours_exactly() -> None:
    assert np.array_equal(palette().astype(np.float32).astype(np.int32), palette())


def test_red_green_and_blue() -> None:
    assert rgb(np.array([[0x123456, 0xFFFFFF]])).tolist() == [[[0x12, 0x34, 0x56], [255, 255, 255]]]
    assert rgb(np.array([float(0x123456)])).tolist() == [[0x12, 0x34, 0x56]]


def test_a_line_is_drawn_only_between_cells_of_one_colour() -> None:
    cell = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    colour = np.array([5, 5, 7, 9])[cell]  # cells 0 and 1 look alike
    expected = colour.copy()
    expected[:2, 2] = BORDERS[0]
    assert np.array_equal(bordered(colour, cell), expected)
    assert np.array_equal(bordered(colour.T, cell.T), expected.T)
    assert np.array_equal(bordered(np.array([5, 6, 7, 9])[cell], cell), np.array([5, 6, 7, 9])[cell])
    assert bordered(np.full((2, 3), 5), np.array([[0, 1, 2], [3, 3, 4]])).tolist() == [
        [5, BORDERS[0], 5],
        [BORDERS[0], 5, BORDERS[0]],
    ]
    diagonal = np.array([5, 6, 7, 5])[cell]  # cells that touch in a corner only are no neighbours
    assert np.array_equal(bordered(diagonal, cell), diagonal)


def test_shapes_must_fit() -> None:
    with pytest.raises(ObservationError, match="expected both"):
        bordered(np.zeros((2, 2)), np.zeros((2, 3)))
