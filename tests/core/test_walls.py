"""The walls of a piece against functions written out layer by layer, place by place."""

from __future__ import annotations

import copy
import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.sites import POOLS
from reluscope.windows import OUTSIDE, windows

Wall = tuple[str, int, int, torch.Tensor]
"""Site, unit, what lies beyond, and the function's value, in the graph."""


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    model.double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=1000 * seed + number) / max(1, parameter[0].numel()) ** 0.5)
    return model


def kinks(layer: nn.Module) -> list[float]:
    if isinstance(layer, nn.ReLU6):
        return [0.0, 6.0]
    if isinstance(layer, nn.Hardtanh):
        return [layer.min_val, layer.max_val]
    return [0.0] if isinstance(layer, nn.ReLU | nn.LeakyReLU) else []


def places(layer: nn.Module, plane: tuple[int, ...]) -> list[list[tuple[int, ...]]]:
    """Which places each window looks at, by the definitions in torch's documentation."""
    along = []
    for d, size in enumerate(plane):
        if isinstance(layer, nn.AdaptiveMaxPool2d):
            count = layer.output_size
            along.append([range(i * size // count, math.ceil((i + 1) * size / count)) for i in range(count)])
        else:
            kernel, stride, padding, dilation = (
                value if isinstance(value, int) else value[d]
                for value in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            )
            count = F.max_pool1d(
                torch.zeros(1, 1, size), kernel, stride, padding, dilation, ceil_mode=layer.ceil_mode
            ).shape[-1]
            starts = [i * stride - padding for i in range(count)]
            along.append([[s + k * dilation for k in range(kernel) if 0 <= s + k * dilation < size] for s in starts])
    return [list(product(*window)) for window in product(*along)]


def reference(model: nn.Sequential, x: torch.Tensor) -> list[Wall]:
    """All walls of the piece that holds one sample, as functions of it."""
    found, h = [], x.unsqueeze(0)
    for number, layer in enumerate(model):
        name = f"{number}#0"
        for side, kink in enumerate(kinks(layer)):
            rows = h[0].movedim(0, -1).reshape(-1)  # positions times channels
            found += [(name, unit, side, z - kink if z > kink else kink - z) for unit, z in enumerate(rows)]
        if isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
            channels, width = h.shape[1], h.shape[-1]
            for window, inside in enumerate(places(layer, tuple(h.shape[2:]))):
                for channel in range(channels):
                    values = {place: h[0, channel][place] for place in inside}
                    winner = max(values.values())
                    found += [
                        (name, window * channels + channel, i * width + j, winner - value)
                        for (i, j), value in values.items()
                    ]
        h = layer(h)
    return found


CONVOLUTIONS = {
    "pools": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU6(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 2, 2), nn.LeakyReLU()
    ),
    "adaptive": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.Hardtanh(), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(18, 4), nn.ReLU()
    ),
    "dilated": lambda: nn.Sequential(
        nn.MaxPool2d((2, 3), stride=(1, 2), padding=(1, 0), dilation=(2, 1), ceil_mode=True),
        nn.Flatten(),
        nn.LazyLinear(5),
        nn.ReLU(),
    ),
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(49, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU6()),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@settings(max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_values_and_gradients(kind: str, seed: int) -> None:
    model = CONVOLUTIONS[kind]().double()
    model(torch.zeros(1, 1, 7, 7, dtype=torch.float64))
    seeded(model, seed)
    x = 3 * drawn(2, 1, 7, 7, seed=seed)
    walls = observe(model, x, affine=True).walls()
    for sample in range(2):
        leaf = x[sample].clone().requires_grad_()
        expected = reference(model, leaf)
        got = {
            (walls.sites[site], unit, beyond): number
            for number, (site, unit, beyond) in enumerate(
                zip(walls.site.tolist(), walls.unit.tolist(), walls.beyond.tolist(), strict=True)
            )
        }
        assert sorted(got) == sorted((name, unit, beyond) for name, unit, beyond, _ in expected)
        order = [got[name, unit, beyond] for name, unit, beyond, _ in expected]
        values = torch.stack([value for _, _, _, value in expected])
        basis = torch.eye(len(values), dtype=values.dtype)
        (gradients,) = torch.autograd.grad(values, leaf, basis, is_grads_batched=True)
        torch.testing.assert_close(walls.value[sample, order], values.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(walls.map.weight[sample, order], gradients.flatten(1), rtol=0, atol=1e-12)


def test_walls_are_zero_at_the_edge_and_positive_inside() -> None:
    model = seeded(nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU6()), 3)
    assert bool((observe(model, drawn(200, 4), affine=True).walls().value >= 0).all())


def test_residual_network_unchanged() -> None:
    import torchvision

    model = seeded(torchvision.models.resnet18(num_classes=3), 1)
    model.train()
    model.eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    x = drawn(2, 3, 32, 32)
    with torch.no_grad():
        walls = observe(model, x, affine=True).walls()
        vector = drawn(2, 3 * 32 * 32)
        step = 1e-9 * vector.view_as(x)
        further = observe(model, x + step, affine=True).walls()
        pushed = walls.map.matvec(1e-9 * vector)
    scale = pushed.abs().max()
    changed = further.value - walls.value
    # where the step crosses a wall the piece is another; that is at most a few of 1e5
    assert ((changed - pushed).abs() < 1e-4 * scale).double().mean() > 0.999
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_errors() -> None:
    x = drawn(3, 4)
    with pytest.raises(ObservationError, match=r"affine=True"):
        observe(nn.Sequential(nn.Linear(4, 3).double(), nn.ReLU()), x).walls()
    with pytest.raises(ObservationError, match=r"'1#0' applies gelu, which is smooth"):
        observe(nn.Sequential(nn.Linear(4, 3).double(), nn.GELU()), x, affine=True).walls()
    hidden = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 3), nn.ReLU()).double()
    with pytest.raises(ObservationError, match=r"not affine on a piece: .*gelu.* '1#0'"):
        observe(hidden, x, affine=True).walls().map.check()
    fractional = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.FractionalMaxPool2d(2, output_size=2)).double()
    with pytest.raises(ObservationError, match=r"fractional_max_pool2d draws its windows at random"):
        observe(fractional, drawn(2, 1, 6, 6), affine=True).walls()


