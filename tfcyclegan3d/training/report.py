"""``report.html``: one self-contained page a person reads to see what a run did."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tfcyclegan3d.training.run_folder import RunFolder, whole

# Okabe and Ito's colours, which the colour-blind tell apart (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
END = "</body></html>\n"
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
img{max-width:100%}table{border-collapse:collapse}td,th{border-bottom:1px solid #ddd;padding:.25em 1em .25em 0;
text-align:left;vertical-align:top}code{background:#f4f4f4;padding:.1em .3em}
.warning{background:#fff3cd;padding:.5em 1em}"""


def write_report(run: RunFolder, manifest: Mapping[str, Any], notes: Sequence[str]) -> Path:
    """Write ``report.html`` from what the run folder holds.

    Parameters
    ----------
    run : RunFolder
        With its metrics and previews.
    manifest : mapping
        What ``manifest.json`` holds.
    notes : sequence of str
        What was found or assumed about the user's stacks.
    """
    previews = sorted((run.path / "previews").glob("epoch_*.png"))
    parts = [f"<h1>Training run {html.escape(run.path.name)}</h1>"]
    parts += [f'<p class="warning">{html.escape(text)}</p>' for text in manifest["warnings"]]
    parts.append(
        _table(
            {
                "verdict": manifest["verdict"],
                "preset": manifest["preset"],
                "seed": manifest["seed"],
                "classes": ", ".join(manifest["classes"]),
                "steps": manifest["steps"],
                "minutes": f"{manifest['timings']['total_minutes']:.1f}",
                "precision": manifest["policy"],
                "command": manifest["command"],
                "inputs": ", ".join(entry["name"] for entry in manifest["inputs"]),
            }
        )
    )
    if notes:
        parts.append(
            "<h2>What was found or assumed</h2><ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in notes) + "</ul>"
        )
    rows = run.read_metrics()
    if rows:
        parts.append("<h2>Losses</h2>" + _image(_loss_figure(rows), "losses by epoch"))
    if previews:
        parts.append(
            "<h2>The last epoch</h2><p>The middle plane of patches drawn for this page. Left, an image, the "
            "mask predicted from it, and the image made of that mask again; right, a synthetic mask, the image "
            "made of it, and the mask predicted from that.</p>"
            + _embedded(previews[-1].read_bytes(), "patches at the end")
        )
        if len(previews) > 1:
            parts.append(
                "<h2>The first epoch</h2>" + _embedded(previews[0].read_bytes(), "patches after the first epoch")
            )
    parts.append(
        "<h2>The networks kept</h2><p><code>image_to_mask.keras</code> and <code>mask_to_image.keras</code> hold "
        "the weights at the end of the last epoch"
        + (", averaged over the last steps" if manifest["averaged"] else "")
        + ".</p>"
    )
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(run.path.name)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}{END}"
    )
    with whole(run.path / "report.html") as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return run.path / "report.html"


def add_held_out(run: Path, table: str, picture: Path) -> None:
    """Put the scores of a held-out stack, as aligned text, and its picture (PNG) at the end of a run's report."""
    text = (run / "report.html").read_text(encoding="utf-8")
    section = (
        f"<h2>A stack held out</h2><pre>{html.escape(table)}</pre>"
        "<p>The stack, the outlines of its mask, the mask, and the truth, which took no part in the training.</p>"
        + _embedded(picture.read_bytes(), "the held-out stack, its mask and its truth")
    )
    with whole(run / "report.html") as unfinished:
        unfinished.write_text(text.replace(END, section + END), encoding="utf-8")


def _table(entries: Mapping[str, object]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>" for key, value in entries.items()
    )
    return f"<table>{rows}</table>"


def _loss_figure(rows: Sequence[Mapping[str, str]]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    for i, name in enumerate(list(rows[0])[4:]):
        points = [(float(row["epoch"]), float(row[name])) for row in rows if row[name]]
        if points:
            axis.plot(
                *zip(*points, strict=True),
                label=name.replace("_", " "),
                color=COLOURS[i % len(COLOURS)],
                marker="o",
                markersize=3,
            )
    axis.set(xlabel="epoch", ylabel="loss (mean over the epoch)")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def _image(figure: Figure, alternative: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return _embedded(buffer.getvalue(), alternative)


def _embedded(png: bytes, alternative: str) -> str:
    return f'<img alt="{alternative}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
