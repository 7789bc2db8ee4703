"""Small drawings of counterexamples: figures in the plane, graphs of functions, bars. Numbers in, SVG text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from html import escape

Number = int | float | Fraction
Point = Sequence[Number]
"""The two coordinates of a point; as a mark, it may have a third entry, the text beside it."""

WIDTH, HEIGHT, MARGIN, LINE = 320, 240, 24, 14
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def polygons(
    shapes: Iterable[Sequence[Point]] = (),
    *,
    lines: Iterable[Sequence[Point]] = (),
    marks: Iterable[Sequence[Number | str]] = (),
    title: str = "",
) -> str:
    """Draw figures in the plane, with the same unit along both axes.

    Args:
        shapes: Polygons, each by its corners in order; filled.
        lines: Line segments or chains of them, each by its points.
        marks: Points `(x, y)` or `(x, y, text)`.
        title: Text above.

    Returns:
        SVG.

    Example:
        >>> square = [(0, 0), (1, 0), (1, 1), (0, 1)]
        >>> drawing = polygons([square], lines=[[(0, 0), (1, 1)]], marks=[(0, 0, "x & y")], title="A square")
        >>> drawing.count("<polygon"), drawing.count("<polyline"), drawing.count("<circle"), "x &amp; y" in drawing
        (1, 1, 1, True)
    """
    filled, drawn, dots = [list(shape) for shape in shapes], [list(line) for line in lines], list(marks)
    frame = _Frame([point for part in (*filled, *drawn) for point in part] + _places(dots), square=True)
    parts = [frame.shape("polygon", shape, f'fill="{_color(n)}" fill-opacity="0.3"') for n, shape in enumerate(filled)]
    parts += [frame.shape("polyline", line, 'fill="none"') for line in drawn]
    return _svg([*parts, *frame.marks(dots), *frame.corners()], title)


def graph(
    curves: Mapping[str, Sequence[Point]], *, marks: Iterable[Sequence[Number | str]] = (), title: str = ""
) -> str:
    """Draw functions of one variable.

    Args:
        curves: Name to the points `(x, y)` of the graph, in order.
        marks: Points `(x, y)` or `(x, y, text)`, such as the one that speaks against the claim.
        title: Text above.

    Returns:
        SVG, with a legend.

    Example:
        >>> drawing = graph({"claimed": [(0, 0), (1, 1)], "found": [(0, 0), (1, 2)]}, marks=[(1, 2)])
        >>> drawing.count("<polyline"), drawing.count("<circle"), "claimed" in drawing
        (2, 1, True)
    """
    dots = list(marks)
    frame = _Frame([point for curve in curves.values() for point in curve] + _places(dots), legend=len(curves))
    parts = [
        frame.shape("polyline", curve, f'fill="none" stroke="{_color(n)}" stroke-width="2"')
        for n, curve in enumerate(curves.values())
    ]
    return _svg([*parts, *frame.marks(dots), *frame.corners(), *_legend(curves)], title)


def bars(series: Mapping[str, Sequence[Number]], *, labels: Sequence[object] = (), title: str = "") -> str:
    """Draw numbers as bars from zero, such as two distributions side by side.

    Args:
        series: Name to heights, of which every name has equally many.
        labels: One below each group of bars; empty for none.
        title: Text above.

    Returns:
        SVG, with a legend.

    Example:
        >>> drawing = bars({"claimed": [0.5, 0.5], "found": [0.25, 0.75]}, labels=["no", "yes"])
        >>> drawing.count('<rect class="bar"'), ">yes<" in drawing
        (4, True)
    """
    heights = [[float(height) for height in row] for row in series.values()]
    groups = max((len(row) for row in heights), default=0)
    ends = [(0, 0), (groups, 0), *((0, height) for row in heights for height in row)]
    frame = _Frame(ends, legend=len(series))
    width = 0.8 / max(len(heights), 1)
    parts = []
    for n, row in enumerate(heights):
        for group, height in enumerate(row):
            left, top = frame.place((group + 0.1 + n * width, max(height, 0)))
            right, bottom = frame.place((group + 0.1 + (n + 1) * width, min(height, 0)))
            size = f'x="{left:.5g}" y="{top:.5g}" width="{right - left:.5g}" height="{bottom - top:.5g}"'
            parts.append(f'<rect class="bar" {size} fill="{_color(n)}" stroke="none"/>')
    below = HEIGHT - MARGIN + LINE
    named = [_text(frame.place((n + 0.5, 0))[0], below, str(label), "middle") for n, label in enumerate(labels)]
    axis = frame.shape("polyline", [(0, 0), (groups, 0)], 'fill="none"')
    return _svg([*parts, axis, *named, *frame.corners(across=False), *_legend(series)], title)


class _Frame:
    """Where the points of a drawing lie on it."""

    def __init__(self, points: Sequence[Point], *, square: bool = False, legend: int = 0) -> None:
        self.top = MARGIN + LINE * legend
        across, up = ([float(point[axis]) for point in points] or [0.0] for axis in (0, 1))
        self.low, self.high = (min(across), min(up)), (max(across), max(up))
        spans = [(high - low) or 1.0 for low, high in zip(self.low, self.high, strict=True)]
        scales = [(WIDTH - 2 * MARGIN) / spans[0], (HEIGHT - MARGIN - self.top) / spans[1]]
        self.scales = [min(scales)] * 2 if square else scales

    def place(self, point: Sequence[Number | str]) -> tuple[float, float]:
        x = MARGIN + (float(point[0]) - self.low[0]) * self.scales[0]
        return x, HEIGHT - MARGIN - (float(point[1]) - self.low[1]) * self.scales[1]

    def shape(self, kind: str, points: Sequence[Point], style: str) -> str:
        places = " ".join(f"{x:.5g},{y:.5g}" for x, y in map(self.place, points))
        return f'<{kind} points="{places}" {style}/>'

    def marks(self, marks: Iterable[Sequence[Number | str]]) -> list[str]:
        parts = []
        for mark in marks:
            x, y = self.place(mark)
            parts.append(f'<circle cx="{x:.5g}" cy="{y:.5g}" r="3.5" fill="#bb2222" stroke="none"/>')
            if len(mark) > 2:
                right = x > WIDTH / 2
                parts.append(_text(x - 6 if right else x + 6, y - 5, str(mark[2]), "end" if right else "start"))
        return parts

    # The least and greatest coordinate along both axes.
    def corners(self, *, across: bool = True) -> list[str]:
        right, high = self.place(self.high)
        low = HEIGHT - MARGIN
        parts = [_text(2, low, f"{self.low[1]:.4g}"), _text(2, high + 4, f"{self.high[1]:.4g}")]
        if across:
            parts.append(_text(MARGIN, low + LINE, f"{self.low[0]:.4g}"))
            parts.append(_text(right, low + LINE, f"{self.high[0]:.4g}", "end"))
        return parts


def _places(marks: Iterable[Sequence[Number | str]]) -> list[Point]:
    return [(float(mark[0]), float(mark[1])) for mark in marks]


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _legend(names: Iterable[str]) -> list[str]:
    return [
        _text(WIDTH - MARGIN, MARGIN + LINE * n, name, "end", f' fill="{_color(n)}"') for n, name in enumerate(names)
    ]


def _text(x: float, y: float, words: str, anchor: str = "start", style: str = "") -> str:
    return f'<text x="{x:.5g}" y="{y:.5g}" text-anchor="{anchor}" stroke="none"{style}>{escape(words)}</text>'


def _svg(parts: Iterable[str], title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="10" stroke="#333333">'
    )
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff" stroke="none"/>'
    return "\n".join([head, ground, _text(WIDTH / 2, LINE, title, "middle"), *parts, "</svg>"])
