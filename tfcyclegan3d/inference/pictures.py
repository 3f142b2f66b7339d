"""A picture of a segmentation for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfcyclegan3d.colours import composite, picture_colours
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
    shown = display_range(volume.array)
    masks = {"mask": mask} | ({"truth": truth} if truth is not None else {})
    middle = _fullest_plane(mask.array)
    figure = Figure(figsize=(4 * (2 + len(masks)), 8.4), layout="constrained")
    axes = figure.subplots(2, 2 + len(masks), squeeze=False)
    views = {f"plane z = {middle}": lambda array: array[middle], "mean along z": _mean_along_z}
    for row, (title, view) in zip(axes, views.items(), strict=True):
        _show(row[0], composite(view(shown), class_names), f"{volume.name}: {title}")
        _show(row[1], composite(view(shown), class_names), "outlines of the mask")
        _outline(row[1], view(mask.array > 0) > 0, class_names)
        for axis, (name, one) in zip(row[2:], masks.items(), strict=True):
            _show(axis, composite(view(one.array > 0), class_names), name)
    if volume.voxel_size_um is not None:
        for axis in axes.ravel():
            _scale_bar(axis, volume.shape[2], volume.voxel_size_um[2])
    if len(class_names) > 1:
        figure.supxlabel("  ".join(f"{name}: {colour}" for name, colour in _said(class_names)), fontsize=10)
    return figure


def display_range(array: np.ndarray) -> np.ndarray:
    """Stretch each channel between its 1st and 99.8th percentile to [0, 1], to be looked at."""
    low, high = np.percentile(array, (1, 99.8), axis=(0, 1, 2))
    return np.clip((array - low) / np.maximum(high - low, 1e-12), 0, 1)


def _fullest_plane(mask: np.ndarray) -> int:
    """Return the plane that shows most: the one with the most objects, or the middle one where there is none."""
    covered = (mask > 0).sum(axis=(1, 2, 3))
    return int(covered.argmax()) if covered.any() else mask.shape[0] // 2


def _mean_along_z(array: np.ndarray) -> np.ndarray:
    """Return the mean along Z (YXC), each channel stretched so that its greatest value is 1."""
    mean = array.mean(axis=0, dtype=np.float64)
    return mean / np.maximum(mean.max(axis=(0, 1)), 1e-12)


def _show(axis: Axes, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.set(xticks=[], yticks=[])


def _outline(axis: Axes, plane: np.ndarray, class_names: Sequence[str]) -> None:
    colours = picture_colours(class_names) if len(class_names) > 1 else [OUTLINE_OF_ONE]
    for k, colour in enumerate(colours):
        if min(plane.shape[:2]) > 1 and plane[..., k].any() and not plane[..., k].all():
            axis.contour(plane[..., k], levels=[0.5], colors=[colour], linewidths=0.9)


def _scale_bar(axis: Axes, width: int, voxel_um: float) -> None:
    """Draw a bar of a round length, about a fifth of the picture's width."""
    wanted = width * voxel_um / 5
    step = 10 ** np.floor(np.log10(wanted))
    length = step * max(factor for factor in (1, 2, 5) if factor * step <= wanted)
    left, bottom = 0.05 * width, 0.95 * axis.get_ylim()[0]
    axis.plot([left, left + length / voxel_um], [bottom, bottom], color="white", linewidth=3, solid_capstyle="butt")
    axis.text(left, bottom * 0.98, f"{length:g} µm", color="white", fontsize=9, va="bottom")


def _said(class_names: Sequence[str]) -> list[tuple[str, str]]:
    known = {"golgi": "magenta", "nuclei": "green"}
    return [(name, known[name]) for name in class_names if name in known]
