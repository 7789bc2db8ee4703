"""Variables of a data set, each with its long name."""

from __future__ import annotations

from collections.abc import Mapping

Labelled = dict[str, tuple[object, object, dict[str, str]]]


def labelled(variables: Mapping[str, tuple[object, object, str]]) -> Labelled:
    """Give each variable the attributes that the schema demands.

    Args:
        variables: Name to dims, values and long name; pure numbers.

    Returns:
        Name to dims, values and attributes.

    Example:
        >>> labelled({"radius": ("region", [1.0], "Radius")})
        {'radius': ('region', [1.0], {'long_name': 'Radius', 'units': '1'})}
    """
    return {name: (dims, values, {"long_name": text, "units": "1"}) for name, (dims, values, text) in variables.items()}
