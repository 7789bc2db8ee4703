"""Functions and maps are held in parts, and maps carried along chains: no choice of their sizes shows."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from reluscope_plugins.regions import dense_cutter
from reluscope_plugins.regions.plane_regions import plane_regions


@pytest.mark.parametrize(("functions", "steps"), [(8, 1), (8, 64), (16, 2), (64, 3)])
def test_sizes_of_parts(monkeypatch: pytest.MonkeyPatch, functions: int, steps: int) -> None:
    torch.manual_seed(0)
    widths = (2, 21, 35, 3)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()
    whole = plane_regions(model)
    for name, value in (("_FUNCTIONS", functions), ("_NUMBERS", 1), ("_MAPS", 1), ("_STEPS", steps), ("_BATCH", 7)):
        monkeypatch.setattr(dense_cutter, name, value)
    parts = plane_regions(model)
    assert parts.region_pattern.equals(whole.region_pattern)
    assert parts.edge_unit.equals(whole.edge_unit)
    # a region's map is that of the masked weights, multiplied out
    for region in range(0, parts.sizes["region"], 17):
        bits = np.unpackbits(parts.region_pattern.values[region], bitorder="little")
        masks = torch.from_numpy(bits[:21].astype(float)), torch.from_numpy(bits[32 : 32 + 35].astype(float))
        slope, offset = torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for layer, mask in zip(layers, (*masks, torch.ones(3)), strict=True):
            slope, offset = layer.weight @ slope, layer.weight @ offset + layer.bias
            slope, offset = mask[:, None] * slope, mask * offset
        # sums of at most 64 + 35 + 21 + 2 terms below 10 each, rounded at each addition
        bound = 122 * 122 * 10 * np.finfo(float).eps
        assert np.abs(parts.region_slope.values[region] - slope.detach().numpy()).max() <= bound
        assert np.abs(parts.region_offset.values[region] - offset.detach().numpy()).max() <= bound
