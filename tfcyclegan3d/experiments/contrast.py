"""A picture of what contrast stretching does to a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tfcyclegan3d import errors, panels
from tfcyclegan3d.colours import picture_colours
from tfcyclegan3d.preprocessing import stretch, stretch_bounds
from tfcyclegan3d.volumes import Volume

Percentiles = Sequence[float] | Sequence[Sequence[float]]

PANEL_INCHES = 3.6
N_BINS = 100
LEAST_TO_ALL = (1e-5, 1.5)  # What the histograms show: all have one scale, to be compared.
DARK = "0.12"  # Behind the histograms, whose lines have the pictures' bright colours.


def contrast_figure(
    image: Volume, percentiles: Mapping[str, Percentiles], class_names: Sequence[str], plane: int | None = None
) -> Figure:
    """Draw a plane stretched between several pairs of percentiles, above the histograms of what was stretched.

    Parameters
    ----------
    image : Volume
        ZYXC of any real type, one channel a class. Bounds are those of the whole stack on its own grid; networks that
        see a coarser one take theirs there.
    percentiles : mapping of str to (low, high), or to such a pair for each class
        By title, in the order to show them in; (0, 100) clips nothing.
    class_names : sequence of str
        One a channel.
    plane : int, optional
        Which plane; the middle one without it.

    Returns
    -------
    Figure
        A column for each pair: the plane, with a scale bar where the voxel size is known, and the share of the stack's
        voxels at each value from -1 to 1, with the shares that the two ends take.

    Raises
    ------
    ChannelError
        If the number of channels is not the number of classes.
    OptionError
        If the stack has no such plane.
    """
    if image.n_channels != len(class_names):
        raise errors.ChannelError(image.name, image.n_channels, f"but there are {len(class_names)} classes")
    z = image.shape[0] // 2 if plane is None else plane
    if not 0 <= z < image.shape[0]:
        raise errors.OptionError("plane", plane, f"give 0 to {image.shape[0] - 1}")
    figure = Figure(figsize=(PANEL_INCHES * len(percentiles), 1.8 * PANEL_INCHES), dpi=100, layout="constrained")
    columns = figure.subplots(2, len(percentiles), squeeze=False, height_ratios=(1, 0.6)).T
    for column, (title, pair) in zip(columns, percentiles.items(), strict=True):
        stretched = stretch(image.array, stretch_bounds(image.array, pair))
        panels.show(column[0], (stretched[z] + 1) / 2, class_names, f"{title}: plane z = {z}")
        if image.voxel_size_um is not None:
            panels.scale_bar(column[0], image.shape[2], image.voxel_size_um[2])
        _draw_histograms(column[1], stretched, class_names)
    columns[0][1].set_ylabel("share of the voxels")
    panels.legend(figure, class_names)
    return figure


def _draw_histograms(axis, stretched: np.ndarray, class_names: Sequence[str]) -> None:
    ends = []
    for k, (name, colour) in enumerate(zip(class_names, picture_colours(class_names), strict=True)):
        values = stretched[..., k]
        counts, edges = np.histogram(values, N_BINS, (-1, 1))
        axis.stairs(counts / values.size, edges, color=colour, linewidth=1.4)
        ends.append(f"{name}: {np.mean(values <= -1):.0%} at -1, {np.mean(values >= 1):.1%} at 1")
    axis.set(yscale="log", xlim=(-1.03, 1.03), ylim=LEAST_TO_ALL, xlabel="what the networks see", facecolor=DARK)
    axis.set_title("\n".join(ends), fontsize=9)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
