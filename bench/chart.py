"""Draws a result of run.py as an SVG picture, and puts it and its tables into docs/performance.md.

    python bench/chart.py bench/results/3.11.json

For each workload a group of bars, one a server: CPU time, as a multiple of ours.
"""

from __future__ import annotations

import json
import re
import sys
from html import escape
from pathlib import Path
from typing import Any

from peers import PEERS
from run import latencies, table
from workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 220, 60, 14, 14, 34
COLOURS = ["#b3261e", "#5b7083", "#8aa0b2", "#4f8a5b", "#b58a2a", "#7a6aa8", "#9c9c9c"]
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 } .number { fill: #666 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .number { fill: #aaa } }
"""


def picture(result: dict[str, Any]) -> str:
    """The whole drawing. Bars that would leave it are cut, and say how long they were."""
    most = 12.0
    parts: list[str] = []
    y = TOP
    for key, figures in result["loads"].items():
        if "ours" not in figures or len(figures) < 2:
            continue
        ours = figures["ours"]["cpu_us"]
        parts.append(f'<text class="title" x="8" y="{y + BAR - 3}">{escape(_short(key))}</text>')
        for peer, one in figures.items():
            ratio = one["cpu_us"] / ours
            width = min(ratio, most) / most * (WIDTH - LEFT - RIGHT)
            colour = COLOURS[list(PEERS).index(peer)]
            label = f"{one['cpu_us']:.3g} µs" if peer == "ours" else f"x {ratio:.1f}"
            title = f"{PEERS[peer].label}: {one['cpu_us']:.3g} µs"
            parts.append(
                f'<g><title>{escape(title)}</title><rect x="{LEFT}" y="{y}" width="{width:.1f}"'
                f' height="{BAR - 2}" fill="{colour}"/>'
                f'<text class="number" x="{LEFT + width + 6:.1f}" y="{y + BAR - 4}">{label}</text>'
                "</g>"
            )
            y += BAR
        y += GAP
    legend = _legend(result["peers"], y + 8)
    height = y + 8 + 18 * ((len(result["peers"]) + 2) // 3) + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' width="{WIDTH}" height="{height}"><title>CPU time of the server, less is better</title>'
        f'<style>{STYLE}</style><text x="8" y="18">CPU time of the server a message, as a'
        f" multiple of ours (Python {result['versions']['Python']}); less is better</text>"
    )
    return "\n".join([head, *parts, *legend, "</svg>", ""])


def _short(key: str) -> str:
    return WORKLOADS[key].title.replace("Socket.IO ", "").replace(", a delivery", "")[:34]


def _legend(peers: list[str], y: int) -> list[str]:
    parts = []
    for number, peer in enumerate(peers):
        x, row = 8 + number % 3 * 250, y + number // 3 * 18
        colour = COLOURS[list(PEERS).index(peer)]
        parts.append(
            f'<rect x="{x}" y="{row}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{x + 16}" y="{row + 10}">{escape(PEERS[peer].label)}</text>'
        )
    return parts


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in sys.argv[1:]:
        result = json.loads(Path(name).read_text(encoding="utf-8"))
        stem = Path(name).stem
        picture_file = PAGE.parent / f"performance-{stem}.svg"
        picture_file.write_text(picture(result), encoding="utf-8")
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        told = f"![CPU time beside the peers]({picture_file.name})\n\n{table(result)}\n\n"
        told += f"{versions}.\n\n{latencies(result)}"
        mark = re.compile(rf"(<!-- {re.escape(stem)} -->\n).*?(\n<!-- end -->)", re.S)
        page, found = mark.subn(lambda match, told=told: match[1] + told + match[2], page)
        if not found:
            sys.exit(f"{PAGE} has no place for it: <!-- {stem} --> and <!-- end -->")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
