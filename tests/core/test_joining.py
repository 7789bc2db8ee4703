from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import SchemaError
from reluscope.joining import Increment, compact, join

LABEL = {"long_name": "loss", "units": "1"}


def record(point: dict[str, object], epochs: list[int], sites: list[str], value: float, *, count: bool) -> Increment:
    block = value + np.arange(len(epochs) * len(sites)).reshape(len(epochs), len(sites))
    variables = {"loss": (("epoch", "site"), block, LABEL)}
    if count:
        variables["count"] = ("epoch", np.arange(len(epochs)) + int(value), LABEL)
    coords = {"epoch": epochs, "site": np.array(sites), "step": ("epoch", [10 * epoch for epoch in epochs])}
    return Increment("/epoch", point, xr.Dataset(variables, coords))  # type: ignore[arg-type]


@st.composite
def runs(draw: st.DrawFn) -> list[Increment]:
    records = []
    for index in range(draw(st.integers(1, 12))):
        records.append(
            record(
                {"scheduler": draw(st.sampled_from(["one", "zwölf"])), "seed": draw(st.integers(0, 1))},
                draw(st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True)),
                draw(st.lists(st.sampled_from(["a", "b", "é#0"]), min_size=1, unique=True)),
                100.0 * index,
                count=draw(st.booleans()),
            )
        )
    return records


def same(a: list[Increment], b: list[Increment]) -> None:
    (first, dims), (second, other_dims) = join(a), join(b)
    assert dims == other_dims
    assert first.keys() == second.keys()
    for group in first:
        xr.testing.assert_identical(first[group], second[group])
        for name in first[group].variables:
            assert first[group][name].dtype == second[group][name].dtype


def reference(records: list[Increment]) -> dict[tuple[object, ...], float]:
    cells = {}
    for one in records:
        for epoch in one.data.epoch.values.tolist():
            for site in one.data.site.values.tolist():
                key = (one.point["scheduler"], one.point["seed"], epoch, site)
                cells[key] = float(one.data.loss.sel(epoch=epoch, site=site))
    return cells


@given(runs())
def test_every_cell_is_the_last_that_was_recorded(records: list[Increment]) -> None:
    data = join(records)[0]["/epoch"]
    cells = reference(records)
    assert data.loss.dims == ("scheduler", "seed", "epoch", "site")
    assert sorted(data.epoch.values.tolist()) == sorted({key[2] for key in cells})
    for key, value in np.ndenumerate(data.loss.values):
        labels = tuple(data.coords[dim].values[place].item() for dim, place in zip(data.loss.dims, key, strict=True))
        assert value == cells.get(labels) if labels in cells else np.isnan(value)


@given(runs(), st.lists(st.integers(0, 12)))
def test_splits_do_not_matter(records: list[Increment], cuts: list[int]) -> None:
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    parts = [part for a, b in itertools.pairwise(edges) for part in compact(records[a:b])]
    same(records, parts)


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(records: list[Increment], shuffle: random.Random) -> None:
    queues: dict[tuple[object, ...], list[Increment]] = {}
    for one in records:
        queues.setdefault(tuple(one.point.values()), []).append(one)
    mixed = []
    while queues:
        key = shuffle.choice(sorted(queues, key=repr))
        mixed.append(queues[key].pop(0))
        if not queues[key]:
            del queues[key]
    same(records, mixed)


def test_records_that_grow_become_one() -> None:
    records = [record({"seed": 0}, [epoch], ["a", "b"], 1.0, count=True) for epoch in range(50)]
    parts = compact(records)
    assert len(parts) == 1
    assert parts[0].data.sizes == {"epoch": 50, "site": 2}
    assert parts[0].data["count"].dtype == np.int64


def test_nothing_is_filled_in_by_compacting() -> None:
    records = [record({}, [0], ["a"], 1.0, count=True), record({}, [1], ["b"], 2.0, count=False)]
    assert compact(records) == records


def units(layout: list[tuple[str, int]], value: float) -> xr.Dataset:
    sites = [site for site, width in layout for _ in range(width)]
    neurons = [neuron for _, width in layout for neuron in range(width)]
    return xr.Dataset(
        {
            "dead": ("unit", np.full(len(sites), value > 0), LABEL),
            "rate": ("unit", value + np.arange(len(sites)), LABEL),
        },
        {"unit_site": ("unit", np.array(sites)), "neuron": ("unit", neurons)},
    )


def test_equal_layouts_are_not_promoted() -> None:
    data = join([Increment("/g", {"seed": seed}, units([("a", 2), ("b", 1)], 1.0)) for seed in (1, 0)])[0]["/g"]
    assert data.dead.dtype == bool
    assert data.dead.dims == ("seed", "unit")
    assert data.unit_site.dims == data.neuron.dims == ("unit",)
    assert data.seed.values.tolist() == [0, 1]


