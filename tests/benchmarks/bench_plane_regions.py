"""How fast the linear regions of a plane are found.

Run it with `make benchmarks`; it fails where a bound is missed. The networks have torch's own initial weights of seed
0, two inputs and the window [-1, 1]^2. On a machine of this kind public tools took: edge subdivision (float32, vertices
and edges only) 0.14 s and 2.2 s for the first two, in float64 0.16 s and 5.2 s, and 43 s for the third; SplineCam, with
faces and maps, 59 s for the second. Here all is in float64, with faces, adjacency, patterns and affine maps.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.lab import Lab
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.plane_regions import plane_regions

CASES = [((64, 64), 2943, 0.1), ((128, 128, 128), 20714, 0.7), ((256, 256, 256), 79783, 4.0)]
MEGABYTES = 500
WIDTHS = [784, 512, 512, 512, 512, 512, 10]
SLICE_SECONDS = 60.0


def network(*hidden: int) -> nn.Sequential:
    """Build a network.

    Args:
        *hidden: Widths of its hidden layers.

    Returns:
        The network, with the weights that torch draws after the seed 0.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise((2, *hidden, 1))]
    return nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])


def least_time(model: nn.Module, side: float = 1.0, rounds: int = 3) -> tuple[float, int]:
    """Time the partition.

    Args:
        model: The network.
        side: Half the window's side.
        rounds: How often; the least counts.

    Returns:
        Seconds, and the number of regions.
    """
    window = ((-side, -side), (side, -side), (side, side), (-side, side))
    times, count = [], 0
    for _ in range(rounds):
        begin = time.perf_counter()
        count = plane_regions(model, window=window).sizes["region"]
        times.append(time.perf_counter() - begin)
    return min(times), count


@pytest.mark.parametrize(("hidden", "count", "bound"), CASES)
def test_regions(capsys: pytest.CaptureFixture[str], hidden: tuple[int, ...], count: int, bound: float) -> None:
    model = network(*hidden)
    least_time(model, rounds=1)
    seconds, regions = least_time(model)
    with capsys.disabled():
        print(f"\n2-{'-'.join(map(str, hidden))}-1: {regions} regions in {seconds:.3f} s (at most {bound} s)")
    assert regions == count
    assert seconds <= bound


def test_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, above what it takes for a network of one region."""
    code = (
        "import pathlib, re, runpy\n"
        f"module = runpy.run_path({__file__!r}, run_name='bench')\n"
        "def kilobytes(name):\n"
        "    return int(re.search(name + r':\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
        "module['plane_regions'](module['network'](8))\n"
        "pathlib.Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew\n"
        "before = kilobytes('VmRSS')\n"
        "module['plane_regions'](module['network'](256, 256, 256))\n"
        "print((kilobytes('VmHWM') - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    megabytes = float(done.stdout.split()[-1])
    with capsys.disabled():
        print(f"\n79,783 regions: {megabytes:.0f} MB at their peak (at most {MEGABYTES})")
    assert megabytes <= MEGABYTES


def test_linear_in_the_number_of_regions(capsys: pytest.CaptureFixture[str]) -> None:
    """One network, 2-724-724-1, in windows that grow until there are a million regions.

    The slope of log time against log regions is at most 1.15.
    """
    model = network(724, 724)
    least_time(model, 0.1, rounds=1)
    found = [least_time(model, side, rounds=1) for side in (0.5, 1.0, 2.0, 8.0, 1000.0)]
    seconds, regions = np.array(found).T
    slope = np.polyfit(np.log(regions), np.log(seconds), 1)[0]
    with capsys.disabled():
        print(f"\n2-724-724-1: {', '.join(f'{int(n)} regions {s:.2f} s' for s, n in found)}; exponent {slope:.2f}")
    assert regions.max() >= 9e5
    assert slope <= 1.15


def mnist_slice(folder: str) -> tuple[nn.Module, Plane]:
    """Train 784-512x5-10 for an epoch, and lay a plane through three test images.

    Args:
        folder: With the real data.

    Returns:
        The network, and the plane, with the images at (0, 0), (1, 0) and (0, 1).
    """
    lab = Lab()
    x, y = lab.datasets["mnist"].load("train", Path(folder)).tensors
    model = lab.architectures["mlp"].build(seed=0, widths=WIDTHS)
    optimizer = torch.optim.Adam(model.parameters())
    for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(128):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    images, _ = lab.datasets["mnist"].load("test", Path(folder)).tensors
    return model.eval(), Plane.through(*images[:3].double())


def test_slice_through_three_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In a process of its own, whose peak memory is told; the partition checks itself, or raises."""
    folder = os.environ.get("RELUSCOPE_DATA")
    if not folder:
        pytest.skip("RELUSCOPE_DATA is not set: point it at the folder with the real data")
    torch.save(mnist_slice(folder), tmp_path / "slice.pt")
    code = (
        "import re, pathlib, time, torch\n"
        "from reluscope_plugins.regions.plane_regions import plane_regions\n"
        f"model, plane = torch.load({str(tmp_path / 'slice.pt')!r}, weights_only=False)\n"
        "plane_regions(model, plane, window=((0, 0), (0.05, 0), (0, 0.05)))  # compiles\n"
        "began, worked = time.perf_counter(), time.process_time()\n"
        "found = plane_regions(model, plane, window=((0, 0), (1, 0), (0, 1)))\n"
        "seconds, worked = time.perf_counter() - began, time.process_time() - worked\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1]\n"
        "print(seconds, worked, int(peak) / 2**20, *found.regions_so_far.values, float(found.region_area.sum()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, worked, peak, *counts, area = map(float, done.stdout.split())
    with capsys.disabled():
        print(
            f"\n784-512x5-10, one epoch of MNIST, through three test images: {counts[-1]:,.0f} regions "
            f"({', '.join(f'{count:,.0f}' for count in counts)} layer by layer) in {seconds:.1f} s "
            f"(at most {SLICE_SECONDS:.0f}), {worked:.1f} s of processor time, {torch.get_num_threads()} threads, "
            f"{peak:.1f} GiB at the peak"
        )
    assert area == pytest.approx(0.5, rel=1e-9)
    assert sorted(counts) == counts
    assert seconds <= SLICE_SECONDS
