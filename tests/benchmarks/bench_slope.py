"""The 2-slope of images through ResNet-20 against Jacobian plus SVD, nothing extrapolated.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_slope.py`; it fails, or exits with 1, where on 32
images the 2-slope is less than 20 times as fast as the Jacobian of the batch by one call of
`torch.autograd.functional.jacobian`, plus SVD, or where that ratio is not half as great again as on 16.

Of n images that call takes 10 n backward passes through the whole batch, of each of which one image's rows are not
zero; reluscope takes 10, and one to see that no image depends on another. So the ratio is about as great as the batch
is, and doubles from 16 to 32 images. The call is timed on these, in full, SVD included; on 256 it would take 64 times
as long as on 32 and give a Jacobian of 8 GB. Two more careful ways are printed, a loop over images and `vmap(jacrev)`.
They take the same ten backward passes an image as reluscope does, so they cannot be far behind: those passes dominate,
the SVD does not. What reluscope takes without the rows is the forward pass with recording, and the proof that the
network is affine on a piece. Printed too is what there is to gain from another network of the same function: batch norm
folded into the convolutions, and channels last.

All in one process on two threads, in turns; processor time counts, over which other work has less say than over wall
time, which is printed beside it.
"""

from __future__ import annotations

import copy
import itertools
import os
import sys
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import reluscope as rs
from reluscope.affine_map import AffineMap
from reluscope_plugins.geometry.operator_norm import operator_norms

IMAGES, LOOPED, FEW, MANY = 256, 16, 16, 32
BOUND, GROWTH = 20.0, 1.5
"""How many times as fast as the Jacobian of 32 images by one call, and how much more that is than of 16."""


def opened(model: nn.Module, images: Tensor) -> AffineMap:
    """Observe, and see to it that the network is affine on a piece."""
    affine_map = rs.observe(model, images, affine=True).affine()
    affine_map.check()
    return affine_map


def ours(model: nn.Module, images: Tensor) -> Tensor:
    return operator_norms(opened(model, images), 2, rtol=1e-3).lower


def at_once(model: nn.Module, images: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(model, images)
    own = torch.stack([jacobian[image, :, image].flatten(1) for image in range(len(images))])
    return torch.linalg.svdvals(own)[:, 0]


def looped(model: nn.Module, images: Tensor) -> Tensor:
    found = [torch.autograd.functional.jacobian(model, image[None])[0, :, 0].flatten(1) for image in images]
    return torch.stack([torch.linalg.svdvals(jacobian)[0] for jacobian in found])


def vmapped(model: nn.Module, images: Tensor) -> Tensor:
    jacobian = torch.func.vmap(torch.func.jacrev(lambda image: model(image[None])[0]))(images)
    return torch.linalg.svdvals(jacobian.flatten(2))[:, 0]


def bare(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images)


def folded(model: nn.Module) -> nn.Module:
    """The same function, without the batch norms that follow a convolution."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        children = list(module.named_children())
        for (name, convolution), (following, norm) in itertools.pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, following, nn.Identity())
    return copied


def ways(model: nn.Module) -> dict[str, tuple[Callable[[Tensor], object], int]]:
    """List what is timed: a function of a batch, and how many images it is given."""
    merged = folded(model)
    last = copy.deepcopy(merged).to(memory_format=torch.channels_last)
    return {
        "reluscope": (lambda x: ours(model, x), IMAGES),
        "reluscope without rows": (lambda x: opened(model, x), IMAGES),
        "reluscope, folded network": (lambda x: ours(merged, x), IMAGES),
        "reluscope, folded network, channels last": (
            lambda x: ours(last, x.contiguous(memory_format=torch.channels_last)),
            IMAGES,
        ),
        **{
            f"{name} of {count}": (way, count)
            for count in (FEW, MANY)
            for name, way in {"reluscope": lambda x: ours(model, x), "one call": lambda x: at_once(model, x)}.items()
        },
        "a loop over images": (lambda x: looped(model, x), LOOPED),
        "vmap(jacrev)": (lambda x: vmapped(model, x), MANY),
        "bare forward pass": (lambda x: bare(model, x), IMAGES),
    }


def ratios(rounds: int = 3) -> tuple[float, float, str]:
    """Time all ways.

    Args:
        rounds: How often each is timed; the least counts.

    Returns:
        How many times as fast as the Jacobian of the batch by one call, of few images and of many, and a table.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = rs.Lab().architectures["resnet"].build(depth=20, seed=0).eval()
        images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        timed = ways(model)
        exact = looped(model, images[:FEW])
        for found in (ours, at_once):
            torch.testing.assert_close(found(model, images[:FEW]), exact, rtol=1e-3, atol=0)
        torch.testing.assert_close(ours(folded(model), images[:FEW]), exact, rtol=1e-3, atol=0)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
        for _ in range(rounds):
            for name, (way, count) in timed.items():
                start = time.process_time(), time.perf_counter()
                way(images[:count])
                spent = time.process_time() - start[0], time.perf_counter() - start[1]
                times[name].append((spent[0] / count, spent[1] / count))
    finally:
        torch.set_num_threads(threads)
    least = {name: [min(values) for values in zip(*turns, strict=True)] for name, turns in times.items()}
    own, forward = least["reluscope"], least["bare forward pass"]
    lines = [
        f"{name}: {1000 * cpu:.1f} ms an image ({1000 * wall:.1f} by wall time), {cpu / own[0]:.2f} times reluscope "
        f"({wall / own[1]:.2f}), {cpu / forward[0]:.1f} bare passes"
        for name, (cpu, wall) in least.items()
    ]
    few, many = (least[f"one call of {count}"][0] / least[f"reluscope of {count}"][0] for count in (FEW, MANY))
    lines.append(f"one call against reluscope on the same batch: {few:.1f} of {FEW}, {many:.1f} of {MANY} images")
    return few, many, "\n".join(lines)


def test_slope_of_a_resnet(capsys: pytest.CaptureFixture[str]) -> None:
    few, many, text = ratios()
    with capsys.disabled():
        print(f"\n{text}\nload average {os.getloadavg()[0]:.2f}")
    assert many >= BOUND
    assert many > GROWTH * few


def main() -> int:
    """Print the table.

    Returns:
        0 where the bounds hold, else 1.
    """
    few, many, text = ratios()
    print(text)
    return 0 if many >= BOUND and many > GROWTH * few else 1


if __name__ == "__main__":
    sys.exit(main())