def test_a_smooth_end_bends_no_piece() -> None:
    model = seeded(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2), nn.Sigmoid()))
    observation = observe(model, drawn(3, 4), affine=True)
    assert observation.walls().sites == ("1#0",)
    assert observation.walls().map.weight.shape == (3, 5, 4)


@pytest.mark.parametrize("spatial", [1, 2, 3])
@given(
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    data=st.data(),
    ceil_mode=st.booleans(),
    size=st.integers(5, 8),
)
def test_windows_hold_the_winner(
    spatial: int, kernel: int, stride: int, dilation: int, data: st.DataObject, ceil_mode: bool, size: int
) -> None:
    """The maximum over the listed places is what torch gives."""
    padding = data.draw(st.integers(0, kernel // 2))
    function = getattr(F, f"max_pool{spatial}d")
    x = drawn(2, 3, *([size] * spatial))
    args = (x, kernel, stride, padding, dilation)
    pooled = function(*args, ceil_mode=ceil_mode)
    found = windows(POOLS[function], args, {}, x.shape[2:], pooled.shape[2:])
    values = x.flatten(2)[..., found.clamp(min=0)].masked_fill(found == OUTSIDE, -math.inf)
    assert torch.equal(values.amax(-1), pooled.flatten(2))


def test_dense_weights() -> None:
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3, bias=False), nn.ReLU()))
    weights = observe(model, drawn(2, 1, 2, 2), affine=True).dense_weights()
    assert weights is not None
    assert [torch.equal(a, b) for a, b in zip(weights, (model[1].weight, model[3].weight), strict=True)] == [True] * 2


def test_dense_weights_take_up_batch_norm() -> None:
    norm = nn.BatchNorm1d(5)
    model = seeded(
        nn.Sequential(nn.Linear(4, 5), norm, nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(5, 3), nn.ReLU())
    )
    with torch.no_grad():
        norm.running_var.copy_(drawn(5).square() + 0.1)
    observation = observe(model, drawn(2, 4), affine=True)
    weights = observation.dense_weights()
    assert weights is not None
    torch.testing.assert_close(weights[0].expand(2, -1, -1), observation.affine("2#0").weight, rtol=1e-12, atol=1e-12)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + x)


class Scaled(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize(
    "model",
    [
        Residual(),
        Scaled(nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU()),
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()).train(),
    ],
)
def test_other_networks_have_no_dense_weights(model: nn.Module) -> None:
    assert observe(model, drawn(3, 4).float(), affine=True).dense_weights() is None
