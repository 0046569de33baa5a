"""Makes docs/performance.md of the results: its tables, and pictures as SVG; a table of deploy.md.

    python bench/chart.py [--check]

Reads all of bench/results, draws, and fills the page between its marks,
``<!-- NAME -->`` and ``<!-- end -->``. With --check it writes nothing, and ends with status 1
if the page or a picture is not what the results make of it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from peers import PEERS
from run import latencies, table
from workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
WORKERS_PAGE = ROOT / "docs" / "deploy.md"  # where those of several workers stand

OURS, INK = "#b3261e", "#5b7083"
COLOURS = [OURS, INK, "#8aa0b2", "#4f8a5b", "#b58a2a", "#7a6aa8", "#9c9c9c"]
# Of the text and the lines: readable on white, and on what a dark page has.
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 } .number { fill: #666 } .grid { stroke: #8884; fill: none }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .number { fill: #aaa } }
"""


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' width="{width}" height="{height}"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<text class="title" x="8" y="18">{escape(title)}</text>'
    )
    return "\n".join([head, *parts, "</svg>", ""])


# -- bars: beside the peers ------------------------------------------------------------------

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 790, 280, 60, 14, 14, 34
MOST = 12.0  # times ours; a longer bar is cut, and its number says how long it was


def bars(result: dict[str, Any]) -> str:
    """For each workload a group of bars, one a server: CPU time as a multiple of ours."""
    parts: list[str] = []
    y = TOP
    for key, figures in result["loads"].items():
        if "ours" not in figures or len(figures) < 2:
            continue
        ours = figures["ours"]["cpu_us"]
        parts.append(f'<text class="title" x="8" y="{y + BAR - 3}">{escape(_short(key))}</text>')
        for peer, one in figures.items():
            ratio = one["cpu_us"] / ours
            label = f"{ours:.3g} µs" if peer == "ours" else f"x {ratio:.1f}"
            parts.append(_bar(y, peer, min(ratio, MOST), label))
            y += BAR
        y += GAP
    parts += _legend(result["peers"], y + 8)
    height = y + 8 + 18 * ((len(result["peers"]) + 2) // 3) + 8
    python = result["versions"]["Python"]
    title = f"CPU time of the server, as a multiple of ours (Python {python}); less is better"
    return _svg(WIDTH, height, title, parts)


def _bar(y: int, peer: str, ratio: float, label: str) -> str:
    width = ratio / MOST * (WIDTH - LEFT - RIGHT)
    return (
        f"<g><title>{escape(PEERS[peer].label)}: {label}</title>"
        f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{_colour(peer)}"/>'
        f'<text class="number" x="{LEFT + width + 6:.1f}" y="{y + BAR - 4}">{label}</text></g>'
    )


def _colour(peer: str) -> str:
    return COLOURS[list(PEERS).index(peer) % len(COLOURS)]


def _short(key: str) -> str:
    return WORKLOADS[key].title.replace(", a delivery", "").replace("the same", "Socket.IO echo")


def _legend(peers: list[str], y: int) -> list[str]:
    parts = []
    for number, peer in enumerate(peers):
        x, row = 8 + number % 3 * 250, y + number // 3 * 18
        parts.append(
            f'<rect x="{x}" y="{row}" width="10" height="10" fill="{_colour(peer)}"/>'
            f'<text x="{x + 16}" y="{row + 10}">{escape(PEERS[peer].label)}</text>'
        )
    return parts


# -- lines: how it grows ---------------------------------------------------------------------

PANEL, PANEL_HEIGHT = 250, 150
# What each panel shows, and whether its figures are too far apart for a linear axis.
PANELS: dict[str, tuple[dict[str, str], bool]] = {
    "clients": ({"echo by clients": "echo", "fan-out by clients": "a delivery"}, False),
    "rooms of each client": ({"fan-out by rooms": "a delivery to a room"}, False),
    "bytes a message": ({"raw by size": "raw", "Socket.IO by size": "Socket.IO"}, True),
}


def lines(result: dict[str, Any]) -> str:
    """Three small diagrams side by side, of microseconds a message."""
    parts: list[str] = []
    for number, (title, (series, is_log)) in enumerate(PANELS.items()):
        curves = {label: result["curves"][name] for name, label in series.items()}
        parts += _panel(20 + number * (PANEL + 20), 40, title, curves, is_log=is_log)
    python = result["versions"]["Python"]
    title = f"CPU time of a message in microseconds (Python {python})"
    return _svg(40 + 3 * (PANEL + 20), PANEL_HEIGHT + 80, title, parts)


def _panel(
    x: int, y: int, title: str, curves: dict[str, dict[str, float]], *, is_log: bool
) -> list[str]:
    most = max(value for curve in curves.values() for value in curve.values())
    least = min(value for curve in curves.values() for value in curve.values()) if is_log else 0
    scale: Callable[[float], float] = math.log if is_log else float
    low = scale(least / 2) if is_log else 0.0
    high = scale(most * (3 if is_log else 1.3))  # the names of the curves are above them

    def up(value: float) -> float:
        return y + PANEL_HEIGHT - (scale(value) - low) / (high - low) * PANEL_HEIGHT

    parts = [
        f'<path class="grid" d="M{x} {y}v{PANEL_HEIGHT}h{PANEL}"/>',
        f'<text x="{x + PANEL / 2}" y="{y + PANEL_HEIGHT + 32}" text-anchor="middle">'
        f"{escape(title)}</text>",
    ]
    names = list(next(iter(curves.values())))
    step = PANEL / (len(names) - 0.4)
    places = [x + step * (index + 0.3) for index in range(len(names))]
    for name, at in zip(names, places, strict=True):
        label = f'<text class="number" x="{at:.1f}" y="{y + PANEL_HEIGHT + 15}"'
        parts.append(f'{label} text-anchor="middle">{_number(int(name))}</text>')
    for number, (label, curve) in enumerate(curves.items()):
        colour = COLOURS[number]
        points = [(at, up(value)) for at, value in zip(places, curve.values(), strict=True)]
        path = " ".join(f"{at:.1f},{height:.1f}" for at, height in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        for index, ((at, height), value) in enumerate(zip(points, curve.values(), strict=True)):
            parts.append(f'<circle cx="{at:.1f}" cy="{height:.1f}" r="2.5" fill="{colour}"/>')
            if index % (3 if len(points) > 4 else 1) == 0 or index == len(points) - 1:
                below = is_log and number == 0  # the curves are near each other there
                text = f'<text class="number" x="{at:.1f}" y="{height + (15 if below else -6):.1f}"'
                parts.append(f'{text} text-anchor="middle">{_short_figure(value)}</text>')
        parts.append(
            f'<text x="{x + 8}" y="{y + 4 + 15 * number}" style="fill:{colour}">'
            f"{escape(label)}</text>"
        )
    return parts


def _number(count: int) -> str:
    if count % 1024:
        return f"{count:,}"
    return f"{count >> 20}M" if count >= 1 << 20 else f"{count >> 10}K"


def _short_figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


# -- the page --------------------------------------------------------------------------------


def layers(result: dict[str, Any]) -> str:
    """Where the microseconds go, as Markdown."""
    found = result["layers"]
    head = " | ".join(WORKLOADS[key].title for key in found)
    rows = [f"| µs | {head} |", "| --- |" + " ---: |" * len(found)]
    for layer in next(iter(found.values())):
        cells = " | ".join(
            f"{one[layer]:.1f}" if one[layer] >= 0.05 else "" for one in found.values()
        )
        rows.append(f"| {layer} | {cells} |")
    sums = " | ".join(f"**{sum(one.values()):.1f}**" for one in found.values())
    return "\n".join([*rows, f"| together | {sums} |"])


def growth(result: dict[str, Any]) -> str:
    """The curves in numbers, as Markdown."""
    rows = ["| | |", "| --- | --- |"]
    for name, curve in result["curves"].items():
        told = ", ".join(f"{_number(int(n))}: {_short_figure(value)}" for n, value in curve.items())
        rows.append(f"| {name}, µs | {told} |")
    return "\n".join(rows)


def deliveries(result: dict[str, Any]) -> str:
    """What one costs with one worker and with several, as Markdown."""
    several = str(result["workers"])
    rows = [f"| a delivery to one of | 1 worker, µs | {several} workers, µs | |"]
    rows.append("| ---: | ---: | ---: | ---: |")
    for clients, cost in result["deliveries"].items():
        more = cost[several] / cost["1"]
        figures = f"{cost['1']:.3g} | {cost[several]:.3g} | x {more:.2f}"
        rows.append(f"| {_number(int(clients))} clients | {figures} |")
    return "\n".join([*rows, "", f"{result['processors']} processors, {versions(result)}"])


def versions(result: dict[str, Any]) -> str:
    told = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"{told}; {result['platform']}."


def _picture(stem: str) -> str:
    return f"performance-{stem}.svg"


def made(results: Path = RESULTS) -> tuple[dict[str, str], dict[str, str]]:
    """What stands between the marks of the page, and the pictures, by their names."""
    told: dict[str, str] = {}
    pictures: dict[str, str] = {}
    for file in sorted(results.glob("*.json")):
        stem = file.stem
        result = json.loads(file.read_text(encoding="utf-8"))
        if stem.startswith("growth"):
            pictures[_picture(stem)] = lines(result)
            told[stem] = f"![How a message's cost grows]({_picture(stem)})\n\n{growth(result)}"
        elif stem.startswith("profile"):
            told[stem] = layers(result)
        elif stem.startswith("workers"):
            told[stem] = deliveries(result)
        elif stem.startswith("hello"):
            told[stem] = f"{table(result)}\n\n{latencies(result)}"
        else:
            pictures[_picture(stem)] = bars(result)
            told[stem] = f"![CPU time beside the peers]({_picture(stem)})\n\n{table(result)}"
            told[stem] += f"\n\n{versions(result)}"
            told[f"latency-{stem}"] = latencies(result)
    return told, pictures


def filled_pages(told: dict[str, str]) -> dict[Path, str]:
    """The pages with all that is told of the results."""
    workers = {name for name in told if name.startswith("workers")}
    parts = {PAGE: told.keys() - workers, WORKERS_PAGE: workers}
    return {
        page: filled(page.read_text(encoding="utf-8"), {name: told[name] for name in sorted(names)})
        for page, names in parts.items()
    }


def filled(page: str, told: dict[str, str]) -> str:
    """The page with its tables. Raises ValueError if it has no place for one."""
    for name, text in told.items():
        mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.S)
        page, found = mark.subn(lambda match, text=text: match[1] + text + match[2], page)
        if not found:
            raise ValueError(f"its page has no place for it: <!-- {name} --> and <!-- end -->")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, but compare")
    check = parser.parse_args().check
    told, pictures = made()
    wanted = {PAGE.parent / name: drawing for name, drawing in pictures.items()}
    wanted |= filled_pages(told)
    for file, text in wanted.items():
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.exit(f"{file} is not what the results make of it: python bench/chart.py")


if __name__ == "__main__":
    main()
