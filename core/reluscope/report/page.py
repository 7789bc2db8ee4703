"""The page: one HTML file that holds its plots, their data and the script that draws them, and fetches nothing.

An archive may come from a stranger. Its text goes through Jinja's escaping, data for the script through JSON without
any character that could end a script element, and the content security policy lets only the two scripts of this
package run, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

import xarray as xr

from reluscope.report import claims, declared, plots, reading
from reluscope.report.summary import Summary, final, summarise, title, value_text

MAX_PLOT_BYTES = 8_000_000
"""The plots' data take no more than this, so that the whole page stays below 15 MB."""
_MAX_TEXT = 2_000
_MAX_ROWS = 400


def render(tree: xr.DataTree) -> str:
    """Draw an archive as one self-contained HTML page.

    Args:
        tree: The archive, of a finished run or of one that was killed.

    Returns:
        The page; write it with encoding UTF-8.
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    summary = summarise(tree)
    provenance = reading.provenance(tree)
    recipe = provenance.get("recipe")
    table = recipe if isinstance(recipe, dict) else {}
    drawn = declared.draw(tree, table, MAX_PLOT_BYTES)
    figures = [panel for figure in drawn for panel in figure.panels]
    families, left = plots.draw(tree)
    numbered, dropped = _numbered(families, figures)
    left += dropped
    scripts = [script.replace("\r", "") for script in (str(get_plotlyjs()), _own("page.js"))]
    context: dict[str, Any] = {
        "title": _cut(tree.attrs.get("title") or table.get("title") or "A run"),
        "source": _cut(tree.attrs.get("source") or table.get("source") or ""),
        "missing": [_cut(sentence) for sentence in reading.incomplete(tree)],
        "trained": _words(table, summary),
        "summary": summary,
        "summary_caption": _summary_caption(tree),
        "across": len(summary.points) <= 5,
        "many": len(summary.points) > 1,
        "expected": _expected(tree, table, summary),
        "claims": [
            {key: _cut(value) if key != "picture" else value for key, value in row.items()} for row in claims.rows(tree)
        ],
        "declared": _declared(drawn),
        "families": numbered,
        "left": left[:_MAX_ROWS],
        "recipe": _toml(table) if table else _cut(recipe or ""),
        "origins": _flat({key: value for key, value in provenance.items() if key != "recipe"})[:_MAX_ROWS]
        + _flat(
            {key: str(tree.attrs[key]) for key in ("history", "Conventions", "schema_version") if key in tree.attrs}
        ),
    }
    names = {
        "claims": "Claims",
        "declared": "Figures",
        "trained": "What ran",
        "summary": "Where it ended",
        "expected": "Expected and measured",
        "families": "How it moved",
        "left": "Not drawn",
        "recipe": "Recipe",
        "origins": "Provenance",
    }
    anchors = {"declared": "drawn", "summary": "result", "families": "plots", "origins": "provenance"}
    there = [key for key in names if (summary.rows if key == "summary" else context[key])]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(_own("page.html.j2")).render(
        **context,
        sections=[(anchors.get(key, key), names[key]) for key in there],
        policy=_policy(scripts),
        style=Markup(_own("page.css")),
        figures=Markup(_json(figures)),
        scripts=[Markup(script) for script in scripts],
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _own(name: str) -> str:
    return resources.files("reluscope.report").joinpath(name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "form-action 'none'; base-uri 'none'"
    )


# JSON that can stand in a script element: no <, no &, no line separator.
def _json(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# Number the plots after the figures before them, to which they are added as far as there is room.
def _numbered(
    families: list[plots.Family], figures: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[plots.Left]]:
    numbered: list[dict[str, Any]] = []
    dropped: list[plots.Left] = []
    spent = len(_json(figures))
    for family in families:
        size = len(_json(family.figures))
        if spent + size > MAX_PLOT_BYTES:
            dropped.append(plots.Left(family.title, f"{len(family.figures)} plots", "would make the page too large"))
            continue
        spent += size
        first = len(figures)
        figures += family.figures
        numbers = list(range(first, len(figures)))
        numbered.append({"title": family.title, "caption": family.caption, "numbers": numbers})
    return numbered, dropped


def _declared(drawn: list[declared.Drawn]) -> list[dict[str, Any]]:
    context, number = [], itertools.count()
    for figure in drawn:
        panels = [{"number": next(number), "place": panel["place"] if figure.grid else None} for panel in figure.panels]
        dim, labels = figure.legend
        context.append(
            {
                "title": _cut(figure.title),
                "caption": _cut(figure.caption),
                "problem": _cut(figure.problem),
                "panels": panels,
                "grid": figure.grid,
                "dim": _cut(dim),
                "labels": [_cut(label) for label in labels],
            }
        )
    return context


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} ..."


def _summary_caption(tree: xr.DataTree) -> str:
    seeds = max((data.sizes.get(reading.REPEATS, 1) for _, data in reading.groups(tree)), default=1)
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return f"The last value of each quantity: {over}."


def _choice(value: Any) -> str:
    if not isinstance(value, Mapping):
        return _cut(value)
    details = ", ".join(f"{key} = {_short(item)}" for key, item in value.items() if key != "name")
    name = str(value.get("name", ""))
    return _cut(f"{name} ({details})" if name and details else name or details)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _words(recipe: Mapping[str, Any], summary: Summary) -> list[tuple[str, str]]:
    words = [
        (term, _choice(recipe[key]))
        for key, term in (
            ("procedure", "Procedure"),
            ("dataset", "Data set"),
            ("architecture", "Network"),
            ("optimizer", "Optimizer"),
            ("scheduler", "Learning rate"),
            ("epochs", "Epochs"),
            ("batch_size", "Batch size"),
        )
        if recipe.get(key) not in (None, {}, "")
    ]
    sweep = recipe.get("sweep")
    if isinstance(sweep, Mapping):
        for key, values in sweep.items():
            if isinstance(values, list):
                words.append((f"Varied: {_cut(key)}", _cut("; ".join(_choice(value) for value in values))))
    metrics = recipe.get("metrics")
    if isinstance(metrics, list) and metrics:
        names = [str(metric.get("name", "")) for metric in metrics if isinstance(metric, Mapping)]
        words.append(("Watched", _cut(", ".join(title(name).lower() for name in names))))
    return words


def _expected(tree: xr.DataTree, recipe: Mapping[str, Any], summary: Summary) -> list[dict[str, str]]:
    rows = []
    listed = recipe.get("expected")
    for item in listed if isinstance(listed, list) else []:
        if not isinstance(item, Mapping) or not isinstance(item.get("value"), int | float):
            continue
        name, group, value = str(item.get("variable", "")), str(item.get("group", "epoch")), float(item["value"])
        wanted = item.get("select")
        wanted = dict(wanted) if isinstance(wanted, Mapping) else {}
        measured = _measured(tree, summary, group, name, wanted)
        tolerance = item.get("tolerance")
        verdict = ""
        if isinstance(tolerance, int | float) and math.isfinite(measured):
            verdict = (
                f"within {tolerance:g}" if abs(measured - value) <= tolerance else f"off by more than {tolerance:g}"
            )
        rows.append(
            {
                "title": title(name),
                "where": ", ".join(f"{key} = {reading.shown(label)}" for key, label in wanted.items()),
                "expected": f"{value:.6g}",
                "measured": value_text(measured) if math.isfinite(measured) else "not measured",
                "difference": f"{measured - value:+.3g}" if math.isfinite(measured) else "",
                "verdict": verdict,
            }
        )
    return rows


def _measured(tree: xr.DataTree, summary: Summary, group: str, name: str, wanted: dict[str, Any]) -> float:
    data = dict(reading.groups(tree)).get(group)
    if data is None or name not in data or not reading.numeric(data[name]):
        return math.nan
    swept = reading.sweep_dims(tree)
    variable = data[name]
    reached = {
        axis: reading.recorded(data, axis, swept) for axis in reading.AXES if axis in data.dims and axis not in swept
    }
    where = {key: label for key, label in wanted.items() if key not in swept or key == reading.REPEATS}
    chosen = [
        point
        for point in summary.points
        if all(point.selection.get(key) == label for key, label in wanted.items() if key in swept and key not in where)
    ]
    values = [final(variable, point, swept, reached, where).mean for point in reading.distinct(variable, chosen)]
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _toml(table: Mapping[str, Any]) -> str:
    import tomli_w

    try:
        return tomli_w.dumps(_without_none(table))
    except (TypeError, ValueError):  # a stranger's recipe need not be one
        return json.dumps(table, indent=2, default=str, ensure_ascii=False)


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [row for key, item in value.items() for row in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [row for place, item in enumerate(value) for row in _flat(item, f"{prefix}.{place}")]
    if isinstance(value, list):
        return [(_cut(prefix), _cut(", ".join(map(_short, value))))]
    return [(_cut(prefix), _cut(_short(value) if value is not None else ""))]
