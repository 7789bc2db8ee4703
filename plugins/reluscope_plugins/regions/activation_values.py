"""What a network's activations give, after their sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope.layout import rows
from reluscope.observation import Observation
from reluscope.recorder import Recorder

_JUMPS = ("hardshrink", "threshold")


def activations(network: nn.Module, inputs: torch.Tensor, observation: Observation) -> dict[str, torch.Tensor]:
    """Return what each activation gives.

    Args:
        network: The network.
        inputs: A batch, `(sample, feature...)`.
        observation: Of the network there.

    Returns:
        Of each site `(sample, unit at all positions)`, in the order of the pre-activation's rows.

    Raises:
        ObservationError: If an activation may jump.

    Example:
        >>> from reluscope.observation import observe
        >>> model, x = nn.Sequential(nn.Hardtanh(), nn.Linear(3, 1)), torch.tensor([[-2.0, 0.5, 3.0]])
        >>> activations(model, x, observe(model, x))
        {'0#0': tensor([[-1.0000,  0.5000,  1.0000]])}
    """
    kinds = {site: observation.site[site].activation for site in observation.sites}
    for site, kind in kinds.items():
        if kind in _JUMPS:
            raise ObservationError(
                f"site {site!r} is {kind}, expected an activation that is continuous whatever its parameters; use "
                "relu, or another one that does not jump"
            )
    if set(kinds.values()) <= {"relu"}:
        return {
            site: torch.relu(observation.preactivation[site]).reshape(observation.samples, -1)
            for site in observation.sites
        }
    listener = _Listener()
    with torch.no_grad(), listener.listening(network):
        network(inputs)
    return {site: values.reshape(observation.samples, -1) for site, values in listener.given.items()}


class _Listener(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, torch.Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        before = len(self.captures)
        result = super().__torch_function__(func, types, args, dict(kwargs or {}))
        for capture in self.captures[before:]:
            if capture.pool is None:
                # a copy, as what comes later may overwrite it
                self.given[capture.name] = rows(result.detach().clone(), capture.channel)
        return result
