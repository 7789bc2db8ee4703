"""Counting activation patterns against what else counts them, and the entropy of all sites against the bare pass.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_patterns.py`; it fails, or exits with 1, where a
ratio misses its bound. Baselines and ours take turns in one process, so that both see the same load; the least time of
each counts, over which load has the least say.

- `torch.unique(dim=0, return_counts=True)`;
- the source's technique (Hartmann 2025, algorithms 1 and 2): rows as int64 words, `h = (word * Q) xor (h * P)`, then
  `index_add_` into a list of fixed size. It is not exact: what it loses is printed too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from reluscope.lab import Lab
from reluscope.measurement import measure
from reluscope.packing import pack, pack_states
from reluscope_plugins.patterns.table import counted, entries

ROWS = 1_000_000
SLOTS = 10_000_000
OFFSET, P, Q = 1_610_612_741, 805_306_457, 402_653_189
BOUNDS = {64: (40.0, 4.0), 512: (10.0, 6.0)}
"""Units of a site to how many times faster than `torch.unique` and than the source's technique."""
PASS = 1.3
"""How many times the bare forward pass the entropy of all sites may take."""
BATCH = 500
"""Images of a batch at which that is asked; at smaller ones the work of each call weighs more, and is printed too."""


def fixed_list(active: torch.Tensor) -> torch.Tensor:
    """Count as the source does.

    Args:
        active: bool `(row, unit)`.

    Returns:
        Counts `(slot,)`.
    """
    rows = len(active)
    found = torch.full((rows,), OFFSET)
    for columns in active.split(64, dim=1):  # a word at a time takes less than half the time of all at once
        word = (columns.long() * 2 ** torch.arange(64)).sum(-1)
        found = (word * Q) ^ (found * P)
    return torch.zeros(SLOTS, dtype=torch.int32).index_add_(
        0, found % SLOTS, torch.ones(1, dtype=torch.int32).expand(rows)
    )


