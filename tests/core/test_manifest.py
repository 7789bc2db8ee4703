from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reluscope import manifest
from reluscope.errors import ArchiveError

LABEL = {"long_name": "loss", "units": "1"}


def tree() -> xr.DataTree:
    data = xr.Dataset(
        {
            "loss": (("epoch", "site"), np.arange(6.0).reshape(2, 3), LABEL),
            "dead": ("site", [True, False, True], LABEL),
            "word": ("site", ["a", "é", ""], LABEL),
        },
        {"epoch": [0, 1], "site": np.array(["x", "y", "z"])},
        {"note": "é"},
    )
    found = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"history": "h"}), "/epoch": data})
    found.attrs["manifest"] = json.dumps(manifest.sums(found))
    return found


def changed(change: object) -> list[str]:
    other = tree().copy(deep=True)
    change(other)  # type: ignore[operator]
    return manifest.mismatches(other)


def test_an_untouched_tree_matches() -> None:
    assert manifest.mismatches(tree()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t["/epoch/loss"].values.__setitem__((0, 0), 1e-300), ["/epoch/loss"]),
        (lambda t: t["/epoch/loss"].values.__setitem__((0, 0), -0.0), ["/epoch/loss"]),
        (lambda t: t["/epoch/dead"].values.__setitem__(0, False), ["/epoch/dead"]),
        (lambda t: t["/epoch/word"].values.__setitem__(1, "e"), ["/epoch/word"]),
        (lambda t: t["/epoch/word"].attrs.update(units="m"), ["/epoch/word"]),
        (lambda t: t["/epoch/site"].attrs.update(units="m"), ["/epoch/site"]),
        (lambda t: t["/epoch"].attrs.update(note="e"), ["/epoch/"]),
        (lambda t: t.attrs.update(history="g"), ["/"]),
        (lambda t: t["/epoch"].update({"more": xr.Variable((), 1.0, LABEL)}), ["/epoch/more"]),
        (lambda t: t["/epoch"].__delitem__("dead"), ["/epoch/dead"]),
    ],
)
def test_every_change_shows(change: object, expected: list[str]) -> None:
    assert changed(change) == expected


def test_role_dims_and_dtype_count() -> None:
    base = xr.Dataset({"a": ("site", [1, 2])})
    others = [
        base.set_coords("a"),
        base.rename(site="unit"),
        base.astype(np.int32),
        xr.Dataset({"a": (("site", "unit"), [[1, 2]])}),
    ]
    sums = [manifest.sums(xr.DataTree(data))["/a"] for data in [base, *others]]
    assert len(set(sums)) == len(sums)


def test_text_is_not_run_together() -> None:
    trees = [xr.DataTree(xr.Dataset({"a": ("site", words)})) for words in (["ab", "c"], ["a", "bc"])]
    a, b = (manifest.sums(tree)["/a"] for tree in trees)
    assert a != b


@given(hnp.arrays(st.sampled_from(["<f8", "<f4", "<i8", "?"]), hnp.array_shapes(max_dims=2)))
def test_the_sum_is_over_little_endian_c_order_bytes(values: np.ndarray) -> None:
    dims = ["site", "unit"][: values.ndim]
    head = json.dumps(["variable", values.dtype.str, dims, list(values.shape)]).encode()
    expected = hashlib.sha256(head + b"{}" + values.tobytes("C")).hexdigest()
    big = np.asfortranarray(values.astype(values.dtype.newbyteorder(">")))
    for same in (values, big):
        assert manifest.sums(xr.DataTree(xr.Dataset({"a": (dims, same)})))["/a"] == expected


@pytest.mark.parametrize("value", [None, 3, "no json", "[]", '{"/": 3}', "[" * 100_000])
def test_a_hostile_manifest(value: object) -> None:
    broken = tree()
    if value is None:
        del broken.attrs["manifest"]
    else:
        broken.attrs["manifest"] = value
    with pytest.raises(ArchiveError, match="no manifest that can be read"):
        manifest.mismatches(broken)
