"""Draw a course as SVG text.

Presentation attributes and classes, no style: a strict policy of a page holds, a style sheet may restyle it by class,
and a rasterizer needs nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Final

from monitor.chart.course import Course, Forecast, Point, Rise
from monitor.chart.scale import Scale, balance_ticks, time_ticks, write_figure
from monitor.text import mask

Write = Callable[[Decimal], str]  # an amount with its unit

FONT: Final = "DejaVu Sans, system-ui, sans-serif"
INK: Final = "#1f2937"
FAINT: Final = "#6b7280"
GRID: Final = "#e5e7eb"
LINE: Final = "#2563eb"
CAME: Final = "#047857"
PAPER: Final = "#ffffff"
SEVERITIES: Final = {"info": "#0369a1", "warning": "#b45309", "critical": "#b91c1c", "no-credits": "#7f1d1d"}
_HATCH: Final = 'width="6" height="6" patternUnits="userSpaceOnUse" patternTransform'
_LETTER: Final = 6.6  # pixels of a letter of 11, about
_LABEL_ROOM: Final = 64  # pixels from label to label
_MOST_LABELS: Final = 8
_FUTURE: Final = 0.6  # of the past, at most, for the forecast
_CLOSE: Final = timedelta(days=2)  # so far ahead an hour is named


@dataclass(frozen=True, slots=True)
class Size:
    """Of a picture, in pixels."""

    width: int = 640
    height: int = 320


@dataclass(frozen=True, slots=True)
class _Plot:
    """The area between the axes."""

    x: Scale  # seconds since 1970
    y: Scale
    left: float
    right: float
    top: float
    bottom: float

    def at(self, instant: datetime) -> float:
        return self.x(instant.timestamp())

    def of(self, credits: Decimal) -> float:
        return self.y(float(credits))


def draw(course: Course, write: Write, *, size: Size = Size(), prefix: str = "chart", titled: bool = True) -> str:
    """Return a chart as a whole SVG document; `prefix` begins the ids in it, of which a page has each once."""
    stretches = course.stretches
    ticks, decimals = _balance_axis(course, stretches, size)
    plot = _plot(course, ticks, [write_figure(tick, decimals) for tick in ticks], size, titled=titled)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {size.width} {size.height}"'
            f' width="{size.width}" height="{size.height}" role="img" aria-labelledby="{prefix}-title {prefix}-desc"'
            f' font-family="{FONT}" font-size="11">'
        ),
        f'<title id="{prefix}-title">{_text(f"Balance of {course.name}")}</title>',
        f'<desc id="{prefix}-desc">{_text(describe(course, write))}</desc>',
        _definitions(plot, prefix),
        f'<rect class="chart-paper" width="{size.width}" height="{size.height}" fill="{PAPER}"/>',
        *(_heading(course, write, size) if titled else ()),
        *_axes(course, plot, ticks, decimals),
        f'<g clip-path="url(#{prefix}-clip)">',
        *_spans(course, plot, prefix),
        *_gaps(course, plot, stretches, prefix),
        *_levels(course, plot),
        *_forecast(course, plot),
        *(_stretch(course, plot, stretch, is_last=stretch is stretches[-1]) for stretch in stretches),
        *_rises(course, plot, write),
        "</g>",
        *_words(course, plot, write),
        *(() if stretches else _nothing(plot)),
        "</svg>",
    ]
    return "".join(parts)


def draw_spark(course: Course, *, size: Size = Size(120, 28)) -> str:
    """Return a small picture of the course alone, without words; what it says stands beside it."""
    stretches = course.stretches
    ticks, _ = _balance_axis(course, stretches, size)
    x = Scale(course.begins_at.timestamp(), course.ends_at.timestamp() or 1, 1, size.width - 1)
    plot = _Plot(x, Scale(ticks[0], ticks[-1], size.height - 2, 2), 1, size.width - 1, 2, size.height - 2)
    lines = "".join(
        f'<path class="chart-line" d="{_steps(course, plot, stretch, is_last=stretch is stretches[-1])}" fill="none"'
        f' stroke="{LINE}" stroke-width="1.5"/>'
        for stretch in stretches
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="spark" viewBox="0 0 {size.width} {size.height}"'
        f' width="{size.width}" height="{size.height}" aria-hidden="true">{lines}</svg>'
    )


def describe(course: Course, write: Write) -> str:
    """Return in words what a chart shows, for whoever does not see it."""
    days = f"{_day(course.begins_at, course)} to {_day(course.ends_at, course)}"
    within = [point.credits for point in course.points if course.begins_at <= point.at <= course.ends_at]
    if not within:
        return f"{days}: no balance is known."
    sentences = [f"{days}: from {write(within[0])} to {write(within[-1])}, lowest {write(min(within))}."]
    sentences += [
        f"{'Refilled' if rise.is_refill else 'Topped up'} by {write(rise.amount)} on {_day(rise.at, course)}."
        for rise in sorted(course.rises, key=lambda rise: -rise.amount)[:3]
    ]
    if course.levels:
        sentences.append("Levels: " + ", ".join(f"{each.severity} {write(each.below)}" for each in course.levels) + ".")
    if course.forecast and course.forecast.likely:
        sentences.append(f"Expected to be empty {_crossing(course.forecast.likely, course)}.")
    return " ".join(sentences)


# --- the frame --------------------------------------------------------------------------------------------------------


def _balance_axis(course: Course, stretches: list[list[Point]], size: Size) -> tuple[list[float], int]:
    shown = [point.credits for stretch in stretches for point in stretch] or [Decimal(0)]
    highest = max(shown)
    # A level far above everything would press the course to the ground.
    levels = [level.below for level in course.levels if level.below <= 2 * highest or not highest]
    return balance_ticks(min(shown), max([highest, *levels]), max(2, size.height // 60))


def _plot(course: Course, ticks: list[float], labels: list[str], size: Size, *, titled: bool) -> _Plot:
    left = 14 + _LETTER * max(map(len, labels))
    right, top, bottom = size.width - 14.0, 44.0 if titled else 14.0, size.height - 26.0
    begin = course.begins_at.timestamp()
    end = max((course.ends_at + _future(course)).timestamp(), begin + 60)
    x, y = Scale(begin, end, left, right), Scale(ticks[0], ticks[-1], bottom, top)
    return _Plot(x, y, left, right, top, bottom)


def _future(course: Course) -> timedelta:
    """Return how much of the future is shown."""
    forecast = course.forecast
    if forecast is None or forecast.likely is None or not course.points:
        return timedelta(0)
    past = course.ends_at - course.begins_at
    wanted = (forecast.latest or forecast.likely) - course.ends_at
    return max(timedelta(0), min(1.08 * max(wanted, timedelta(0)), _FUTURE * past))


def _definitions(plot: _Plot, prefix: str) -> str:
    width, height = _n(plot.right - plot.left), _n(plot.bottom - plot.top + 4)
    return (
        f'<defs><clipPath id="{prefix}-clip"><rect x="{_n(plot.left)}" y="{_n(plot.top - 2)}" width="{width}"'
        f' height="{height}"/></clipPath>'
        f'<pattern id="{prefix}-gap" {_HATCH}="rotate(45)">'
        f'<path class="chart-hatch" d="M0 0V6" stroke="#9ca3af" stroke-width="2" stroke-opacity="0.45"/></pattern>'
        f'<pattern id="{prefix}-none" {_HATCH}="rotate(-45)">'
        f'<path d="M0 0V6" stroke="{SEVERITIES["no-credits"]}" stroke-width="2" stroke-opacity="0.45"/></pattern>'
        "</defs>"
    )


def _heading(course: Course, write: Write, size: Size) -> Iterator[str]:
    now = write(course.points[-1].credits) if course.points else ""
    room = int((size.width - 40 - 8.5 * len(now)) / 8.5)
    name = course.name if len(course.name) <= room else course.name[: max(1, room - 1)] + "…"
    yield f'<text class="chart-name" x="14" y="26" font-size="14" font-weight="bold" fill="{INK}">{_text(name)}</text>'
    yield (
        f'<text class="chart-now" x="{size.width - 14}" y="26" font-size="14" text-anchor="end"'
        f' fill="{INK}">{_text(now)}</text>'
    )


def _axes(course: Course, plot: _Plot, ticks: list[float], decimals: int) -> Iterator[str]:
    for tick in ticks:
        y = _n(plot.y(tick))
        yield f'<path class="chart-grid" d="M{_n(plot.left)} {y}H{_n(plot.right)}" stroke="{GRID}"/>'
        yield (
            f'<text class="chart-tick" x="{_n(plot.left - 6)}" y="{_n(plot.y(tick) + 4)}" text-anchor="end"'
            f' fill="{FAINT}">{write_figure(tick, decimals)}</text>'
        )
    most = max(2, int((plot.right - plot.left) / _LABEL_ROOM))
    end = course.ends_at + _future(course)
    for at, words in time_ticks(course.begins_at, end, course.zone, most):
        x = plot.at(at)
        yield f'<path class="chart-grid" d="M{_n(x)} {_n(plot.bottom)}v4" stroke="{FAINT}"/>'
        half = len(words) * _LETTER / 2
        if plot.left - 14 <= x - half and x + half <= plot.right + 14:
            yield (
                f'<text class="chart-tick" x="{_n(x)}" y="{_n(plot.bottom + 17)}" text-anchor="middle"'
                f' fill="{FAINT}">{words}</text>'
            )


# --- what is known ----------------------------------------------------------------------------------------------------


def _stretch(course: Course, plot: _Plot, points: Sequence[Point], *, is_last: bool) -> str:
    path = _steps(course, plot, points, is_last=is_last)
    ground = _n(plot.y(0))
    area = f"{path}V{ground}H{_n(plot.at(points[0].at))}Z"
    dot = ""
    if len(points) == 1:  # a line without length is not seen
        x, y = _n(plot.at(points[0].at)), _n(plot.of(points[0].credits))
        dot = f'<circle class="chart-dot" cx="{x}" cy="{y}" r="2.5" fill="{LINE}"/>'
    return (
        f'<path class="chart-area" d="{area}" fill="{LINE}" fill-opacity="0.09"/>'
        f'<path class="chart-line" d="{path}" fill="none" stroke="{LINE}" stroke-width="1.8"'
        f' stroke-linejoin="round"/>{dot}'
    )


def _steps(course: Course, plot: _Plot, points: Sequence[Point], *, is_last: bool) -> str:
    """Return the path of a stretch: a balance holds until the next one is known."""
    height = plot.of(points[0].credits)
    path = [f"M{_n(plot.at(points[0].at))} {_n(height)}"]
    for at, balance in points[1:]:
        path.append(f"H{_n(plot.at(at))}")
        if (next_height := plot.of(balance)) != height:
            path.append(f"V{_n(next_height)}")
            height = next_height
    if is_last and course.ends_at - points[-1].at <= course.gap:
        path.append(f"H{_n(plot.at(course.ends_at))}")
    return "".join(path)


def _gaps(course: Course, plot: _Plot, stretches: list[list[Point]], prefix: str) -> Iterator[str]:
    ends = [stretch[-1].at for stretch in stretches]
    begins = [*(stretch[0].at for stretch in stretches[1:]), course.ends_at]
    for begin, end in zip(ends, begins, strict=False):  # one begin is left over where nothing is known
        if end - begin > course.gap:
            yield _band(plot, begin, end, f'class="chart-gap" fill="url(#{prefix}-gap)"')


def _spans(course: Course, plot: _Plot, prefix: str) -> Iterator[str]:
    for span in course.spans:
        end = span.ends_at or course.ends_at
        if end < course.begins_at or span.begins_at > course.ends_at:
            continue
        if span.severity == "no-credits":
            fill = f'class="chart-none" fill="url(#{prefix}-none)"'
        else:
            fill = f'class="chart-span chart-{span.severity}" fill="{SEVERITIES[span.severity]}" fill-opacity="0.1"'
        yield _band(plot, max(span.begins_at, course.begins_at), min(end, course.ends_at), fill)


def _band(plot: _Plot, begin: datetime, end: datetime, attributes: str) -> str:
    left = plot.at(begin)
    width = max(1.0, plot.at(end) - left)
    height = plot.bottom - plot.top
    return f'<rect {attributes} x="{_n(left)}" y="{_n(plot.top)}" width="{_n(width)}" height="{_n(height)}"/>'


def _levels(course: Course, plot: _Plot) -> Iterator[str]:
    for level in course.levels:
        if not plot.y.low <= float(level.below) <= plot.y.high:
            continue
        across = f"H{_n(plot.right)}"
        color = SEVERITIES[level.severity]
        yield (
            f'<path class="chart-level chart-{level.severity}" d="M{_n(plot.left)} {_n(plot.of(level.below))}{across}"'
            f' stroke="{color}" stroke-width="1"/>'
        )
        if level.clear > level.below and float(level.clear) <= plot.y.high:
            yield (
                f'<path class="chart-clear chart-{level.severity}"'
                f' d="M{_n(plot.left)} {_n(plot.of(level.clear))}{across}"'
                f' stroke="{color}" stroke-width="0.7" stroke-dasharray="2 4" stroke-opacity="0.8"/>'
            )


def _forecast(course: Course, plot: _Plot) -> Iterator[str]:
    forecast = course.forecast
    if forecast is None or not course.points or forecast.likely is None:
        return
    last = course.points[-1]
    begin, height, ground = plot.at(last.at), plot.of(last.credits), plot.y(0)
    early = plot.at(forecast.earliest or last.at)
    late = f"{_n(plot.at(forecast.latest))} {_n(ground)}" if forecast.latest else f"{_n(plot.right)} {_n(height)}"
    beyond = "" if forecast.latest else f"L{_n(plot.right)} {_n(ground)}"
    yield (
        f'<path class="chart-band" d="M{_n(begin)} {_n(height)}L{_n(early)} {_n(ground)}{beyond}L{late}Z" fill="{LINE}"'
        f' fill-opacity="0.15"/>'
    )
    yield (
        f'<path class="chart-likely" d="M{_n(begin)} {_n(height)}L{_n(plot.at(forecast.likely))} {_n(ground)}"'
        f' fill="none" stroke="{LINE}" stroke-width="1.5" stroke-dasharray="5 4"/>'
    )


def _rises(course: Course, plot: _Plot, write: Write) -> Iterator[str]:
    shown = [rise for rise in course.rises if course.begins_at <= rise.at <= course.ends_at]
    labelled: list[Rise] = []
    for rise in sorted(shown, key=lambda each: -each.amount):
        apart = all(abs(plot.at(rise.at) - plot.at(other.at)) >= _LABEL_ROOM * 1.3 for other in labelled)
        if apart and len(labelled) < _MOST_LABELS:
            labelled.append(rise)
    for rise in shown:
        x = plot.at(rise.at)
        after = next((point.credits for point in course.points if point.at >= rise.at), Decimal(0))
        y = plot.of(after)
        kind = "chart-refill" if rise.is_refill else "chart-top-up"
        if rise.is_refill:
            ring = f'fill="{PAPER}" stroke="{CAME}" stroke-width="1.5"'
            yield f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="3.5" {ring}/>'
        else:
            yield f'<path class="{kind}" d="M{_n(x)} {_n(y - 5)}l4.5 8h-9Z" fill="{CAME}"/>'
        if rise in labelled:
            words = f"+{write(rise.amount)}"
            yield _label(plot, x, max(y - 9, plot.top + 9), words, CAME, kind)


# --- words ------------------------------------------------------------------------------------------------------------


def _words(course: Course, plot: _Plot, write: Write) -> Iterator[str]:
    """Yield the labels of levels, and of the day on which the balance is used up."""
    taken: list[float] = []
    for level in sorted(course.levels, key=lambda each: -each.below):
        if not plot.y.low <= float(level.below) <= plot.y.high:
            continue
        y = plot.of(level.below) - 4
        if all(abs(y - other) >= 12 for other in taken):  # noqa: PLR2004 -- the height of a line
            taken.append(y)
            words = f"{level.severity} {write(level.below)}"
            yield _label(
                plot, plot.left + 4 + len(words) * _LETTER / 2, y, words, SEVERITIES[level.severity], "chart-level"
            )
    forecast = course.forecast
    if forecast and forecast.likely and course.points:
        yield from _end(course, plot, forecast)


def _end(course: Course, plot: _Plot, forecast: Forecast) -> Iterator[str]:
    if forecast.likely is None:
        return
    words = f"empty {_crossing(forecast.likely, course)}"
    x = plot.at(forecast.likely)
    if x <= plot.right:
        yield f'<circle class="chart-empty" cx="{_n(x)}" cy="{_n(plot.y(0))}" r="3.5" fill="{LINE}"/>'
    yield _label(plot, min(x, plot.right), plot.y(0) - 9, words, LINE, "chart-empty")


def _label(plot: _Plot, x: float, y: float, words: str, color: str, kind: str) -> str:
    """Return a text inside the plot, on a ground of its own."""
    half = len(words) * _LETTER / 2
    x = min(max(x, plot.left + half + 2), plot.right - half - 2)
    return (
        f'<text class="chart-label {kind}-label" x="{_n(x)}" y="{_n(y)}" text-anchor="middle" fill="{color}"'
        f' stroke="{PAPER}" stroke-width="3" stroke-linejoin="round" paint-order="stroke">{_text(words)}</text>'
    )


def _nothing(plot: _Plot) -> Iterator[str]:
    x, y = (plot.left + plot.right) / 2, (plot.top + plot.bottom) / 2
    place = f'x="{_n(x)}" y="{_n(y)}" text-anchor="middle"'
    yield f'<text class="chart-tick" {place} fill="{FAINT}">no balance in this time</text>'


def _crossing(at: datetime, course: Course) -> str:
    local = at.astimezone(course.zone)
    if at - course.ends_at <= _CLOSE:
        return f"{local:%a %H:%M}"
    year = f" {local.year}" if at - course.ends_at > timedelta(days=300) else ""
    return f"{local:%a} {local.day} {local:%b}{year}"


def _day(at: datetime, course: Course) -> str:
    local = at.astimezone(course.zone)
    return f"{local.day} {local:%B %Y}"


def _text(words: str) -> str:
    return escape(mask(words))


def _n(number: float) -> str:
    """Return a coordinate with a tenth of a pixel."""
    return f"{number:.1f}".removesuffix(".0")
