"""The verdicts on claims in an archive, as a table for the page, whoever wrote them."""

from __future__ import annotations

import base64

import xarray as xr

from reluscope.verdicts import GROUP

MAX_PICTURE_BYTES = 200_000
"""A larger picture is not drawn."""

_TEXTS = (
    "verdict recorded kind cases counterexample statement source assumption amends null test problem picture".split()
)


def rows(tree: xr.DataTree) -> list[dict[str, str]]:
    """Read the verdicts.

    Args:
        tree: The archive.

    Returns:
        One for each claim, in the order of the archive: its fields as text; `picture`, the counterexample's SVG as a
        data URL, which runs no scripts and reaches nothing, or empty. An archive without verdicts has none.
    """
    data = tree[GROUP].to_dataset() if GROUP in tree.children else xr.Dataset()
    if "claim" not in data.dims or "verdict" not in data:
        return []
    found = []
    for place, name in enumerate(data["claim"].values.tolist()):
        row = {"claim": str(name)} | {key: _text(data, key, place) for key in _TEXTS}
        row["numbers"] = _numbers(data, place)
        picture = row["picture"].encode("utf-8", "replace")
        drawable = 0 < len(picture) <= MAX_PICTURE_BYTES
        row["picture"] = f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}" if drawable else ""
        found.append(row)
    return found


def _text(data: xr.Dataset, key: str, place: int) -> str:
    return str(data[key].values[place]) if key in data and data[key].dims == ("claim",) else ""


def _numbers(data: xr.Dataset, place: int) -> str:
    words = {
        "error_probability": "error probability {:.1g}",
        "power": "power {:.3g}",
        "observations": "{:.0f} observations",
    }
    numbers = {
        key: float(data[key].values[place])
        for key in words
        if key in data and data[key].dims == ("claim",) and data[key].dtype.kind in "iuf"
    }
    return ", ".join(words[key].format(number) for key, number in numbers.items() if number > 0)
