"""The tensors of an observation's sites, made from what was captured when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from reluscope.errors import UnknownNameError, nearest
from reluscope.layout import rows
from reluscope.packing import WINNER_BITS, pack, pack_states, unpack
from reluscope.recorder import Capture
from reluscope.sites import Site, pattern, states


class SiteTensors(Mapping[str, torch.Tensor]):
    """A tensor for each site, made when first asked for: a read-only mapping from site name.

    Args:
        names: The sites.
        make: From site name to tensor.
        others: Sites that exist but have no such tensor, name to why not.
    """

    def __init__(
        self, names: tuple[str, ...], make: Callable[[str], torch.Tensor], others: Mapping[str, str] | None = None
    ) -> None:
        self._names = names
        self._make = make
        self._others = others or {}
        self._made: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._made:
            if name in self._others:
                raise UnknownNameError(f"site {name!r}: {self._others[name]}")
            if name not in self._names:
                raise UnknownNameError(f"unknown site {name!r}. {nearest(str(name), self._names)}")
            self._made[name] = self._make(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def described(capture: Capture, samples: int) -> Site:
    """Describe a site.

    Args:
        capture: What was seen there.
        samples: Number of input samples.

    Returns:
        The site.
    """
    if len(capture.shape) >= 2:
        units = capture.shape[capture.channel]
    else:
        units = sample_rows(capture.values, capture, samples).shape[1]
    count = capture.shape.numel() // units if units else 0
    return Site(
        capture.name,
        activation=capture.function,
        states=states(capture.lower, capture.upper) if capture.activation else 0,
        smooth=capture.activation is not None and capture.activation.smooth,
        units=units,
        positions=count // samples if count % samples == 0 else 0,
        after=capture.after,
    )


def captured_preactivation(captures: Mapping[str, Capture], samples: int, name: str) -> torch.Tensor:
    """Lay out a site's pre-activation.

    Args:
        captures: Site to what was seen there.
        samples: Number of input samples.
        name: The site.

    Returns:
        `(sample, unit)`, detached.
    """
    capture = captures[name]
    raw = capture.values
    laid_out = sample_rows(raw.detach(), capture, samples)
    if not raw.requires_grad and raw.ndim >= 2:
        # Laying out an image copies it; keep one of the two copies, seen in either way.
        moved = raw.movedim(capture.channel, -1)
        capture.raw = laid_out.view(moved.shape).movedim(-1, capture.channel)
    return laid_out


def captured_pattern(captures: Mapping[str, Capture], samples: int, name: str) -> torch.Tensor:
    """Lay out a site's activation pattern.

    Args:
        captures: Site to what was seen there.
        samples: Number of input samples.
        name: The site.

    Returns:
        `(sample, unit)`: bool, uint8 for three states, int64 for a max-pool's winners.
    """
    capture = captures[name]
    if capture.packed is not None:
        return unpack(capture.packed, capture.shape[capture.channel], bits=_bits(capture))
    raw = capture.values.detach()
    if capture.activation is None:
        return sample_rows(raw, capture, samples)
    # In the network's own shape, against which thresholds that are tensors broadcast.
    return sample_rows(pattern(raw, capture.lower, capture.upper, outer=capture.activation.outer), capture, samples)


def captured_packed(captures: Mapping[str, Capture], samples: int, name: str) -> torch.Tensor:
    """Pack a site's activation pattern.

    Args:
        captures: Site to what was seen there.
        samples: Number of input samples.
        name: The site.

    Returns:
        uint8 `(sample, byte)`, as `reluscope.packing.pack_states` lays it out.
    """
    capture = captures[name]
    if capture.packed is not None:
        return capture.packed
    if capture.activation is not None and len(capture.shape) >= 2:
        return pack(capture.values, capture.channel, capture.lower, capture.upper, outer=capture.activation.outer)[0]
    return pack_states(captured_pattern(captures, samples, name), 1, bits=_bits(capture))


def sample_rows(values: torch.Tensor, capture: Capture, samples: int) -> torch.Tensor:
    """Lay a captured tensor out as `(row, unit)`.

    Args:
        values: As captured, or made from it elementwise.
        capture: What was seen at the site.
        samples: Number of input samples.

    Returns:
        A matrix, sample-major.
    """
    if values.ndim < 2:
        # One value a sample is one unit; anything else is one row.
        return values.reshape(-1, 1) if values.numel() == samples else values.reshape(1, -1)
    return rows(values, capture.channel)


def _bits(capture: Capture) -> int:
    if capture.activation is None:
        return WINNER_BITS
    return 1 if states(capture.lower, capture.upper) == 2 else 2
