"""What memory a network in a number system takes at most: torchvision's VGG-11 converted and applied, over float.

Each case is a process of its own, whose greatest resident set the operating system keeps; what it takes without a
network, all modules loaded, is subtracted. Run it with `make benchmarks`, among the others; it fails where a ratio
misses its bound.
"""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

BOUND = 2.0
PROGRAM = """
import re, sys, torch, torchvision
import reluscope as rs

def resident(key):
    return int(re.search(key + r":\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) / 1024

layers = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(288, 10)
small = torch.nn.Sequential(*layers)
with torch.no_grad():
    for draws in ("pass", "product", "held"):  # loads all that is loaded once
        rs.quantize_(small.eval(), "psb", draws=draws, prune=0.25)
        small(torch.randn(2, 3, 8, 8))
        rs.restore_(small)
before = resident("VmRSS")
with torch.no_grad():
    network = torchvision.models.vgg11(weights=None, init_weights=False).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    conversion = eval(sys.argv[1])
    if conversion is not None:
        rs.quantize_(network, **conversion)
    for _ in range(2):
        network(torch.randn(2, 3, 224, 224))
print(resident("VmHWM") - before)
"""
DISCRETE = {"name": "psb", "probability_bits": 4, "exponent_bits": 4}
CASES = {
    "pass": {"system": "psb"},
    "product": {"system": "psb", "draws": "product"},
    "held": {"system": "psb", "draws": "held"},
    "pruned": {"system": "psb", "prune": 0.25},
    "discrete": {"system": DISCRETE},
    "discrete and pruned": {"system": DISCRETE, "prune": 0.25},
    "bernoulli": {"system": "bernoulli"},
    "uniform": {"system": "uniform"},
    "ternary": {"system": "ternary"},
    "binary": {"system": "binary"},
    "bf16": {"system": "bf16"},
    "fixed16": {"system": "fixed16"},
}


@functools.cache
def peak(conversion: str) -> float:
    """Measure the memory that a network takes at most.

    Args:
        conversion: Arguments of `reluscope.quantize_`, written out; `"None"` for the float network.

    Returns:
        MiB.
    """
    done = subprocess.run([sys.executable, "-c", PROGRAM, conversion], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_peak_of_vgg11(case: str) -> None:
    plain, quantized = peak("None"), peak(repr(CASES[case]))
    ratio = quantized / plain
    print(f"\nvgg 11, {case}: float {plain:.0f} MiB, {quantized:.0f} MiB, ratio {ratio:.2f} (bound {BOUND})")
    assert ratio <= BOUND
