"""The cosine of every row of every unrolled layer of a network, in one call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reluscope.errors import ObservationError
from reluscope.inputs import Arguments, Input, unwrap
from reluscope.preserve import preserved
from reluscope_plugins.arrangements.cosines import Convolution, row_cosines
from reluscope_plugins.arrangements.layer_inputs import visited_inputs


def network_row_cosines(model: nn.Module, x: Input) -> dict[str, Tensor]:
    """Look how the rows of each convolution and linear layer lie to the identity line of its whole input.

    One forward pass in evaluation mode tells the size of what each convolution is given; `row_cosines` does the rest.
    The model is left as found.

    Args:
        model: Any network.
        x: A batch; one sample is enough.

    Returns:
        Name of the weight to `(filter, *position)` in double precision, in the order of the calls; `(filter,)` of a
        linear layer; NaN for a row that is zero. A layer that is not called is not there.

    Raises:
        ObservationError: If a convolution is called with images of two sizes.
        NotFiniteError: If a weight holds NaN or infinity.

    References:
        Gamba et al. 2020, section 2 and eq. 1.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 5))
        >>> found = network_row_cosines(model, torch.zeros(1, 1, 4, 4))
        >>> {name: tuple(cosines.shape) for name, cosines in found.items()}
        {'0.weight': (2, 4, 4), '2.weight': (5,)}
    """
    network = unwrap(model)
    layers: dict[str, Convolution | nn.Linear] = {}
    sizes: dict[str, tuple[int, ...]] = {}

    def note(name: str, layer: Convolution | nn.Linear, given: Tensor) -> None:
        size = tuple(given.shape[2:])
        layers[name] = layer
        if sizes.setdefault(name, size) != size:
            raise ObservationError(
                f"layer {name!r} is called with images of {sizes[name]} and of {size}, expected one size; call "
                "row_cosines with the layer and each of them"
            )

    with preserved(network, training=False), torch.no_grad():
        with visited_inputs(network, note):
            arguments = Arguments.of(x)
            network(*arguments.args, **arguments.kwargs)
        return {name: row_cosines(layer, sizes[name]) for name, layer in layers.items()}
