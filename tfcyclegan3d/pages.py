"""Self-contained HTML pages: one look for every report, and pictures that a page holds itself."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

END = "</main></body></html>\n"
# Everything stands below .run, so that the parts shown in a notebook leave the notebook's own look alone.
STYLE = """.run{font:16px/1.5 system-ui,sans-serif;max-width:1040px;margin:0 auto;padding:1em;overflow-wrap:anywhere}
.run h1{font-size:1.6em;line-height:1.2}.run h2{font-size:1.25em;margin:1.8em 0 .4em}
.run img{width:100%;height:auto;display:block;background:#fff}
.run .verdict{font-size:1.1em;border-left:.4em solid #0072B2;padding:.2em .8em;margin:.8em 0}
.run .verdict.bad{border-color:#D55E00}
.run .warning{background:#fff3cd;color:#222;padding:.5em 1em;margin:.5em 0}
.run .panels{display:flex;flex-wrap:wrap;gap:1em}.run .panels figure{flex:1 1 290px;max-width:500px}
.run figure{margin:0}.run figcaption{font-size:.9em;margin:.3em 0}
.run .wide{overflow-x:auto}.run .wide img{min-width:760px}
.run table{border-collapse:collapse;width:100%}.run td,.run th{border-bottom:1px solid #ccc;padding:.3em .8em .3em 0;
text-align:left;vertical-align:top}.run th{font-weight:600;min-width:6em;overflow-wrap:normal}
.run pre{overflow-x:auto;background:#f4f4f4;color:#222;padding:.8em;font-size:.85em}
.run summary{cursor:pointer;font-weight:600;margin:1em 0 .4em}"""


def page(title: str, heading: str, body: str) -> str:
    """Return a whole page; ``body`` is HTML, title and heading are text."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>body{{margin:0;color:#222;background:#fff}}{STYLE}</style></head><body><main class="run">'
        f"<h1>{html.escape(heading)}</h1>{body}{END}"
    )


def section(title: str, body: str, when: object = True) -> str:
    """Return a section of a page; nothing where there is nothing to say (``when``)."""
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if when else ""


def wide(picture: str) -> str:
    """Let a picture of many columns be moved sideways on a narrow screen rather than shrink beyond recognition."""
    return f'<div class="wide">{picture}</div>'


def table(entries: Mapping[str, object] | Sequence[tuple[str, object]]) -> str:
    """Return a table of names and values."""
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    rows = "".join(f"<tr><th>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>" for key, value in pairs)
    return f"<table>{rows}</table>"


def columns(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of several columns, whose heads and cells are text."""
    head = "".join(f"<th>{html.escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def embedded(figure: Figure, alternative: str) -> str:
    """Return an ``img`` element that holds the figure itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")  # Panels are no more than 500 pixels wide.
    return embedded_png(buffer.getvalue(), alternative)


def embedded_png(png: bytes, alternative: str) -> str:
    """Return an ``img`` element that holds a picture itself."""
    return f'<img alt="{html.escape(alternative)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
