"""The report's figures: what an epoch logs, drawn over the epochs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, which the colour-blind tell apart (jfly.uni-koeln.de/color); marks and dashes for paper.
STYLES = (
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
)
LOGARITHMIC_FROM = 20  # Between the largest and the smallest value.
MARKED_POINTS = 40  # More of them would hide their lines.


def curves(
    rows: Sequence[Mapping[str, str]],
    columns: Mapping[str, str],
    label: str,
    threshold: float | None = None,
    marked_epoch: int | None = None,
) -> Figure | None:
    """Draw columns of ``metrics.csv`` over the epochs, on a logarithmic axis where they span decades.

    Parameters
    ----------
    rows : sequence of mapping
        As ``RunFolder.read_metrics`` gives them.
    columns : mapping of str to str
        What to call each column; those without a value are left out.
    label : str
        Of the vertical axis.
    threshold : float, optional
        Drawn as a dashed line.
    marked_epoch : int, optional
        Drawn as a vertical band.

    Returns
    -------
    Figure or None
        None where no column has a value.
    """
    points = {
        name: [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
        for column, name in columns.items()
    }
    points = {name: of_column for name, of_column in points.items() if of_column}
    if not points:
        return None
    figure = Figure(figsize=(4.8, 2.9), layout="constrained")
    axis = figure.subplots()
    for style, (name, of_column) in zip(STYLES, points.items(), strict=False):
        size = 4 if len(of_column) <= MARKED_POINTS else 0
        axis.plot(*zip(*of_column, strict=True), label=name, markersize=size, linewidth=1.6, **style)
    values = [value for of_column in points.values() for _, value in of_column]
    values += [threshold] if threshold is not None else []
    if min(values) > 0 and max(values) >= LOGARITHMIC_FROM * min(values):
        axis.set_yscale("log")
    # All figures of a run show the same epochs, to be compared.
    axis.set(xlabel="epoch", ylabel=label, xlim=(int(rows[0]["epoch"]) - 0.5, int(rows[-1]["epoch"]) + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    _mark_phases(axis, rows)
    if threshold is not None:
        axis.axhline(threshold, color="#D55E00", linewidth=1.4, linestyle="--")
    if marked_epoch is not None:
        axis.axvspan(marked_epoch - 0.5, marked_epoch + 0.5, color="#009E73", alpha=0.2, linewidth=0)
    if len(points) > 1:
        axis.legend(fontsize=8, framealpha=0.7)
    return figure


def _mark_phases(axis, rows: Sequence[Mapping[str, str]]) -> None:
    """Draw a line where another part of the training began."""
    for before, row in itertools.pairwise(rows):
        if row["phase"] != before["phase"]:
            axis.axvline(int(row["epoch"]) - 0.5, color="0.4", linewidth=1, linestyle=(0, (1, 2)))
