"""Learning-rate sensitivity: how many patterns a step changes at any rate, and the transition from none to all."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reluscope.entries import metric
from reluscope_plugins.temperature.at_rate import NEEDS

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.entries import Metric
    from reluscope_plugins.temperature.step_changes import Array, Distances
    from reluscope_plugins.temperature.transition import Fit

RATES = "reluscope_plugins.temperature.step_changes:rate_changes"


@metric(dims=("learning_rate", "site"), units="1", minimum=0.0, maximum=1.0, needs=NEEDS, of=RATES)
def learning_rate_sensitivity(found: Distances) -> xr.DataArray:
    r"""Share of samples whose activation pattern a step changes, at any learning rate.

    One forward pass for each rate, shared by all metrics of this module with the same rates.

    Args:
        found: Shares of the sites.

    Returns:
        $P(D(\eta))$ of each rate and site; NaN at a rate at which the network leaves the finite numbers.

    References:
        Hartmann 2025, section 3.2.3.
    """
    import numpy as np
    import xarray as xr

    values = np.stack(list(found.sites.values()), axis=1)
    return xr.DataArray(values, {**_rates(found), "site": list(found.sites)}, ("learning_rate", "site"))


@metric(dims=("learning_rate",), units="1", minimum=0.0, maximum=1.0, needs=NEEDS, of=RATES)
def mean_learning_rate_sensitivity(found: Distances) -> xr.DataArray:
    """Mean over the sites of the share of samples whose pattern a step changes, at any learning rate.

    Args:
        found: Shares of the sites.

    Returns:
        The mean at each rate; NaN where the network leaves the finite numbers.

    References:
        Hartmann 2025, section 3.2.3, figure 3.11.
    """
    import xarray as xr

    return xr.DataArray(found.mean, _rates(found), ("learning_rate",))


@metric(dims=("site",), units="1", needs=NEEDS, of=RATES)
def transition_mu(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Parameter mu of the transition model that fits the learning-rate sensitivity of a site best.

    Args:
        found: Shares of the sites.
        model: `"error_function"`, whose mu is the natural logarithm of the rate at which half the patterns change;
            `"half_error_function"` or `"arctangent"`, whose mu is a number of independent units.

    Returns:
        Site to mu, by least squares; NaN where the model cannot be fitted: fewer than two rates change some but not all
        patterns, or the shares do not rise with the rate. Rates at which the network leaves the finite numbers are left
        out.

    References:
        Hartmann 2025, section 3.2.3, eq. 3.17, 3.40, 3.41.
    """
    return _of_sites(found, model, "mu")