def test_ragged_units_are_joined_by_site_and_neuron() -> None:
    records = [
        Increment("/g", {"width": 2}, units([("a", 2), ("b", 1)], 10.0)),
        Increment("/g", {"width": 3}, units([("a", 3), ("b", 2)], 20.0)),
    ]
    for order in (records, records[::-1]):
        data = join(order)[0]["/g"]
        assert data.unit_site.values.tolist() == ["a", "a", "a", "b", "b"]
        assert data.neuron.values.tolist() == [0, 1, 2, 0, 1]
        np.testing.assert_array_equal(data.rate, [[10, 11, np.nan, 12, np.nan], [20, 21, 22, 23, 24]])
        assert data.dead.dtype == np.float64
        assert data.neuron.dtype == np.int64


def test_ragged_sites_keep_their_coordinates() -> None:
    def sites(names: list[str]) -> xr.Dataset:
        return xr.Dataset(
            {"rank": ("site", np.arange(float(len(names))), LABEL)},
            {
                "site": np.array(names),
                "activation": ("site", np.array(["relu"] * len(names))),
                "smooth": ("site", np.zeros(len(names), bool)),
            },
        )

    data = join([Increment("/g", {"depth": 2}, sites(["x", "é"])), Increment("/g", {"depth": 1}, sites(["x"]))])[0][
        "/g"
    ]
    assert data.site.values.tolist() == ["x", "é"]
    assert data.smooth.dtype == bool
    assert data.activation.values.tolist() == ["relu", "relu"]
    np.testing.assert_array_equal(data["rank"], [[0, np.nan], [0, 1]])


