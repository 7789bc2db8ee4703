"""The verifier refutes the count of cells of three filters once it is another."""

from __future__ import annotations

import math
from typing import Any

CODE = "reluscope_catalog.claims.hartmann_plane_cells:"


def one_less(units: int) -> int:
    return units + math.comb(units, 2)


def all_signs(units: int) -> int:
    return int(2**units)


def always_general(weight: Any, bias: Any) -> bool:
    return True


MUTANTS: dict[str, list[Any]] = {
    "three_filters_in_the_plane": [
        {f"{CODE}plane_cells": one_less},
        {f"{CODE}plane_cells": all_signs},
        {f"{CODE}general": always_general},
    ]
}
