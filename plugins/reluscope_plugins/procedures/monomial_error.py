"""Measure how far a network of gates is from the product that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pydantic
import torch
import xarray as xr

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.monomial import Monomial

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
# stream of random draws
_INPUTS = 32


@torch.no_grad()
def monomial_error(context: Context, *, samples: Positive = 1000) -> None:
    r"""Measure the error of a network that approximates a monomial, at inputs drawn uniformly from $[-1, 1]^n$.

    Writes the group `monomial_error`: the greatest error $|N(x) - \prod_i x_i^{r_i}|$ over the inputs, the root of its
    mean square, and the number of units and of hidden layers.

    Args:
        context: The recipe's point, with the architecture `monomial`.
        samples: How many inputs.

    Raises:
        RecipeError: If the recipe has no such architecture.

    References:
        Lin, Tegmark and Rolnick 2017; Rolnick and Tegmark 2018.
    """
    choice = context.choice("architecture")
    model = context.lab.architectures[choice.name].build(**choice.parameters)
    if not isinstance(model, Monomial):
        raise RecipeError(
            f"architecture.name = {choice.name!r}: the procedure 'monomial_error' knows what 'monomial' is to be equal "
            "to; choose that"
        )
    generator = torch.Generator().manual_seed(context.seed(_INPUTS))
    x = 2 * torch.rand(samples, model.variables, generator=generator, dtype=torch.float64) - 1
    exact = (x ** torch.tensor(model.powers)).prod(1)
    error = (model(x)[:, 0] - exact).abs()
    found = {
        "greatest_error": (float(error.max()), "Greatest distance to the monomial"),
        "root_mean_squared_error": (float(error.square().mean().sqrt()), "Root mean squared distance to the monomial"),
        "unit_count": (model.neurons, "Number of hidden units"),
        "layer_count": (model.depth, "Number of hidden layers"),
    }
    context.record(
        "monomial_error",
        xr.Dataset({name: ((), value, {"long_name": text, "units": "1"}) for name, (value, text) in found.items()}),
    )
