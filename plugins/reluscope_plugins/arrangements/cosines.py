"""Cosines between the hyperplanes of a layer's filters and a direction: in the kernel, and row by row of the layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reluscope.errors import NotFiniteError, ObservationError
from reluscope.finite import trouble

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
# rows at a time whose weights meet, so that the pairs of offsets stay small
_ROWS = 1024
# weights at a time that are held in double precision
_BLOCK = 2**18
# norms between these are sums of squares that neither overflow nor lose digits
_LEAST, _MOST = 1e-140, 1e140


def kernel_cosines(weight: Tensor, direction: Tensor | None = None, *, groups: int = 1) -> Tensor:
    r"""Return the cosine between each filter and a direction, both within the kernel.

    $\langle w, d \rangle / (\lVert w \rVert \lVert d \rVert)$, and $d = 1$ if no direction is given: the sum of the
    filter's weights over $\lVert w \rVert \sqrt{n}$, where $n$ is their number. The source divides by the norm of a
    vector of ones over the whole input of $C H W$ numbers, so that its cosine is this one times $\sqrt{n / (C H W)}$.
    The sign is the same.

    Args:
        weight: `(filter, channel, *kernel)` of a convolution or `(filter, input)` of a linear layer; `channel` is that
            of one group.
        direction: Of the shape of one filter, `(channel, *kernel)`, or broadcastable to it, such as `(channel, 1, 1)`;
            with several groups with the channels of all. None takes the identity line, a vector of ones.
        groups: Groups of the convolution.

    Returns:
        `(filter,)` in double precision; NaN for a filter, or with a part of the direction, that is zero.

    Raises:
        ObservationError: If the weight is none of these, or the direction does not fit, or is not finite.
        NotFiniteError: If the weight holds NaN or infinity.

    References:
        Gamba et al. 2020, eq. 1.

    Example:
        >>> kernel_cosines(torch.tensor([[1.0, 1.0], [3.0, -4.0], [0.0, 0.0]]))
        tensor([ 1.0000, -0.1414,     nan], dtype=torch.float64)
    """
    filters = _filters(weight, groups)
    matrix = filters.reshape(groups, len(filters) // groups, -1)
    wanted = kernel_direction(direction, (groups * filters.shape[1], *filters.shape[2:]), groups).to(filters.device)
    products, norms = products_and_norms(matrix, wanted)
    return products / (norms * wanted.norm(dim=1).repeat_interleave(matrix.shape[1]))


def kernel_direction(direction: Tensor | None, shape: tuple[int, ...], groups: int) -> Tensor:
    """Return a direction as one vector for each group of a convolution.

    Args:
        direction: Broadcastable to the shape; None takes a vector of ones.
        shape: `(channel, *kernel)`, the channels of all groups; `(input,)` of a linear layer.
        groups: How many groups there are.

    Returns:
        `(group, input)` in double precision, of which the largest is 1 in magnitude; zero where the direction is.

    Raises:
        ObservationError: If the direction does not fit, or is not finite.
    """
    whole = torch.ones(shape, dtype=torch.float64) if direction is None else _double(_fitting(direction, shape))
    return _scaled(whole.reshape(groups, -1))


def products_and_norms(matrix: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return the product of each filter with a direction, and its norm.

    Filters with so large or small a norm that its square may overflow or vanish are divided by their largest weight.
    In blocks that stay in the cache while they are in double precision: on a processor three times as fast as a
    reduction that is told to sum in it.

    Args:
        matrix: `(group, filter, input)`.
        direction: `(group, input)`, in double precision.

    Returns:
        `(filter,)` of all groups, twice, in double precision.
    """
    products, norms = [], []
    for group, wanted in zip(matrix, direction, strict=True):
        for block in group.split(max(1, _BLOCK // matrix.shape[2])):
            double = _double(block)
            products.append(double @ wanted)
            norms.append(torch.linalg.vector_norm(double, dim=1))
    product, norm = torch.cat(products), torch.cat(norms)
    extreme = ((norm < _LEAST) | (norm > _MOST)).nonzero().flatten()
    if len(extreme):
        rows = _scaled(_double(matrix.flatten(0, 1)[extreme]))
        along = direction[extreme.div(matrix.shape[1], rounding_mode="floor")]
        product[extreme], norm[extreme] = (rows * along).sum(dim=1), torch.linalg.vector_norm(rows, dim=1)
    return product, norm


def row_cosines(layer: Convolution | nn.Linear, size: tuple[int, ...], direction: Tensor | None = None) -> Tensor:
    r"""Return the cosine between each row of the unrolled layer and a direction in its whole input.

    A convolution is a matrix of one row for each filter and position. Where the kernel lies within the image, the
    cosine with the vector of ones is $\sqrt{n / (C H W)}$ times that of `kernel_cosines`; at zero padding a part of the
    filter is missing; where padding repeats pixels, weights that meet at one pixel add up.

    Args:
        layer: The layer; its weight as it takes effect now.
        size: Height and width (or however many there are) of the input: `(y, x)`; `()` for a linear layer.
        direction: `(channel, *size)`, or broadcastable to it, such as `(channel, 1, 1)`; `(input,)` for a linear layer.
            None takes the identity line, a vector of ones.

    Returns:
        `(filter, *position)` in double precision; NaN for a row that is zero.

    Raises:
        ObservationError: If the layer is none of these, or size or direction does not fit.
        NotFiniteError: If the weight holds NaN or infinity.

    References:
        Gamba et al. 2020, section 2 and eq. 1.

    Example:
        >>> layer = nn.Conv2d(1, 1, 2, padding=1)
        >>> _ = nn.init.ones_(layer.weight)
        >>> row_cosines(layer, (2, 2))
        tensor([[[0.5000, 0.7071, 0.5000],
                 [0.7071, 1.0000, 0.7071],
                 [0.5000, 0.7071, 0.5000]]], dtype=torch.float64)
    """
    if not isinstance(size, Sequence) or not all(isinstance(number, int) for number in size):
        raise ObservationError(
            f"size: got {size!r}, expected a tuple of whole numbers, such as (32, 32); pass the shape of the input "
            "without samples and channels"
        )
    if isinstance(layer, nn.Linear):
        if size:
            raise ObservationError(f"size: got {tuple(size)} for a linear layer, expected (); leave its input as it is")
        return kernel_cosines(layer.weight, direction)
    if not isinstance(layer, Convolution):
        raise ObservationError(
            f"got {type(layer).__name__}, expected Conv1d, Conv2d, Conv3d or Linear; pass one of the layers itself"
        )
    weight = _double(_filters(layer.weight, layer.groups))
    weight = _scaled(weight.flatten(1)).reshape_as(weight)
    if len(size) != weight.ndim - 2 or any(number < 1 for number in size):
        raise ObservationError(
            f"size: got {tuple(size)} for {type(layer).__name__}, expected {weight.ndim - 2} positive numbers, the "
            "shape of the input without samples and channels"
        )
    wanted = torch.ones(layer.in_channels, *size, dtype=weight.dtype, device=weight.device)
    if direction is not None:
        given = _double(_fitting(direction, (layer.in_channels, *size)))
        wanted = _scaled(given.reshape(1, -1)).reshape_as(given).to(weight)
    try:
        products = layer._conv_forward(wanted.unsqueeze(0), weight, None)[0]
    except RuntimeError as error:
        raise ObservationError(
            f"size: an input of {tuple(size)} has no position of its kernel {layer.kernel_size} or cannot be padded by "
            f"{layer.padding} in the mode {layer.padding_mode!r}; pass the size of an input that the layer takes"
        ) from error
    return products / (_row_norms(layer, weight, size).reshape_as(products) * wanted.norm())


def _row_norms(layer: Convolution, weight: Tensor, size: tuple[int, ...]) -> Tensor:
    # (filter, row): the weights of a filter that meet at one pixel add up, those at zero padding are not there
    pixels = _pixels(layer, size).to(weight.device)
    inside = pixels >= 0
    squares = weight.flatten(2).square().sum(1) @ inside.to(weight).t()
    ordered = pixels.sort(dim=1).values
    meeting = ((ordered.diff(dim=1) == 0) & (ordered[:, 1:] >= 0)).any(1).nonzero().flatten()
    if len(meeting):
        gram = torch.einsum("fci,fcj->fij", weight.flatten(2), weight.flatten(2)).flatten(1)
        for rows in meeting.split(_ROWS):
            at = pixels[rows]
            same = (at[:, :, None] == at[:, None, :]) & inside[rows][:, :, None]
            squares[:, rows] = gram @ same.flatten(1).to(gram).t()
    return squares.clamp_min(0.0).sqrt()


def _pixels(layer: Convolution, size: tuple[int, ...]) -> Tensor:
    # (row, offset in the kernel): which pixel of a channel lies there, -1 for none
    numbered = torch.arange(1.0, math.prod(size) + 1.0, dtype=torch.float64).reshape(1, 1, *size)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = nn.functional.pad(numbered, layer._reversed_padding_repeated_twice, mode=mode)
    for dim, (kernel, stride, dilation) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=2
    ):
        padded = padded.unfold(dim, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    return padded.reshape(-1, math.prod(layer.kernel_size)).long() - 1


def _filters(weight: Tensor, groups: int) -> Tensor:
    if not isinstance(weight, Tensor) or weight.ndim < 2 or not weight.is_floating_point():
        got = f"{weight.dtype} of shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__
        raise ObservationError(
            f"weight: got {got}, expected a tensor of real numbers (filter, channel, *kernel) or (filter, input); pass "
            "the weight of a convolution or linear layer"
        )
    if groups < 1 or len(weight) % groups:
        raise ObservationError(
            f"groups: got {groups} for {len(weight)} filters, expected a divisor of their number; pass that of the "
            "convolution"
        )
    if why := trouble(weight):
        raise NotFiniteError(f"weight: got {why}, expected finite weights; load good weights")
    return weight.detach()


def _scaled(rows: Tensor) -> Tensor:
    # (row, column), so that the square of a row's norm neither overflows nor vanishes
    largest = rows.abs().amax(dim=1, keepdim=True)
    return rows / torch.where(largest > 0, largest, 1.0)


def _double(weight: Tensor) -> Tensor:
    # not every device has double precision
    return (weight.cpu() if weight.device.type == "mps" else weight).double()


def _fitting(direction: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        fitting = direction.detach().broadcast_to(shape)
    except RuntimeError:
        raise ObservationError(
            f"direction: got the shape {tuple(direction.shape)}, expected {shape} or what broadcasts to it, such as "
            f"{(shape[0], *[1] * (len(shape) - 1))}"
        ) from None
    if not torch.isfinite(fitting).all():
        raise ObservationError("direction: got NaN or infinity, expected finite numbers")
    return fitting
