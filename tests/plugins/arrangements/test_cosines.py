"""Cosines of filters against explicitly unrolled matrices, built entry by entry."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from reluscope.errors import NotFiniteError, ObservationError
from reluscope_plugins.arrangements.cosines import kernel_cosines, row_cosines

KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EPS = 2.0**-52


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pixel(place: int, size: int, mode: str) -> int | None:
    # which pixel lies at a place along one axis, that may be outside
    if 0 <= place < size:
        return place
    if mode == "zeros":
        return None
    if mode == "circular":
        return place % size
    if mode == "replicate":
        return 0 if place < 0 else size - 1
    return -place if place < 0 else 2 * (size - 1) - place


def unrolled(layer: Any, size: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    # (filter times position, channel times pixel), from the definition of the cross-correlation
    weight = layer.weight.detach().double().numpy()
    reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    positions = tuple(
        (n + 2 * p - r) // s + 1 for n, p, r, s in zip(size, layer.padding, reach, layer.stride, strict=True)
    )
    matrix = np.zeros((len(weight), *positions, layer.in_channels, *size))
    per_group = layer.in_channels // layer.groups
    for number in range(len(weight)):
        first = number // (len(weight) // layer.groups) * per_group
        for at in itertools.product(*map(range, positions)):
            for offset in itertools.product(*map(range, layer.kernel_size)):
                places = [
                    pixel(a * s + o * d - p, n, layer.padding_mode)
                    for a, s, o, d, p, n in zip(
                        at, layer.stride, offset, layer.dilation, layer.padding, size, strict=True
                    )
                ]
                if None not in places:
                    for channel in range(per_group):
                        matrix[(number, *at, first + channel, *places)] += weight[(number, channel, *offset)]
    return matrix.reshape(-1, layer.in_channels * math.prod(size)), (len(weight), *positions)


@st.composite
def convolutions(draw: st.DrawFn, modes: tuple[str, ...] = ("zeros",)) -> tuple[Any, tuple[int, ...]]:
    dims = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(dims))  # noqa: E731
    groups = draw(st.integers(1, 2))
    kernel, dilation = each(1, 3 if dims < 3 else 2), each(1, 2)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    mode = draw(st.sampled_from(modes))
    padding = each(0, 2 if dims < 3 else 1)
    size = tuple(max(r, p + 1) + draw(st.integers(0, 2)) for r, p in zip(reach, padding, strict=True))
    layer = KINDS[dims - 1](
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=each(1, 2),
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
    ).double()
    with torch.no_grad():
        layer.weight.copy_(drawn(*layer.weight.shape, seed=draw(st.integers(0, 2**20))))
    return layer, size


def padded_by_repetition(size: int, mode: str, dilation: int) -> tuple[Any, tuple[int, ...]]:
    layer = nn.Conv1d(1, 1, 2, padding=1, dilation=dilation, padding_mode=mode).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0, 2.0]]]))
    return layer, (size,)


# weights that meet at the first pixel and at no other
@example(padded_by_repetition(3, "replicate", 1), True, 0)
@example(padded_by_repetition(2, "reflect", 2), True, 0)
@given(convolutions(("zeros", "circular", "reflect", "replicate")), st.booleans(), st.integers(0, 2**20))
def test_rows_of_the_unrolled_matrix(case: tuple[Any, tuple[int, ...]], ones: bool, seed: int) -> None:
    layer, size = case
    matrix, shape = unrolled(layer, size)
    direction = None if ones else drawn(layer.in_channels, *size, seed=seed)
    vector = np.ones(matrix.shape[1]) if direction is None else direction.flatten().numpy()
    with np.errstate(invalid="ignore"):
        expected = matrix @ vector / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector))
    found = row_cosines(layer, size, direction)
    assert found.shape == shape
    # Of m products, each of at most (a filter's sum of sizes)^2: the product with the direction errs by m roundings of
    # |row| |direction|; the square of the norm, where weights that meet may cancel, by m roundings of that square.
    norms, most = np.linalg.norm(matrix, axis=1), layer.weight.detach().flatten(1).abs().sum(1).max().item()
    whole = norms > 1e-3 * most
    bound = 64 * matrix.shape[1] * EPS * (1 + most**2 / norms[whole] ** 2)
    assert (np.abs(found.flatten().numpy() - expected)[whole] <= bound).all()
    empty = ~matrix.any(axis=1)
    assert np.isnan(found.flatten().numpy()[empty]).all()


@given(convolutions())
def test_equation_1_is_that_of_every_row_within_the_image(case: tuple[Any, tuple[int, ...]]) -> None:
    layer, size = case
    matrix, shape = unrolled(layer, size)
    inputs = matrix.shape[1]
    number = layer.weight[0].numel()
    of_kernel = kernel_cosines(layer.weight, groups=layer.groups).numpy()
    # the source: sum of the weights over A = |W_m| |1|
    printed = layer.weight.detach().flatten(1).sum(1).numpy() / (
        layer.weight.detach().flatten(1).norm(dim=1).numpy() * math.sqrt(inputs)
    )
    np.testing.assert_allclose(of_kernel * math.sqrt(number / inputs), printed, atol=64 * number * EPS, rtol=0)
    rows = matrix.reshape(*shape, -1)
    whole = (rows != 0).sum(-1) == number  # normal weights are never zero
    exact = row_cosines(layer, size).numpy()
    for filter_number in range(shape[0]):
        np.testing.assert_allclose(
            exact[filter_number][whole[filter_number]], printed[filter_number], atol=256 * inputs * EPS, rtol=0
        )


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**20))
def test_any_direction_within_the_kernel(groups: int, filters: int, channels: int, kernel: int, seed: int) -> None:
    weight = drawn(groups * filters, channels, kernel, kernel, seed=seed)
    direction = drawn(groups * channels, kernel, kernel, seed=seed + 1)
    found = kernel_cosines(weight, direction, groups=groups)
    for number, row in enumerate(weight.numpy()):
        group = number // filters
        part = direction[group * channels : (group + 1) * channels].numpy()
        expected = (row * part).sum() / math.sqrt((row**2).sum() * (part**2).sum())
        assert float(found[number]) == pytest.approx(expected, abs=64 * row.size * EPS)


@given(st.floats(1e-3, 1e3), st.integers(0, 2**20))
def test_cosines_do_not_depend_on_lengths_and_change_sign_with_the_direction(scale: float, seed: int) -> None:
    weight, direction = drawn(4, 3, 2, 2, seed=seed), drawn(3, 2, 2, seed=seed + 1)
    found = kernel_cosines(weight, direction)
    torch.testing.assert_close(kernel_cosines(scale * weight, direction / scale), found, rtol=0, atol=1e-13)
    torch.testing.assert_close(kernel_cosines(weight, -direction), -found, rtol=0, atol=0)
    assert (found.abs() <= 1 + 1e-14).all()


@pytest.mark.parametrize("power", [-1000, -500, 500, 1000])
def test_neither_do_they_where_squares_overflow_or_vanish(power: int) -> None:
    weight, direction = drawn(3, 2, 2, 2), drawn(2, 2, 2, seed=1)
    expected = kernel_cosines(weight, direction)
    scaled = weight.clone()
    scaled[1] *= 2.0**power
    torch.testing.assert_close(kernel_cosines(scaled, direction), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(kernel_cosines(weight, direction * 2.0**power), expected, rtol=1e-14, atol=0)
    groups, across = drawn(4, 1, 2, 2, seed=2), drawn(2, 2, 2, seed=3)
    exact = kernel_cosines(groups, across, groups=2)
    groups[2:] *= 2.0**power
    torch.testing.assert_close(kernel_cosines(groups, across, groups=2), exact, rtol=1e-14, atol=0)
    layer, size = nn.Conv2d(2, 3, 2, padding=1).double(), drawn(2, 4, 4, seed=4)
    exact = row_cosines(layer, (4, 4), size)
    with torch.no_grad():
        layer.weight[1] *= 2.0**power
    torch.testing.assert_close(row_cosines(layer, (4, 4), size * 2.0**power), exact, rtol=1e-14, atol=0)


def test_a_direction_of_channels_is_the_same_everywhere_in_the_kernel() -> None:
    weight, channels = drawn(4, 3, 2, 2), drawn(3, seed=1)
    spread = channels.reshape(3, 1, 1).expand(3, 2, 2)
    torch.testing.assert_close(kernel_cosines(weight, channels.reshape(3, 1, 1)), kernel_cosines(weight, spread))


def test_a_filter_of_zeros_has_no_cosine_and_its_row_neither() -> None:
    layer = nn.Conv2d(1, 2, 3, padding=3)
    with torch.no_grad():
        layer.weight[0].zero_()
        layer.weight[1].fill_(-1.0)
    assert kernel_cosines(layer.weight).isnan().tolist() == [True, False]
    rows = row_cosines(layer, (4, 4))
    assert rows[0].isnan().all()
    assert rows[1, 0, 0].isnan()  # wholly in the padding
    assert (rows[1, 3:-3, 3:-3] < 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_other_precisions_are_summed_in_double(dtype: torch.dtype) -> None:
    weight = drawn(3, 2000).to(dtype)
    found = kernel_cosines(weight)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, kernel_cosines(weight.double()), rtol=0, atol=0)


def test_a_linear_layer_has_one_row_a_filter() -> None:
    layer = nn.Linear(5, 3).double()
    torch.testing.assert_close(row_cosines(layer, ()), kernel_cosines(layer.weight))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: row_cosines(nn.Linear(2, 3), (2,)), r"size: got \(2,\) for a linear layer"),
        (lambda: row_cosines(nn.Conv2d(1, 1, 2), (4,)), "expected 2 positive numbers"),
        (lambda: row_cosines(nn.Conv2d(1, 1, 2), (4, 0)), "expected 2 positive numbers"),
        (lambda: row_cosines(nn.ReLU(), ()), "got ReLU, expected Conv1d"),  # type: ignore[arg-type]
        (lambda: row_cosines(nn.Conv2d(3, 1, 2), (4, 4), torch.ones(3)), r"expected \(3, 4, 4\)"),
        (lambda: row_cosines(nn.Conv2d(1, 1, 5), (4, 4)), "no position of its kernel"),
        (lambda: row_cosines(nn.Conv1d(1, 1, 2), 4), r"size: got 4, expected a tuple"),  # type: ignore[arg-type]
        (lambda: row_cosines(nn.Conv1d(1, 1, 2), (4.0,)), r"size: got \(4.0,\)"),  # type: ignore[arg-type]
        (lambda: kernel_cosines(torch.ones(3, 2), groups=2), "groups: got 2 for 3 filters"),
        (lambda: kernel_cosines(torch.ones(3, 2), groups=0), "groups: got 0 for 3 filters"),
        (lambda: kernel_cosines([[1.0]]), "weight: got list"),  # type: ignore[arg-type]
        (lambda: kernel_cosines(torch.ones(3)), r"weight: got torch.float32 of shape \(3,\)"),
        (lambda: kernel_cosines(torch.ones(3, 2).to(torch.complex64)), "weight: got torch.complex64"),
        (lambda: kernel_cosines(torch.ones(2, 3), torch.ones(4)), r"direction: got the shape \(4,\), expected \(3,\)"),
        (lambda: kernel_cosines(torch.ones(2, 3), torch.tensor([1.0, math.nan, 1.0])), "NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ObservationError, match=words):
        call()


def test_weights_that_are_not_finite_are_refused() -> None:
    layer = nn.Conv1d(1, 2, 2)
    with torch.no_grad():
        layer.weight[0, 0, 0] = math.nan
    with pytest.raises(NotFiniteError, match="weight: got 1 NaN among 4 values"):
        kernel_cosines(layer.weight)
    with pytest.raises(NotFiniteError, match="weight: got 1 NaN among 4 values"):
        row_cosines(layer, (4,))
