from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from reluscope.errors import SchemaError
from reluscope.schema import SCHEMA_VERSION, validate

LABEL = {"long_name": "loss", "units": "1"}
EPOCH = {"epoch": ("epoch", [0], LABEL)}
ROOT = {
    "schema_version": SCHEMA_VERSION,
    "Conventions": "CF-1.12",
    "history": "",
    "provenance": "{}",
    "sweep_dims": '["scheduler"]',
}


def group(**changes: object) -> xr.Dataset:
    attrs = {**LABEL, **changes}
    return xr.Dataset({"loss": ("epoch", [0.5], {k: v for k, v in attrs.items() if v is not None})}, EPOCH)


def tree(data: xr.Dataset | None = None, **changes: object) -> xr.DataTree:
    attrs = {key: value for key, value in {**ROOT, **changes}.items() if value is not None}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/epoch": group() if data is None else data})


def test_a_labelled_tree_is_valid() -> None:
    validate(tree())
    validate(group())
    validate(tree(group().expand_dims("scheduler").assign_coords(scheduler=("scheduler", ["zwölf"], LABEL))))
    validate(group().assign(loss=("epoch", [np.nan], LABEL)))
    validate(xr.DataTree.from_dict({"/": xr.Dataset(attrs=ROOT), "/nothing": xr.Dataset()}))


@pytest.mark.parametrize("key", ["long_name", "units"])
@pytest.mark.parametrize("value", [None, 3, "", " "])
def test_every_variable_has_text_as_name_and_units(key: str, value: object) -> None:
    with pytest.raises(SchemaError, match=rf"'/epoch/loss' .*'{key}'"):
        validate(tree(group(**{key: value})))
    coordinate = {"epoch": ("epoch", [0], {k: v for k, v in {**LABEL, key: value}.items() if v is not None})}
    with pytest.raises(SchemaError, match=rf"'/epoch/epoch' .*'{key}'"):
        validate(tree(group().assign_coords(coordinate)))


@pytest.mark.parametrize("dim", ["site", "step", "epoch", "class", "seed", "learning_rate", "scheduler"])
def test_dims_have_labels(dim: str) -> None:
    data = group().drop_vars("epoch").rename(epoch=dim)
    with pytest.raises(SchemaError, match=rf"'/epoch': the dim '{dim}' has no labels; add the coordinate '{dim}'"):
        validate(tree(data))
    validate(tree(data.assign_coords({dim: (dim, [0], LABEL)})))


@pytest.mark.parametrize("missing", ["unit_site", "neuron"])
def test_units_are_labelled_by_site_and_neuron(missing: str) -> None:
    labels = {"unit_site": ("unit", ["relu#0"], LABEL), "neuron": ("unit", [0], LABEL)}
    data = xr.Dataset({"rate": ("unit", [0.5], LABEL)}, labels)
    validate(data)
    with pytest.raises(SchemaError, match=f"the dim 'unit' has no labels; add the coordinate '{missing}'"):
        validate(data.drop_vars(missing))
    scalar = ((), "relu#0" if missing == "unit_site" else 0, LABEL)
    with pytest.raises(SchemaError, match=f"add the coordinate '{missing}' along it"):
        validate(data.drop_vars(missing).assign_coords({missing: scalar}))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(value: float) -> None:
    with pytest.raises(SchemaError, match="'/epoch/loss' holds an infinite value"):
        validate(tree(group().assign(loss=("epoch", [value], LABEL))))


def test_an_unknown_dim_is_named() -> None:
    with pytest.raises(SchemaError, match=r"'/epoch/loss' has the dim 'layer_pair'.*sweep_dims"):
        validate(tree(group().rename(epoch="layer_pair")))
    with pytest.raises(SchemaError, match="'scheduler'"):
        validate(tree(group().expand_dims(scheduler=np.array(["one"])), sweep_dims="[]"))


def test_a_variable_does_not_share_the_name_of_a_dim() -> None:
    data = xr.Dataset({"learning_rate": ("epoch", [0.1], LABEL)}, EPOCH)
    with pytest.raises(SchemaError, match="'/epoch/learning_rate' has the name of a dim"):
        validate(tree(data))
    validate(tree(group().assign_coords(step=("epoch", [10], LABEL))))


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
    validate(tree(xr.Dataset({"loss": ("epoch", np.zeros(1, dtype), LABEL)}, EPOCH)))


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