def test_coordinates_that_differ_are_stacked() -> None:
    def epoch(steps: int) -> xr.Dataset:
        return xr.Dataset(
            {"loss": ("epoch", [1.0, 2.0], LABEL)}, {"epoch": [0, 1], "step": ("epoch", [steps, 2 * steps])}
        )

    data = join([Increment("/g", {"batch_size": size}, epoch(100 // size)) for size in (50, 10)])[0]["/g"]
    assert data.step.dims == ("batch_size", "epoch")
    assert data.step.values.tolist() == [[10, 20], [2, 4]]
    assert data.step.dtype == np.int64


def test_labels_of_a_sweep_may_be_of_any_plain_kind() -> None:
    def one(value: object) -> Increment:
        return Increment("/g", {"p": value}, xr.Dataset({"loss": ((), 1.0, LABEL)}))  # type: ignore[dict-item]

    assert join([one(0.5), one(2)])[0]["/g"].p.values.tolist() == [0.5, 2.0]
    assert join([one(True), one(False)])[0]["/g"].p.values.tolist() == [False, True]
    assert join([one("b"), one(10), one(2)])[0]["/g"].p.values.tolist() == ["2", "10", "b"]


def test_gaps_in_text_are_empty() -> None:
    texts = [xr.Dataset({"reason": ("epoch", np.array([word]), LABEL)}, {"epoch": [i]}) for i, word in enumerate("ab")]
    data = join([Increment("/g", {"seed": i}, text) for i, text in enumerate(texts)])[0]["/g"]
    assert data.reason.values.tolist() == [["a", ""], ["", "b"]]


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        (xr.Dataset({"x": ("sample", [1.0], LABEL)}), xr.Dataset({"x": ("sample", [1.0, 2.0], LABEL)}), "no labels"),
        (xr.Dataset({"x": ((), 1.0, LABEL)}), xr.Dataset({"x": ("epoch", [1.0], LABEL)}, {"epoch": [0]}), "the dims"),
        (xr.Dataset({"x": ((), 1.0, LABEL)}), xr.Dataset(coords={"x": 1.0}), "coordinate in some"),
        (xr.Dataset({"x": ((), 1.0, LABEL)}), xr.Dataset({"x": ((), np.array("a"), LABEL)}), "text in some"),
    ],
)
def test_what_does_not_fit_is_named(a: xr.Dataset, b: xr.Dataset, match: str) -> None:
    with pytest.raises(SchemaError, match=match):
        join([Increment("/g", {}, a), Increment("/g", {}, b)])
    with pytest.raises(SchemaError, match="same keys"):
        join([Increment("/g", {}, a), Increment("/g", {"seed": 0}, a)])


def grown(name: str, step: int, value: float = 0.0, **attrs: str) -> Increment:
    data = xr.Dataset({name: ("step", [value], {**LABEL, **attrs})}, {"step": [step]})
    return Increment("/g", {}, data)


def test_records_in_turn_are_joined_each_with_its_like() -> None:
    records = [grown(name, step, step) for step in range(5) for name in ("a", "b")]
    compacted = compact(records)
    assert [list(record.data.data_vars) for record in compacted] == [["a"], ["b"]]
    same(records, compacted)


def test_records_in_turn_stay_where_the_later_one_wins() -> None:
    def both(name: str, step: int, value: float) -> Increment:
        one = grown(name, step, value)
        return Increment("/g", {}, one.data.assign(common=("step", [value], LABEL)))

    records = [both("a", 0, 1.0), both("b", 0, 2.0), both("b", 1, 2.0), both("a", 0, 3.0), both("b", 0, 4.0)]
    compacted = compact(records)
    assert len(compacted) == 4
    same(records, compacted)
    assert join(compacted)[0]["/g"]["common"].values.tolist() == [4.0, 2.0]


@pytest.mark.parametrize("place", ["group", "label"])
def test_records_in_turn_stay_where_the_later_attribute_wins(place: str) -> None:
    records = []
    for step, (name, title) in enumerate([("a", "s"), ("b", "t"), ("a", "s")]):
        data = grown(name, step).data
        (data if place == "group" else data.step).attrs["title"] = title
        records.append(Increment("/g", {}, data))
    same(records, compact(records))


def test_records_in_turn_stay_where_the_order_of_labels_would_change() -> None:
    def at(name: str, site: str) -> Increment:
        return Increment("/g", {}, xr.Dataset({name: ("site", [0.0], LABEL)}, {"site": [site]}))

    records = [at("a", "x"), at("b", "z"), at("a", "y")]
    assert join(compact(records))[0]["/g"].site.values.tolist() == ["x", "z", "y"]
    same(records, compact(records))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "ab"]), st.integers(0, 3), st.integers(0, 9), st.sampled_from(["", "s", "t"])
        ),
        max_size=10,
    )
)
def test_compacting_changes_nothing(found: list[tuple[str, int, int, str]]) -> None:
    records = []
    for names, number, value, title in found:
        variables = {name: ("step", [float(value)], LABEL) for name in names}
        coords = {"step": [number], "epoch": ("step", [number // 2 + (value == 9)])}
        records.append(Increment("/g", {}, xr.Dataset(variables, coords, {"title": title} if title else {})))
    same(records, compact(records))


def test_what_only_one_point_says_of_itself_is_not_said_of_all() -> None:
    def at(seed: int, **attrs: object) -> Increment:
        return Increment("/g", {"seed": seed}, xr.Dataset({"x": ("step", [0.0], {**LABEL, **attrs})}, {"step": [0]}))

    joined, _ = join([at(0, samples=5, split="test"), at(1, samples=7, split="test")])
    assert joined["/g"].x.attrs == {**LABEL, "split": "test"}
    joined, _ = join([at(0, samples=5), at(1)])
    assert joined["/g"].x.attrs == LABEL
    with pytest.raises(SchemaError, match="has units"):
        join([at(0), at(1, units="nat")])


def of_sites(names: list[str], point: dict[str, object]) -> Increment:
    data = xr.Dataset({"rank": ("site", np.arange(float(len(names))), LABEL)}, {"site": np.array(names, np.str_)})
    return Increment("/g", point, data)  # type: ignore[arg-type]


def of_units(names: list[str], point: dict[str, object]) -> Increment:
    return Increment("/g", point, units([(name, 1 + len(name) % 3) for name in names], 1.0))  # type: ignore[arg-type]


DEEP = [f"layer{'i' * index}#0" for index in range(7)]


@given(st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_sites_of_networks_of_different_depth_interleave(chosen: list[set[int]], shuffle: random.Random) -> None:
    names = [DEEP, *([DEEP[place] for place in sorted(places)] for places in chosen)]
    numbers = list(range(len(names)))
    shuffle.shuffle(numbers)
    records = [(sites, {"depth": number}) for sites, number in zip(names, numbers, strict=True) if sites]
    shuffle.shuffle(records)
    data = join([of_sites(*one) for one in records])[0]["/g"]
    assert data.site.values.tolist() == DEEP
    for sites, point in records:
        row = data["rank"].sel(depth=point["depth"])
        assert row.dropna("site").site.values.tolist() == sites
        assert row.dropna("site").values.tolist() == list(range(len(sites)))
    flat = join([of_units(*one) for one in records])[0]["/g"]
    assert list(dict.fromkeys(flat.unit_site.values.tolist())) == DEEP
    assert flat.neuron.values.tolist() == [neuron for name in DEEP for neuron in range(1 + len(name) % 3)]


def test_every_networks_own_order_is_kept_where_that_is_possible() -> None:
    def joint(*lists: list[str]) -> list[str]:
        records = [of_sites(names, {"depth": number}) for number, names in enumerate(lists)]
        return join(records)[0]["/g"].site.values.tolist()

    assert joint(["a", "c"], ["b"], ["b", "c"]) == ["a", "b", "c"]
    assert joint(["stem", "x", "head"], ["stem", "y", "head"]) == ["stem", "x", "y", "head"]
    assert joint(["c"], ["a"], ["a", "b", "c"]) == ["a", "b", "c"]
    assert joint(["a", "b"], ["b", "a"]) == ["a", "b"]  # they contradict one another
    assert joint(["a", "b", "c"], ["c", "b", "d"]) == ["a", "b", "c", "d"]


def test_sites_that_contradict_one_another_keep_their_values() -> None:
    records = [of_sites(["a", "b"], {"version": 1}), of_sites(["b", "a"], {"version": 2})]
    data = join(records)[0]["/g"]
    assert data["rank"].sel(site=["a", "b"]).values.tolist() == [[0.0, 1.0], [1.0, 0.0]]
