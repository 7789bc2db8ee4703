"""Colours of activation patterns: the same pattern has the same colour in every picture."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from reluscope.errors import ObservationError

Array = np.ndarray[Any, Any]

JUST_NOTICEABLE = 0.02
"""Distance in OKLab that an eye just notices (CSS Color Module Level 4, section 13.2)."""

BORDERS = (0x000000, 0xFFFFFF)
"""Colours of the line between two neighbouring cells whose own colours are the same; no pattern's colours."""

_SPACING = 0.024
_LIGHTNESS = (0.3, 0.95)
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def colours(keys: Array) -> Array:
    r"""Give each pattern a colour, a function of its key alone.

    The palette is a face-centred cubic lattice in OKLab, a space in which equal distances look equally large, cut to
    what a screen can show: 5,154 colours, any two of them at least 0.0205 apart, more than the 0.02 that an eye just
    notices. The key, mixed, picks one. So two different patterns look alike only if they get the very same colour: with
    probability 1 / 5154 = 1.94e-4 (over the choice of patterns). For those, `bordered` draws a line.

    Args:
        keys: A 64-bit key for each pattern, `(...)`, as `row_keys` and `global_keys` of the module `keys` give them.

    Returns:
        `0xRRGGBB`, int32, of the same shape. All are at most 2^24 - 1, so float32 holds them exactly.

    References:
        Ottosson 2020, "A perceptual color space for image processing".

    Example:
        >>> [f"{colour:06x}" for colour in colours(np.array([0, 1, 0], dtype=np.uint64))]
        ['00e172', '2e2a49', '00e172']
    """
    shades = palette()
    return np.asarray(shades[(_mixed(keys) % np.uint64(len(shades))).astype(np.intp)])


@functools.cache
def palette() -> Array:
    """Return all colours that a pattern can have.

    Returns:
        `0xRRGGBB`, int32, `(colour,)`, sorted.
    """
    side = _SPACING / np.sqrt(2)  # half the side of the lattice's cube, whose nearest points are its faces' centres
    steps = np.arange(-int(1 / side), int(1 / side) + 1)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice = lattice[lattice.sum(axis=1) % 2 == 0] * side
    lattice = lattice[(lattice[:, 0] >= _LIGHTNESS[0]) & (lattice[:, 0] <= _LIGHTNESS[1])]
    light = np.linalg.solve(_LMS, np.linalg.solve(_LAB, lattice.T) ** 3).T
    light = light[((light >= 0) & (light <= 1)).all(axis=1)]
    screen = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    red, green, blue = np.rint(255 * screen).astype(np.int32).T
    found = np.unique(red << 16 | green << 8 | blue)
    found.flags.writeable = False
    return found


def rgb(colour: Array) -> Array:
    """Take colours apart.

    Args:
        colour: `0xRRGGBB`, integers or floats that hold them, `(...)`.

    Returns:
        Red, green and blue, uint8, `(..., 3)`. Of a picture with y ascending, `rgb(colour)[::-1]` is the image whose
        first row is the topmost.

    Example:
        >>> rgb(np.array([0xFF8000])).tolist()
        [[255, 128, 0]]
    """
    whole = np.asarray(colour).astype(np.int64)
    return np.stack([whole >> 16, whole >> 8 & 0xFF, whole & 0xFF], axis=-1).astype(np.uint8)


def oklab(colour: Array) -> Array:
    """Convert colours to the space OKLab, in which distances are what an eye sees.

    Args:
        colour: `0xRRGGBB`, `(...)`.

    Returns:
        Lightness, green-red and blue-yellow, `(..., 3)`.

    References:
        Ottosson 2020.

    Example:
        >>> oklab(np.array([0xFFFFFF])).round(3).tolist()[0][0]
        1.0
    """
    screen = rgb(colour) / 255
    light = np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(light @ _LMS.T) @ _LAB.T)


def bordered(colour: Array, cell: Array) -> Array:
    """Draw a line between neighbouring cells that happen to have one colour.

    Row by row, a point whose left or lower neighbour is of another cell and drawn in its colour is made black, or white
    where black is taken already by the other of the two. So any two points side by side that are of different cells can
    be told apart, always; and all other points keep their colour, so that a pattern has the same one in every picture.

    Args:
        colour: Colours of a picture, `(y, x)`.
        cell: Labels of its cells, `(y, x)`.

    Returns:
        The colours with `BORDERS` on such lines, `(y, x)`.

    Raises:
        ObservationError: If the shapes differ.

    Example:
        >>> bordered(np.array([[7, 7, 7, 9]]), np.array([[0, 0, 1, 2]])).tolist()
        [[7, 7, 0, 9]]
    """
    if colour.shape != cell.shape or colour.ndim != 2:
        raise ObservationError(f"colour has shape {colour.shape}, cell {cell.shape}; expected both (y, x)")
    alike = np.zeros(colour.shape, bool)
    alike[:, 1:] |= (colour[:, 1:] == colour[:, :-1]) & (cell[:, 1:] != cell[:, :-1])
    alike[1:] |= (colour[1:] == colour[:-1]) & (cell[1:] != cell[:-1])
    drawn = colour.copy()
    for y, x in np.argwhere(alike).tolist():  # few; three colours always leave one for a point with two neighbours
        before = [(y, x - 1)] * (x > 0) + [(y - 1, x)] * (y > 0)
        taken = [drawn[place] for place in before if cell[place] != cell[y, x]]
        drawn[y, x] = next(choice for choice in (colour[y, x], *BORDERS) if choice not in taken)
    return drawn


def _mixed(keys: Array) -> Array:
    # the finaliser of splitmix64, a bijection: keys of short patterns may be their bits themselves
    mixed = np.asarray(keys).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
