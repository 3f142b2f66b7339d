"""Panels of pictures: planes in their classes' colours, with scale bars and legends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from tfcyclegan3d.colours import composite, picture_colours

MOST_SHOWN = 600  # Voxels along a side of a panel, which has fewer pixels.


def display_range(array: np.ndarray) -> np.ndarray:
    """Stretch each channel (the last axis) between its 1st and 99.8th percentile to [0, 1], to be looked at."""
    if array.dtype == bool:  # Between which there are no percentiles.
        array = array.astype(np.float32)
    low, high = np.percentile(array, (1, 99.8), axis=tuple(range(array.ndim - 1)))
    stretched: np.ndarray = np.clip((array - low) / np.maximum(high - low, 1e-12), 0, 1)
    return stretched


def fullest_plane(mask: np.ndarray, axis: int = 0) -> int:
    """Return the plane across an axis of ZYXC that shows most: with the most of objects, else the middle one."""
    covered = (mask > 0).sum(axis=tuple(other for other in range(mask.ndim) if other != axis))
    return int(covered.argmax()) if covered.any() else mask.shape[axis] // 2


def show(axis: Axes, plane: np.ndarray, class_names: Sequence[str], title: str = "", aspect: float = 1.0) -> None:
    """Show a plane, YXC in [0, 1], in its classes' colours; along a long side, every n-th voxel.

    Its voxels are ``aspect`` times as high as they are wide.
    """
    rows, columns = (max(1, side // MOST_SHOWN) for side in plane.shape[:2])
    shown = plane[::rows, ::columns]
    extent = (-0.5, shown.shape[1] * columns - 0.5, shown.shape[0] * rows - 0.5, -0.5)
    axis.imshow(composite(shown, class_names), interpolation="nearest", extent=extent, aspect=aspect)
    axis.set_title(title, fontsize=10)
    axis.set(xticks=[], yticks=[])


def scale_bar(axis: Axes, width: int, voxel_um: float) -> None:
    """Draw a bar of a round length, about a fifth of the picture's width.

    Parameters
    ----------
    axis : Axes
        Holding a picture.
    width : int
        Of the picture, in voxels.
    voxel_um : float
        Side of a voxel along X, in micrometres.
    """
    wanted = width * voxel_um / 5
    step = 10 ** np.floor(np.log10(wanted))
    length = step * max(factor for factor in (1, 2, 5) if factor * step <= wanted)
    left, bottom = 0.05 * width, 0.95 * axis.get_ylim()[0]
    # An outline keeps white readable on white objects.
    bar, text = ([withStroke(linewidth=width, foreground="black")] for width in (5, 2))
    ends = [left, left + length / voxel_um]
    axis.plot(ends, [bottom] * 2, color="white", linewidth=3, solid_capstyle="butt", path_effects=bar)
    axis.text(left, bottom * 0.98, f"{length:g} µm", color="white", fontsize=9, va="bottom", path_effects=text)


def legend(figure: Figure, class_names: Sequence[str], outline: str | tuple[float, float, float] | None = None) -> None:
    """Name the colours of the classes below a figure, and that of outlines where they have another than their class."""
    colours = picture_colours(class_names)
    handles: list[Artist] = [
        Patch(facecolor=colour, edgecolor="0.5", label=name) for name, colour in zip(class_names, colours, strict=True)
    ]
    if outline is not None:
        handles.append(Line2D([], [], color=outline, label="outline"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
