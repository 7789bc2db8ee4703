"""What is kept of each layer's weight: the states that the metrics of weights share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from reluscope.errors import ObservationError
from reluscope_plugins.geometry.layer_matrices import layer_matrices

if TYPE_CHECKING:
    from reluscope.observation import Observation

State = dict[str, dict[str, Any]]
Array = np.ndarray[Any, np.dtype[Any]]


class Layers(NamedTuple):
    """What was found of each layer.

    Attributes:
        skipped: Layer to why it was skipped, empty where it was not.
        values: Layer to what was found, for those that were not skipped.
        rounding: Layer to NumPy's tolerance of its rank, relative to its greatest singular value.
    """

    skipped: Mapping[str, str]
    values: Mapping[str, Any]
    rounding: Mapping[str, float]

    def labelled(self, reduce: Callable[[str], float]) -> xr.DataArray:
        """Label one number for each layer.

        Args:
            reduce: From the name of a layer that was not skipped to its number.

        Returns:
            `(layer,)`, with the coordinate `skipped(layer)`; NaN where a layer was skipped.
        """
        return xr.DataArray(
            [np.nan if why else float(reduce(layer)) for layer, why in self.skipped.items()],
            dims="layer",
            coords={
                "layer": np.array(list(self.skipped), dtype=np.str_),
                "skipped": ("layer", np.array(list(self.skipped.values()), dtype=np.str_)),
            },
        )


class _LayerState:
    # Weights do not depend on the batch: what further batches bring is the same again.

    def _kept(self, matrix: Tensor) -> Array:
        raise NotImplementedError

    def _same(self, first: Array, second: Array) -> bool:
        raise NotImplementedError

    def measure(self, observation: Observation) -> State:
        """Measure the weights, whatever the batch.

        Args:
            observation: One batch.

        Returns:
            The state.
        """
        found = layer_matrices(observation.model)
        return {
            "skipped": {each.layer: each.skipped for each in found},
            "values": {each.layer: self._kept(each.matrix) for each in found if each.matrix is not None},
            "rounding": {
                each.layer: max(
                    each.matrix.shape[0] * each.matrix.shape[1], each.matrix.shape[0] * each.matrix.shape[2]
                )
                * torch.finfo(each.matrix.dtype).eps
                for each in found
                if each.matrix is not None
            },
        }

    def update(self, state: State, observation: Observation) -> None:
        """Look at no further batch.

        Args:
            state: The state.
            observation: Another batch.
        """

    def merge(self, first: State, second: State) -> State:
        """Merge two states of the same weights.

        Args:
            first: A state.
            second: A state.

        Returns:
            The one and the other.

        Raises:
            ObservationError: If they are of different weights.
        """
        changed = [name for name in first["skipped"] if first["skipped"][name] != second["skipped"].get(name)]
        changed += [name for name in second["skipped"] if name not in first["skipped"]]
        changed += [
            name
            for name, kept in first["values"].items()
            if name not in changed and not self._same(kept, second["values"][name])
        ]
        if changed:
            raise ObservationError(
                f"layer {changed[0]!r} is not the same in two states of one moment, expected the same weights in both; "
                "measure all batches of a moment between two steps of the optimizer"
            )
        return first

    def finish(self, state: State) -> Layers:
        """Hand over what was found.

        Args:
            state: The state.

        Returns:
            The layers.
        """
        return Layers(state["skipped"], state["values"], state["rounding"])


class layer_weights(_LayerState):
    """The weights themselves, in their own precision: as much memory as the network's."""

    def _kept(self, matrix: Tensor) -> Array:
        if matrix.dtype in (torch.float16, torch.bfloat16):
            matrix = matrix.float()
        kept: Array = matrix.cpu().numpy().copy()
        return kept

    def _same(self, first: Array, second: Array) -> bool:
        return np.array_equal(first, second)


class layer_singular_values(_LayerState):
    """The singular values of the weights, in double precision."""

    def _kept(self, matrix: Tensor) -> Array:
        # not every device has double precision
        matrix = (matrix.cpu() if matrix.device.type == "mps" else matrix).double()
        values: Array = torch.linalg.svdvals(matrix).flatten().sort(descending=True).values.cpu().numpy()
        return values

    def _same(self, first: Array, second: Array) -> bool:
        # another device or number of threads may round otherwise
        return first.shape == second.shape and np.allclose(first, second, rtol=0.0, atol=1e-9 * first.max(initial=0.0))
