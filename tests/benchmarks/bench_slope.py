"""The 2-slope of 256 images through ResNet-20 against Jacobian plus SVD.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_slope.py`; it fails, or exits with 1, where the
2-slope is less than 20 times as fast as the Jacobian of the batch by one call of `torch.autograd.functional.jacobian`,
plus SVD. That call differentiates each of the batch's 2560 outputs by the whole batch, 256 times what is needed; 20 of
these passes are timed, and counted 128 times. Two more careful ways are printed too, a loop over images (16 of them)
and `vmap(jacrev)` (32). They take the same ten backward passes an image as reluscope does, so they cannot be far
behind: those passes dominate, the SVD does not. Reluscope's share that the rows take, and the rest, forward pass with
recording and the proof that the network is affine on a piece, are printed.

All in one process on two threads, in turns; processor time counts, over which other work has less say than over wall
time, which is printed beside it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.affine_map import AffineMap
from reluscope_plugins.geometry.operator_norm import operator_norms

IMAGES, OUTPUTS = 256, 10
LOOPED, VMAPPED, PASSES = 16, 32, 20
BOUND = 20.0
"""How many times as fast as the Jacobian of the batch by one call."""


def opened(model: nn.Module, images: Tensor) -> AffineMap:
    """Observe, and see to it that the network is affine on a piece."""
    affine_map = rs.observe(model, images, affine=True).affine()
    affine_map.check()
    return affine_map


def ours(model: nn.Module, images: Tensor) -> Tensor:
    return operator_norms(opened(model, images), 2, rtol=1e-3).lower


def looped(model: nn.Module, images: Tensor) -> Tensor:
    found = [torch.autograd.functional.jacobian(model, image[None])[0, :, 0].flatten(1) for image in images]
    return torch.stack([torch.linalg.svdvals(jacobian)[0] for jacobian in found])


def vmapped(model: nn.Module, images: Tensor) -> Tensor:
    jacobian = torch.func.vmap(torch.func.jacrev(lambda image: model(image[None])[0]))(images)
    return torch.linalg.svdvals(jacobian.flatten(2))[:, 0]


def part_of_whole(model: nn.Module, images: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(lambda x: model(x).flatten()[:PASSES], images)


def bare(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images)


WAYS: dict[str, tuple[Callable[[nn.Module, Tensor], object], int, float]] = {
    "reluscope": (ours, IMAGES, 1),
    "reluscope without rows": (opened, IMAGES, 1),
    "Jacobian of the batch by one call": (part_of_whole, IMAGES, IMAGES * OUTPUTS / PASSES),
    "Jacobian in a loop over images": (looped, LOOPED, 1),
    "vmap(jacrev)": (vmapped, VMAPPED, 1),
    "bare forward pass": (bare, IMAGES, 1),
}
"""Name to the way, how many images it is timed on, and how many times that is to be counted."""


def ratio(rounds: int = 3) -> tuple[float, str]:
    """Time all ways.

    Args:
        rounds: How often each is timed; the least counts.

    Returns:
        How many times as fast as the Jacobian of the batch by one call, and a table to print.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = rs.Lab().architectures["resnet"].build(depth=20, seed=0).eval()
        images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(model, images)[:LOOPED], looped(model, images[:LOOPED]), rtol=1e-3, atol=0)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, (way, count, factor) in WAYS.items():
                start = time.process_time(), time.perf_counter()
                way(model, images[:count])
                spent = time.process_time() - start[0], time.perf_counter() - start[1]
                times[name].append((spent[0] * factor / count, spent[1] * factor / count))
    finally:
        torch.set_num_threads(threads)
    least = {name: [min(values) for values in zip(*turns, strict=True)] for name, turns in times.items()}
    own, forward = least["reluscope"], least["bare forward pass"]
    lines = [
        f"{name}: {1000 * cpu:.1f} ms an image ({1000 * wall:.1f} by wall time), {cpu / own[0]:.2f} times reluscope "
        f"({wall / own[1]:.2f}), {cpu / forward[0]:.1f} bare passes"
        for name, (cpu, wall) in least.items()
    ]
    return least["Jacobian of the batch by one call"][0] / own[0], "\n".join(lines)


def test_slope_of_a_resnet(capsys: pytest.CaptureFixture[str]) -> None:
    faster, text = ratio()
    with capsys.disabled():
        print(f"\n{text}\nload average {os.getloadavg()[0]:.2f}")
    assert faster >= BOUND


def main() -> int:
    """Print the table.

    Returns:
        0 where the bound holds, else 1.
    """
    faster, text = ratio()
    print(text)
    return 0 if faster >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
