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


def overview(
    volume: Volume, mask: Volume, class_names: Sequence[str], truth: Volume | None = None, step: int = 1
) -> Figure:
    """Draw the fullest plane across Z, the fullest across Y and the mean along Z of a stack beside its mask.

    A maximum projection would show a dense stack as one bright area, and its mask as full. What is seen along Y is
    drawn in the proportions of the voxels where their size is known.

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
    step : int
        Only every such voxel of the stack is there, along Y and X.
    """
    shown = panels.display_range(volume.array)
    masks = {"mask": mask} | ({"truth": truth} if truth is not None else {})
    z, y = panels.fullest_plane(mask.array), panels.fullest_plane(mask.array, axis=1)
    size = volume.voxel_size_um or (1.0, float(step), float(step))
    views = {
        f"plane z = {z}": (lambda array: array[z], size[1] / size[2]),
        f"plane y = {y * step}": (lambda array: array[:, y], size[0] / size[2]),
        "mean along z": (_mean_along_z, size[1] / size[2]),
    }
    # Heights of the rows by widths; of flat or tall stacks, what can still be looked at.
    heights = [view(shown).shape[0] * aspect / volume.shape[2] for view, aspect in views.values()]
    heights = [float(np.clip(height, 0.15, 2)) for height in heights]
    figure = Figure(figsize=(4 * (2 + len(masks)), 4 * sum(heights) + 1.2), layout="constrained")
    axes = figure.subplots(len(views), 2 + len(masks), squeeze=False, height_ratios=heights)
    for row, (title, (view, aspect)) in zip(axes, views.items(), strict=True):
        panels.show(row[0], view(shown), class_names, f"{volume.name}: {title}", aspect)
        panels.show(row[1], view(shown), class_names, "outlines of the mask", aspect)
        _outline(row[1], view(mask.array > 0) > 0, class_names)
        for axis, (name, one) in zip(row[2:], masks.items(), strict=True):
            panels.show(axis, view(one.array > 0), class_names, name, aspect)
    if volume.voxel_size_um is not None:
        for axis in axes.ravel():
            panels.scale_bar(axis, volume.shape[2], volume.voxel_size_um[2])
    panels.legend(figure, class_names, OUTLINE_OF_ONE if len(class_names) == 1 else None)
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
