"""A balance history as SVG: pure, history in, text out; for pages, pictures in alerts and `history --svg`."""

from monitor.chart.course import Course, Forecast, Level, Point, Rise, Span
from monitor.chart.svg import Size, draw, draw_spark

__all__ = ["Course", "Forecast", "Level", "Point", "Rise", "Size", "Span", "draw", "draw_spark"]