def least(works: dict[str, Callable[[], object]], rounds: dict[str, int]) -> dict[str, float]:
    """Time several works in turn.

    Args:
        works: Name to what is timed.
        rounds: Name to how often.

    Returns:
        Name to the least time in seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(max(rounds.values())):
        for name, work in works.items():
            if number < rounds[name]:
                start = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def count_ratios(units: int, *, repeated: bool) -> tuple[dict[str, float], str]:
    """Time the counting of a million rows.

    Args:
        units: Units of the site, a multiple of 64.
        repeated: Whether each pattern comes about ten times; else nearly all are distinct.

    Returns:
        How many times faster than each baseline, from bools and from pre-activations; and lines to print.
    """
    generator = torch.Generator().manual_seed(0)
    preactivation = torch.randn(ROWS // 10 if repeated else ROWS, units, generator=generator)
    if repeated:
        preactivation = preactivation[torch.randint(len(preactivation), (ROWS,), generator=generator)]
    active = preactivation > 0
    works: dict[str, Callable[[], object]] = {
        "ours, bools": lambda: counted(pack_states(active, 1, bits=1), units),
        "ours, pre-activations": lambda: counted(pack(preactivation, 1, 0.0, None)[0], units),
        "torch.unique, bools": lambda: torch.unique(active, dim=0, return_counts=True),
        "torch.unique, pre-activations": lambda: torch.unique(preactivation > 0, dim=0, return_counts=True),
        "fixed list, bools": lambda: fixed_list(active),
        "fixed list, pre-activations": lambda: fixed_list(preactivation > 0),
        "one read, bools": lambda: active.numpy().view(np.uint64).sum(),
        "one read, pre-activations": lambda: preactivation.sum(),
    }
    times = least(works, {name: 2 if name.startswith("torch") else 5 for name in works})
    distinct = len(entries(counted(pack_states(active, 1, bits=1), units))[1])
    assert distinct == len(np.unique(np.packbits(active.numpy(), axis=1).view(f"V{units // 8}")))
    lost = 1 - int((fixed_list(active) > 0).sum()) / distinct
    ratios = {}
    lines = [f"{ROWS:,} x {units}, {distinct:,} distinct; the fixed list of {SLOTS:,} slots loses {100 * lost:.1f} %"]
    for kind in ("bools", "pre-activations"):
        ours = times[f"ours, {kind}"]
        for baseline in ("torch.unique", "fixed list"):
            ratios[f"{baseline}, {kind}"] = times[f"{baseline}, {kind}"] / ours
        lines.append(
            f"  from {kind}: {1000 * ours:.0f} ms, "
            f"{ratios[f'torch.unique, {kind}']:.0f} times faster than torch.unique "
            f"({times[f'torch.unique, {kind}']:.2f} s), "
            f"{ratios[f'fixed list, {kind}']:.1f} times than the fixed list ({times[f'fixed list, {kind}']:.2f} s); "
            f"{ours / times[f'one read, {kind}']:.1f} times one read of the data"
        )
    return ratios, "\n".join(lines)


def pass_ratio(images: torch.Tensor, batch: int) -> tuple[float, str]:
    """Time the entropy of all sites of a ResNet-20.

    Args:
        images: `(sample, channel, height, width)`.
        batch: Images of a batch.

    Returns:
        The ratio to the bare forward pass, and a line to print.
    """
    lab = Lab()
    model = lab.architectures["resnet"].build(depth=20, seed=0).eval()
    batches = list(images.split(batch))

    def bare() -> None:
        with torch.no_grad():
            for x in batches:
                model(x)

    works: dict[str, Callable[[], object]] = {
        "bare": bare,
        "entropy": lambda: measure(model, batches, "pattern_entropy", lab=lab),
    }
    times = least(works, dict.fromkeys(works, 6))
    ratio = times["entropy"] / times["bare"]
    return ratio, (
        f"entropy of all sites of ResNet-20 over {len(images):,} images in batches of {batch}: "
        f"{times['entropy']:.2f} s, the bare pass {times['bare']:.2f} s, ratio {ratio:.2f} (at most {PASS})"
    )


def cifar() -> torch.Tensor | None:
    """Read the CIFAR-10 test images.

    Returns:
        `(sample, channel, height, width)` standardised, or None where the data are not there.
    """
    path = Path(os.environ.get("RELUSCOPE_DATA", "")) / "cifar10" / "cifar10_10k.npz"
    if not path.is_file():
        return None
    with np.load(path) as data:
        images = torch.from_numpy(data["x_test"]).permute(0, 3, 1, 2).float() / 255
    return ((images - 0.45) / 0.25).contiguous()


@pytest.mark.parametrize("repeated", [False, True], ids=["distinct", "repeated"])
@pytest.mark.parametrize("units", list(BOUNDS))
def test_counting_is_faster(units: int, repeated: bool, capsys: pytest.CaptureFixture[str]) -> None:
    ratios, text = count_ratios(units, repeated=repeated)
    with capsys.disabled():
        print(f"\n{text}; load average {os.getloadavg()[0]:.2f}")
    for name, ratio in ratios.items():
        assert ratio >= BOUNDS[units][0 if name.startswith("torch") else 1], name


def test_entropy_costs_little_more_than_the_pass(capsys: pytest.CaptureFixture[str]) -> None:
    images = cifar()
    if images is None:
        pytest.skip("RELUSCOPE_DATA does not name a folder with cifar10/cifar10_10k.npz")
    ratio, text = pass_ratio(images, BATCH)
    with capsys.disabled():
        print(f"\n{text}; load average {os.getloadavg()[0]:.2f}")
    assert ratio <= PASS


def main() -> int:
    """Print all ratios.

    Returns:
        0 where all hold, else 1.
    """
    good = True
    for units, (unique, fixed) in BOUNDS.items():
        for repeated in (False, True):
            ratios, text = count_ratios(units, repeated=repeated)
            print(text, flush=True)
            good &= all(ratio >= (unique if name.startswith("torch") else fixed) for name, ratio in ratios.items())
    images = cifar()
    for batch in (100, 250, 500, 1000) if images is not None else ():
        ratio, text = pass_ratio(images, batch)
        print(text, flush=True)
        good &= ratio <= PASS or batch != BATCH
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
