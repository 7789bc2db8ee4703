"""What inference in a number system costs: the time of a forward pass of ResNet-20 over that of the float network.

Run it with `make benchmarks`, among the others; it fails where a ratio misses its bound. The float network and the
quantised one take turns in one process; the ratio is the median over the turns, since both passes of a turn see the
same speed of the machine, and the least times of each need not. Processor time where torch has one thread, else wall
time.

Memory: bytes of all tensors that the network keeps, over those of the float network.
"""

from __future__ import annotations

import copy
import statistics
import time

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.lab import Lab

LAB = Lab()
BOUND, MEMORY, ROUNDS = 1.3, 2.0, 16


def seconds(network: nn.Module, x: torch.Tensor) -> float:
    """Time one forward pass.

    Args:
        network: In eval mode.
        x: A batch.

    Returns:
        Its time in seconds.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begin = clock()
    network(x)
    return clock() - begin


def kept_bytes(network: nn.Module) -> int:
    """Sum the bytes of all tensors that a network keeps.

    Args:
        network: Quantised or not.

    Returns:
        Bytes of parameters, buffers, held counts, and the memory of rounded inputs that its layers share.
    """
    tensors = [*network.parameters(), *network.buffers()]
    layers = [module.quantization for module in network.modules() if hasattr(module, "quantization")]
    tensors += [layer.held.counts for layer in layers if layer.held.counts is not None]
    if layers:
        tensors += layers[0].arithmetic.scratch._spare
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("draws", ["pass", "held"])
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
@pytest.mark.parametrize("samples", [1, 16, 64, 512, 1024, 65536])
def test_inference_of_resnet20(samples: int, fold: bool, draws: str) -> None:
    plain = LAB.architectures["resnet"].build(depth=20, seed=0).eval()
    network = copy.deepcopy(plain)
    rs.quantize_(
        network, "psb", samples=samples, activations="fixed16", fold_batchnorm=fold, draws=draws, seed=0, lab=LAB
    )
    x = torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        times = [(seconds(plain, x), seconds(network, x)) for _ in range(ROUNDS)][1:]
    alone, quantized = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(after / before for before, after in times)
    memory = kept_bytes(network) / kept_bytes(plain)
    print(
        f"\nresnet 20, {samples} samples, {draws}, {'folded' if fold else 'unfolded'}: float {1e3 * alone:.0f} ms, "
        f"psb {1e3 * quantized:.0f} ms, ratio {ratio:.2f} (bound {BOUND}), memory {memory:.2f} "
        f"(bound {MEMORY})"
    )
    assert memory <= MEMORY
    assert ratio <= BOUND
