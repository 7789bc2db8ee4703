"""What is kept of each layer's filters: the state that the metrics of projections share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope.errors import ObservationError
from reluscope.inputs import Arguments
from reluscope.preserve import preserved
from reluscope_plugins.arrangements.cosines import Convolution, products_and_norms
from reluscope_plugins.arrangements.layer_inputs import filter_layers, visited_inputs
from reluscope_plugins.geometry.layer_matrices import layer_matrices

if TYPE_CHECKING:
    from reluscope.observation import Observation

Array = np.ndarray[Any, np.dtype[Any]]
State = dict[str, dict[str, Any]]
DIRECTIONS = ("ones", "mean_input")
SPACES = ("kernel", "input")


class Projections(NamedTuple):
    """Cosines of each layer's filters.

    Attributes:
        skipped: Layer to why it has no matrix, empty where it has one.
        cosines: Layer to `(filter,)` in double precision, of convolutions and linear layers; NaN for a zero filter.
        inputs: Layer to the number of a filter's weights.
        scale: Layer to what the cosines within the kernel were multiplied by.
    """

    skipped: Mapping[str, str]
    cosines: Mapping[str, Array]
    inputs: Mapping[str, int]
    scale: Mapping[str, float]

    def labelled(self, values: Mapping[str, Any], *dims: str) -> xr.DataArray:
        """Label what was found of each layer.

        Args:
            values: Layer to values of one shape `dims`; missing ones become NaN, shorter ones are filled up with it.
            *dims: Dims behind `layer`.

        Returns:
            `(layer, *dims)`, with the coordinate `skipped(layer)`.
        """
        blocks = {layer: np.asarray(value, dtype=np.float64) for layer, value in values.items()}
        least = {"bound": 2}
        sizes = [
            max((block.shape[axis] for block in blocks.values()), default=least.get(dim, 0))
            for axis, dim in enumerate(dims)
        ]
        array = np.full((len(self.skipped), *sizes), np.nan)
        for row, layer in enumerate(self.skipped):
            if layer in blocks:
                within: tuple[Any, ...] = (row, *map(slice, blocks[layer].shape))
                array[within] = blocks[layer]
        labels: dict[str, Any] = {
            "layer": np.array(list(self.skipped), dtype=np.str_),
            "skipped": ("layer", np.array(list(self.skipped.values()), dtype=np.str_)),
        }
        if "filter" in dims:
            labels["filter"] = np.arange(sizes[dims.index("filter")])
        return xr.DataArray(array, dims=("layer", *dims), coords=labels)


class projections:
    """Cosines between filters and a direction.

    Args:
        direction: `"ones"`: the identity line; `"mean_input"`: the mean of what a layer is given, over samples and,
            of a convolution, over the positions of the kernel, zero padding included.
        space: `"kernel"`: the cosine within the kernel; `"input"`: with the vector of ones in the whole input of a
            layer, as the source has it; for `"ones"` alone.
    """

    def __init__(
        self,
        *,
        direction: Literal["ones", "mean_input"] = "ones",
        space: Literal["kernel", "input"] = "kernel",
    ) -> None:
        for what, value, known in (("direction", direction, DIRECTIONS), ("space", space, SPACES)):
            if value not in known:
                raise ObservationError(f"{what}: got {value!r}, expected {' or '.join(map(repr, known))}")
        if direction == "mean_input" and space == "input":
            raise ObservationError(
                "space: got 'input' with direction='mean_input', which has a mean within the kernel alone; leave it out"
            )
        self.direction, self.space = direction, space

    def measure(self, observation: Observation) -> State:
        """Measure the weights; with the mean input, or in its space, also what layers are given in one more pass.

        Args:
            observation: One batch.

        Returns:
            The state.
        """
        model = observation.model
        if self.direction == "ones" and self.space == "kernel":
            return of_weights(model)
        sums: dict[str, Tensor] = {}
        sizes: dict[str, int] = {}

        def add(name: str, layer: Convolution | nn.Linear, given: Tensor) -> None:
            sums[name] = sums.get(name, 0.0) + _kernel_sums(layer, given)

        def note(name: str, layer: Convolution | nn.Linear, given: Tensor) -> None:
            size = math.prod(given.shape[1:])
            if sizes.setdefault(name, size) != size:
                raise ObservationError(
                    f"layer {name!r} is called with inputs of {sizes[name]} and of {size} numbers, expected one size "
                    "for space='input'; leave it out"
                )

        with preserved(model), torch.no_grad(), visited_inputs(model, note if self.direction == "ones" else add):
            arguments = Arguments.of(observation.input)
            model(*arguments.args, **arguments.kwargs)
        if self.direction == "mean_input":
            return of_weights(model, sums)
        state = of_weights(model)
        state["scale"] = {
            layer: math.sqrt(state["inputs"][layer] / size) for layer, size in sizes.items() if layer in state["inputs"]
        }
        return state

    def update(self, state: State, observation: Observation) -> None:
        """Add a batch, where it matters.

        Args:
            state: The state; changed in place.
            observation: Another batch.
        """
        if self.direction == "mean_input" or self.space == "input":
            state.update(self.merge(state, self.measure(observation)))

    def merge(self, first: State, second: State) -> State:
        """Merge two states of the same weights.

        Args:
            first: A state.
            second: A state.

        Returns:
            The state of both.

        Raises:
            ObservationError: If they are of different weights.
        """
        same = first["skipped"] == second["skipped"] and all(
            np.array_equal(first["norms"][layer], norms) for layer, norms in second["norms"].items()
        )
        if not same or (self.direction == "ones" and first["scale"] != second["scale"]):
            raise ObservationError(
                "the layers are not the same in two states of one moment, expected the same weights and sizes of "
                "inputs in both; measure all batches of a moment between two steps of the optimizer, and with "
                "space='input' images of one size"
            )
        if self.direction == "ones":
            return first
        merged = dict(first)
        for key in ("products", "direction"):
            names = [*first[key], *(name for name in second[key] if name not in first[key])]
            merged[key] = {name: first[key].get(name, 0.0) + second[key].get(name, 0.0) for name in names}
        return merged

    def finish(self, state: State) -> Projections:
        """Divide by the norms.

        Args:
            state: The state.

        Returns:
            The cosines.
        """
        cosines = {}
        for layer, products in state["products"].items():
            norms = state["norms"][layer]
            parts = state["direction"][layer]
            lengths = np.repeat(np.sqrt((parts**2).sum(axis=1)), len(norms) // len(parts))
            scale = state["scale"].get(layer, 1.0) if self.space == "input" else 1.0
            with np.errstate(invalid="ignore", divide="ignore"):
                found = scale * products / (norms * lengths)
            cosines[layer] = np.where(np.isfinite(found), found, np.nan).clip(-1.0, 1.0)
        scales = state["scale"] if self.space == "input" else dict.fromkeys(cosines, 1.0)
        cosines = {layer: found for layer, found in cosines.items() if layer in scales}
        return Projections(state["skipped"], cosines, state["inputs"], scales)


def of_weights(model: nn.Module, directions: Mapping[str, Tensor] | None = None) -> State:
    """Look at the filters of each convolution and linear layer; the model is left as found.

    Args:
        model: The network.
        directions: Layer to `(group, input)`; layers that are missing are left out. None takes the identity line.

    Returns:
        The state of `projections`.

    Example:
        >>> state = of_weights(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2)))
        >>> list(state["skipped"]), state["inputs"]
        (['0.weight', '2.weight'], {'0.weight': 3})
    """
    state: State = {"skipped": {}, "products": {}, "norms": {}, "inputs": {}, "direction": {}, "scale": {}}
    eligible = filter_layers(model)
    for layer, matrix, skipped in layer_matrices(model):
        state["skipped"][layer] = skipped
        if matrix is None or layer not in eligible or (directions is not None and layer not in directions):
            continue
        ones = torch.ones(len(matrix), matrix.shape[2], dtype=torch.float64, device=matrix.device)
        direction = ones if directions is None else directions[layer].to(matrix.device)
        products, norms = products_and_norms(matrix, direction)
        state["products"][layer], state["norms"][layer] = products.cpu().numpy(), norms.cpu().numpy()
        state["inputs"][layer] = matrix.shape[2]
        state["direction"][layer] = direction.cpu().numpy()
    return state


def _kernel_sums(layer: Convolution | nn.Linear, inputs: Tensor) -> Tensor:
    # (group, input): over samples and positions, what lies at each place of the kernel
    if isinstance(layer, nn.Linear):
        return inputs.sum(0, dtype=torch.float64).unsqueeze(0)
    image = inputs.sum(0, dtype=torch.float64).unsqueeze(0)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = nn.functional.pad(image, layer._reversed_padding_repeated_twice, mode=mode)[0]
    sizes = list(zip(padded.shape[1:], layer.kernel_size, layer.stride, layer.dilation, strict=True))
    columns = []
    for offsets in itertools.product(*map(range, layer.kernel_size)):
        places = [
            slice(dilation * offset, dilation * offset + size - dilation * (kernel - 1), stride)
            for offset, (size, kernel, stride, dilation) in zip(offsets, sizes, strict=True)
        ]
        columns.append(padded[(slice(None), *places)].flatten(1).sum(1))
    return torch.stack(columns, dim=1).reshape(layer.groups, -1)
