from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from reluscope.errors import SchemaError
from reluscope.schema import SCHEMA_VERSION, validate

LABEL = {"long_name": "loss", "units": "1"}
ROOT = {
    "schema_version": SCHEMA_VERSION,
    "Conventions": "CF-1.12",
    "history": "",
    "provenance": "{}",
    "sweep_dims": '["scheduler"]',
}


def group(**changes: object) -> xr.Dataset:
    attrs = {**LABEL, **changes}
    return xr.Dataset({"loss": ("epoch", [0.5], {k: v for k, v in attrs.items() if v is not None})}, {"epoch": [0]})


def tree(data: xr.Dataset | None = None, **changes: object) -> xr.DataTree:
    attrs = {key: value for key, value in {**ROOT, **changes}.items() if value is not None}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/epoch": group() if data is None else data})


def test_a_labelled_tree_is_valid() -> None:
    validate(tree())
    validate(group())
    validate(tree(group().expand_dims("scheduler").assign_coords(scheduler=np.array(["zwölf"]))))
    validate(xr.DataTree.from_dict({"/": xr.Dataset(attrs=ROOT), "/nothing": xr.Dataset()}))


@pytest.mark.parametrize("key", ["long_name", "units"])
@pytest.mark.parametrize("value", [None, 3, ""])
def test_every_variable_has_text_as_name_and_units(key: str, value: object) -> None:
    with pytest.raises(SchemaError, match=rf"'/epoch/loss' .*'{key}'"):
        validate(tree(group(**{key: value})))


def test_an_unknown_dim_is_named() -> None:
    with pytest.raises(SchemaError, match=r"'/epoch/loss' has the dim 'layer_pair'.*sweep_dims"):
        validate(tree(group().rename(epoch="layer_pair")))
    with pytest.raises(SchemaError, match="'scheduler'"):
        validate(tree(group().expand_dims(scheduler=np.array(["one"])), sweep_dims="[]"))


def test_a_variable_does_not_share_the_name_of_a_dim() -> None:
    data = xr.Dataset({"learning_rate": ("epoch", [0.1], LABEL)}, {"epoch": [0]})
    with pytest.raises(SchemaError, match="'/epoch/learning_rate' has the name of a dim"):
        validate(tree(data))
    validate(tree(group().assign_coords(step=("epoch", [10]))))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1 + 1j]),
        np.array([object()]),
        np.array(["2020-01-01"], "datetime64[ns]"),
        np.array([1.0], np.float16),
        np.array([b"bytes"]),
    ],
)
def test_other_dtypes_are_refused(values: np.ndarray) -> None:
    with pytest.raises(SchemaError, match="'/epoch/loss' has the dtype"):
        validate(tree(xr.Dataset({"loss": ("epoch", values, LABEL)})))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i8", "u1", "u8", "?", "U3"])
def test_numbers_bools_and_text_are_taken(dtype: str) -> None:
    validate(tree(xr.Dataset({"loss": ("epoch", np.zeros(1, dtype), LABEL)})))


@pytest.mark.parametrize("missing", ["schema_version", "Conventions", "history", "provenance"])
def test_the_root_says_what_it_is(missing: str) -> None:
    with pytest.raises(SchemaError, match=missing):
        validate(tree(**{missing: None}))


@pytest.mark.parametrize("name", ["provenance", "sweep_dims"])
@pytest.mark.parametrize("value", ["no json", "[" * 100_000, "3", 3, "null", np.array([1, 2])])
def test_hostile_root_attributes(name: str, value: object) -> None:
    with pytest.raises(SchemaError, match=name):
        validate(tree(**{name: value}))


def test_newer_schema_says_to_upgrade() -> None:
    with pytest.raises(SchemaError, match="upgrade"):
        validate(tree(schema_version=SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", ["1", 1.0, 0, True, np.array([1, 2])])
def test_wrong_schema_version(version: object) -> None:
    with pytest.raises(SchemaError, match="schema_version"):
        validate(tree(schema_version=version))


@pytest.mark.parametrize("attrs", [{"a": None}, {"a": []}, {"a": True}, {"coordinates": "x"}, {"a": "\ud800"}, {"": 1}])
def test_attributes_that_netcdf_cannot_keep(attrs: dict[str, object]) -> None:
    with pytest.raises(SchemaError, match="attribute"):
        validate(tree(group(**attrs) if attrs.get("a", 1) is not None else group().assign_attrs(attrs)))


def test_a_name_with_a_slash() -> None:
    with pytest.raises(SchemaError, match="printable"):
        validate(group().rename(loss="a/b"))
