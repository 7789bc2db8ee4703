"""Which activation sites say how far the step of a parameter group goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reluscope.inputs import unwrap

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


Tracks = Callable[[Mapping[str, str]], list[list[str]]]
"""From sites, and the modules that they come after, to those of each track: of all rates, or of each group's rate."""


def sites_of_groups(optimizer: Optimizer, model: nn.Module, after: Mapping[str, str]) -> list[list[str]]:
    """Part the sites by the parameter group that the module before them belongs to.

    Args:
        optimizer: Its parameter groups.
        model: The network, wrapped or not.
        after: From sites to the modules that they come after, as `reluscope.Site.after` names them.

    Returns:
        Sites of each group; those after a module without parameters of the optimizer are left out.
    """
    group_of = {
        id(parameter): number for number, group in enumerate(optimizer.param_groups) for parameter in group["params"]
    }
    modules = dict(unwrap(model).named_modules())
    sites: list[list[str]] = [[] for _ in optimizer.param_groups]
    for name, path in after.items():
        own = modules[path].parameters(recurse=False)
        owners = [group_of[id(parameter)] for parameter in own if id(parameter) in group_of]
        if owners:
            sites[owners[0]].append(name)
    return sites
