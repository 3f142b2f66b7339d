"""A picture of a segmentation for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfcyclegan3d import panels
from tfcyclegan3d.colours import picture_colours
from tfcyclegan3d.volumes import Volume

OUTLINE_OF_ONE = (1.0, 0.65, 0.0)


def overview(volume: Volume, mask: Volume, class_names: Sequence[str], truth: Volume | None = None) -> Figure:
    """Draw the fullest plane and the mean along Z of a stack beside its mask.

    A maximum projection would show a dense stack as one bright area, and its mask as full.

    Parameters
    ----------
    volume : Volume
        The stack.
    mask : Volume
        Its mask, on the same grid.
    class_names : sequence of str
        One a channel.
    truth : Volume, optional
        Drawn as a further column.
    """
    shown = panels.display_range(volume.array)
    masks = {"mask": mask} | ({"truth": truth} if truth is not None else {})
    middle = panels.fullest_plane(mask.array)
    figure = Figure(figsize=(4 * (2 + len(masks)), 8.4), layout="constrained")
    axes = figure.subplots(2, 2 + len(masks), squeeze=False)
    views = {f"plane z = {middle}": lambda array: array[middle], "mean along z": _mean_along_z}
    for row, (title, view) in zip(axes, views.items(), strict=True):
        panels.show(row[0], view(shown), class_names, f"{volume.name}: {title}")
        panels.show(row[1], view(shown), class_names, "outlines of the mask")
        _outline(row[1], view(mask.array > 0) > 0, class_names)
        for axis, (name, one) in zip(row[2:], masks.items(), strict=True):
            panels.show(axis, view(one.array > 0), class_names, name)
    if volume.voxel_size_um is not None:
        for axis in axes.ravel():
            panels.scale_bar(axis, volume.shape[2], volume.voxel_size_um[2])
    panels.legend(figure, class_names)
    return figure


def _mean_along_z(array: np.ndarray) -> np.ndarray:
    """Return the mean along Z (YXC), each channel stretched so that its greatest value is 1."""
    mean = array.mean(axis=0, dtype=np.float64)
    return mean / np.maximum(mean.max(axis=(0, 1)), 1e-12)


def _outline(axis: Axes, plane: np.ndarray, class_names: Sequence[str]) -> None:
    colours = picture_colours(class_names) if len(class_names) > 1 else [OUTLINE_OF_ONE]
    for k, colour in enumerate(colours):
        if min(plane.shape[:2]) > 1 and plane[..., k].any() and not plane[..., k].all():
            axis.contour(plane[..., k], levels=[0.5], colors=[colour], linewidths=0.9)
