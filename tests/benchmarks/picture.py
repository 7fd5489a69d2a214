"""The growth curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tests.benchmarks.results import Results, at
from tests.benchmarks.servers import APPENDER, NODEJS, NODES, OURS, STOCK

CURVES = (
    ("unicast", "batches of 50 to user rooms", "CPU per delivery, µs"),
    ("room", "one room, paced", "CPU per delivery, µs"),
    ("memory", "memory", "per connection, KiB"),
)
MICRO = 1e6
COLOURS = {OURS: "#0b6e4f", NODEJS: "#c8553d", STOCK: "#5b6c8f"}


def draw_growth(results: Results, sizes: Sequence[int], file: Path) -> None:
    """Medians as lines, lowest to highest round as a band. On white, to be read on a dark page too."""
    with mpl.rc_context({"svg.hashsalt": "benchmark", "font.size": 9, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(10.5, 3.7), layout="constrained", facecolor="white")
        for place, (key, title, unit) in enumerate(CURVES, 1):
            axes = figure.add_subplot(1, len(CURVES), place)
            for kind, colour in COLOURS.items():
                found = [(size, results.summary(at(key, size), kind.name)) for size in sizes]
                points = [(size, summary) for size, summary in found if summary is not None]
                if not points:
                    continue
                measured = [size for size, _ in points]
                axes.plot(measured, [s.median for _, s in points], marker="o", ms=4, color=colour, label=kind.title)
                low, high = [min(s.values) for _, s in points], [max(s.values) for _, s in points]
                axes.fill_between(measured, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(sizes)
            axes.xaxis.set_minor_locator(NullLocator())
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
            axes.set_title(title)
            axes.set_xlabel("connections")
            axes.set_ylabel(unit)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(file, metadata={"Date": None})


def draw_nodes(results: Results, numbers: Sequence[int], file: Path) -> None:
    """How many notifications are appended a second by so many nodes, and by as many bare clients: medians, lowest to
    highest."""
    with mpl.rc_context({"svg.hashsalt": "benchmark", "font.size": 9, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(5.5, 3.7), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        for kind, colour in ((NODES, COLOURS[OURS]), (APPENDER, COLOURS[STOCK])):
            found = [(number, results.summary(at("shared-append", number), kind.name)) for number in numbers]
            points = [(number, summary) for number, summary in found if summary is not None]
            measured = [number for number, _ in points]
            rates = [MICRO / summary.median for _, summary in points]
            axes.plot(measured, rates, marker="o", ms=4, color=colour, label=kind.title)
            low, high = ([MICRO / end(s.values) for _, s in points] for end in (max, min))
            axes.fill_between(measured, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xticks(numbers)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.set_xlabel("nodes, or bare clients")
        axes.set_ylabel("notifications a second")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(file, metadata={"Date": None})