@metric(dims=("site",), units="1", minimum=0.0, needs=NEEDS, of=RATES)
def transition_sigma(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Parameter sigma of the transition model that fits the learning-rate sensitivity of a site best.

    Args:
        found: Shares of the sites.
        model: `"error_function"`, whose sigma is the width of the transition in the natural logarithm of the rate;
            `"half_error_function"` or `"arctangent"`, whose sigma is the inverse of a rate.

    Returns:
        Site to sigma; NaN where `transition_mu` is.

    References:
        Hartmann 2025, section 3.2.3, eq. 3.17, 3.40, 3.41.
    """
    return _of_sites(found, model, "sigma")


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs=NEEDS, of=RATES)
def transition_error(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Root mean square error of the transition model that fits the learning-rate sensitivity of a site best.

    Over the rates, of measured minus modelled share of changed patterns.

    Args:
        found: Shares of the sites.
        model: The transition model.

    Returns:
        Site to the error, a probability; NaN where `transition_mu` is.

    References:
        Hartmann 2025, section 3.2.3, figures 3.12 to 3.14.
    """
    return _of_sites(found, model, "rmse")


@metric(dims=(), units="1", needs=NEEDS, of=RATES)
def mean_transition_mu(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Parameter mu of the transition model that fits the mean learning-rate sensitivity best.

    Args:
        found: Shares of the sites.
        model: The transition model, as `transition_mu` has it.

    Returns:
        mu; NaN where the model cannot be fitted to the mean, as `transition_mu` has it.

    References:
        Hartmann 2025, section 3.2.3, figure 3.12.
    """
    return _of_mean(found, model, "mu")


@metric(dims=(), units="1", minimum=0.0, needs=NEEDS, of=RATES)
def mean_transition_sigma(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Parameter sigma of the transition model that fits the mean learning-rate sensitivity best.

    Args:
        found: Shares of the sites.
        model: The transition model, as `transition_sigma` has it.

    Returns:
        sigma; NaN where the model cannot be fitted to the mean, as `transition_mu` has it.

    References:
        Hartmann 2025, section 3.2.3, figure 3.12.
    """
    return _of_mean(found, model, "sigma")


@metric(dims=(), units="1", minimum=0.0, maximum=1.0, needs=NEEDS, of=RATES)
def mean_transition_error(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Root mean square error of the transition model that fits the mean learning-rate sensitivity best.

    Over the rates, of measured minus modelled share of changed patterns.

    Args:
        found: Shares of the sites.
        model: The transition model.

    Returns:
        The error, a probability; NaN where `mean_transition_mu` is.

    References:
        Hartmann 2025, section 3.2.3, figures 3.12 to 3.14.
    """
    return _of_mean(found, model, "rmse")


@metric(dims=("learning_rate",), units="1", minimum=-1.0, maximum=1.0, needs=NEEDS, of=RATES)
def mean_transition_residual(found: Distances, *, model: str = "error_function") -> xr.DataArray:
    """Residual of the transition model that fits the mean learning-rate sensitivity best, at each learning rate.

    Args:
        found: Shares of the sites.
        model: The transition model.

    Returns:
        Measured minus modelled share of changed patterns; NaN where `mean_transition_mu` or the measurement is.

    References:
        Hartmann 2025, section 3.2.3, figures 3.12 to 3.14.
    """
    import numpy as np
    import xarray as xr

    values = np.full(len(found.rates), np.nan)
    fitted = fit_transition(found.rates, found.mean, model)
    if fitted is not None:
        values[~np.isnan(found.mean)] = fitted.residuals
    return xr.DataArray(values, _rates(found), ("learning_rate",))


def with_model(entry: Metric, model: str) -> Metric:
    """Give a metric of one transition model a name of its own, so that a recipe may have it beside the default's.

    Args:
        entry: A metric with the parameter `model`, whose name holds `transition`.
        model: The transition model.

    Returns:
        The entry: `mean_transition_mu` of `"arctangent"` is called `mean_arctangent_mu`.
    """
    # not bind, which would import torch to look at the parameters
    return dataclasses.replace(
        entry,
        name=entry.name.replace("transition", model),
        summary=entry.summary.replace("transition model", f"{model.replace('_', ' ')}").rstrip("."),
        params=MappingProxyType({"model": model}),
    )


COMPARED = tuple(
    with_model(entry, model)
    for model in ("half_error_function", "arctangent")
    for entry in (mean_transition_mu, mean_transition_sigma, mean_transition_error, mean_transition_residual)
)
"""The metrics of the mean for the two other models, to be measured beside the first's (figures 3.13 and 3.14)."""


def fit_transition(rates: Array, shares: Array, model: str) -> Fit[Any] | None:
    """Fit a transition model to the shares that are known.

    Args:
        rates: Learning rates `(rate,)`.
        shares: Shares of changed patterns `(rate,)`, NaN where not known.
        model: Name of the transition model.

    Returns:
        The fit, with the residuals of the known shares; None where they do not determine the model.

    Raises:
        ObservationError: If there is no such model.
    """
    from reluscope.errors import ObservationError, nearest
    from reluscope_plugins.temperature.transition import MODELS

    if model not in MODELS:
        raise ObservationError(f"model is {model!r}. {nearest(model, MODELS)}")
    return _fitted(rates.tobytes(), shares.tobytes(), model)


# Three metrics read one fit.
@lru_cache(maxsize=512)
def _fitted(rates: bytes, shares: bytes, model: str) -> Fit[Any] | None:
    import numpy as np

    from reluscope.errors import ObservationError
    from reluscope_plugins.temperature.transition import MODELS, fit

    x, y = np.frombuffer(rates), np.frombuffer(shares)
    known = ~np.isnan(y)
    try:
        return fit(MODELS[model], x[known], y[known])
    except ObservationError:
        return None


def _of_sites(found: Distances, model: str, what: str) -> xr.DataArray:
    import numpy as np
    import xarray as xr

    values = [_read(fit_transition(found.rates, shares, model), what) for shares in found.sites.values()]
    return xr.DataArray(np.array(values), {"site": list(found.sites)}, ("site",))


def _of_mean(found: Distances, model: str, what: str) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(_read(fit_transition(found.rates, found.mean, model), what))


def _read(fitted: Fit[Any] | None, what: str) -> float:
    if fitted is None:
        return float("nan")
    return float(fitted.rmse if what == "rmse" else getattr(fitted.model, what))


def _rates(found: Distances) -> dict[str, Any]:
    about = {"long_name": "Learning rate of the step that is looked at", "units": "1"}
    return {"learning_rate": ("learning_rate", found.rates, about)}
