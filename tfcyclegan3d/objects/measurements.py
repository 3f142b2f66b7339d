"""What each object of a stack is like: its size, shape, place and brightness, in micrometres where they are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from tfcyclegan3d import errors
from tfcyclegan3d.objects.boxes import boxes_of, read_together
from tfcyclegan3d.sources import Source, open_source
from tfcyclegan3d.synthesis.classes import DEFAULT_CLASSES
from tfcyclegan3d.volumes import Volume

AXES = ("z", "y", "x")
# Standard deviation, in voxels, of the smoothing before the surface is laid: it takes away most of the staircase.
SURFACE_SIGMA = 1.0

Stack = Volume | np.ndarray | str | Path | Source


def measure_objects(
    labels: Stack,
    image: Stack | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    classes: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Measure every object of a stack of instance numbers.

    A stack on disk is read part by part.

    Parameters
    ----------
    labels : Volume, ndarray, str, Path or Source
        Instance numbers, ZYX or ZYXC with channel k holding class k; 0 is background.
    image : Volume, ndarray, str, Path or Source, optional
        Intensities on the same grid, of any number of channels.
    voxel_size_um : (z, y, x), optional
        In micrometres; what ``labels`` say, else what ``image`` says, if not given. Where nobody says it, lengths are
        in voxels, of which all sides count alike.
    classes : sequence of str, optional
        One name a channel of ``labels``; without them one channel is nuclei and two are golgi, nuclei.
    channels : sequence of str, optional
        One name a channel of ``image``; the classes' where there are as many, else their numbers.

    Returns
    -------
    pandas.DataFrame
        One row per object, with the columns of `columns`; ``attrs["unit"]`` is ``"um"`` or ``"voxels"`` and
        ``attrs["voxel_size"]`` the sides (z, y, x) in it.

    Raises
    ------
    ShapeMismatchError
        For an image of another shape.
    ChannelError
        For another number of names than channels.
    VolumeContentError
        For values that are no instance numbers.
    """
    numbered = opened(labels)
    bright = None if image is None else opened(image)
    names = class_names(classes, numbered.grid.n_channels, numbered.grid.name)
    if bright is not None and bright.grid.shape != numbered.grid.shape:
        raise errors.ShapeMismatchError(
            f"image {bright.grid.name}", bright.grid.shape, f"labels {numbered.grid.name}", numbered.grid.shape
        )
    shown = _channel_names(channels, bright, names)
    known = voxel_size_um or numbered.grid.voxel_size_um or (bright.grid.voxel_size_um if bright is not None else None)
    unit, spacing = ("voxels", (1.0, 1.0, 1.0)) if known is None else ("um", tuple(float(side) for side in known))
    boxes = boxes_of(numbered)
    rows = [row for k, name in enumerate(names) for row in _rows(numbered, bright, k, name, boxes[k], spacing)]
    table = pd.DataFrame(rows, columns=columns(unit, shown))
    table = table.astype(_types(table.columns))
    table.attrs |= {"unit": unit, "voxel_size": spacing}
    return table


def opened(stack: Stack) -> Source:
    """Return a stack as a source, which it may be already."""
    return open_source(stack) if isinstance(stack, Volume | np.ndarray | str | Path) else stack


def columns(unit: str, channels: Sequence[str] = ()) -> list[str]:
    """Return the columns of a table of objects.

    Parameters
    ----------
    unit : {"um", "voxels"}
        Of the lengths.
    channels : sequence of str
        Names of the image's channels.
    """
    cubed, squared = {"um": ("um3", "um2"), "voxels": ("voxels", "voxels")}[unit]
    return [
        "class",
        "label",
        "n_voxels",
        *(f"centre_{axis}" for axis in AXES),
        *(f"centre_{axis}_{unit}" for axis in AXES),
        f"volume_{cubed}",
        f"surface_{squared}",
        "sphericity",
        f"diameter_{unit}",
        f"major_axis_{unit}",
        f"middle_axis_{unit}",
        f"minor_axis_{unit}",
        *(f"axis_{axis}" for axis in AXES),
        "azimuth_degrees",
        "elevation_degrees",
        "touches_border",
        *(f"{figure}_{name}" for name in channels for figure in ("mean", "total")),
    ]


def shape_figures(mask: np.ndarray, spacing: Sequence[float]) -> list[float]:
    """Return the figures of one object from ``volume`` to ``elevation_degrees``, in the order of ``columns``.

    Parameters
    ----------
    mask : ndarray of bool, ZYX
        At least one voxel.
    spacing : (z, y, x)
        Sides of a voxel.
    """
    sides = np.asarray(spacing, float)
    places = np.argwhere(mask) * sides
    volume = len(places) * float(np.prod(sides))
    # A voxel is a box, not a point: its own second moment counts.
    spread = np.cov(places.T, bias=True) + np.diag(sides**2 / 12)
    moments, directions = np.linalg.eigh(spread)
    # The variance of an ellipsoid along an axis is a fifth of its semi-axis squared.
    minor, middle, major = 2 * np.sqrt(5 * moments)
    axis = directions[:, 2]
    # Of the two ends of the axis, the one that points along X, else along Y, else along Z.
    axis = axis * np.sign(axis[np.flatnonzero(np.abs(axis) > 1e-9)[-1]])
    surface = surface_area(mask, spacing)
    sphericity = ball_area(volume) / surface
    diameter = (6 * volume / np.pi) ** (1 / 3)
    return [volume, surface, sphericity, diameter, major, middle, minor, *axis, *direction(axis)]


def direction(vector: Sequence[float]) -> tuple[float, float]:
    """Return azimuth and elevation of a vector (z, y, x), in degrees.

    The azimuth is counted in the XY plane from X towards Y, in (-180, 180]; the elevation from that plane towards Z, in
    [-90, 90].
    """
    z, y, x = (float(part) for part in vector)
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(y, x))))


def surface_area(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Return the area of an object's surface: marching cubes over its smoothed outline, which keeps its volume.

    On the voxels themselves marching cubes lay a staircase, whose area exceeds a ball's by 8 % however fine the voxels.
    No surface is smaller than that of a ball of the same volume, as may come out for a few voxels. Where the stack's
    border cuts an object, the cut counts.

    Parameters
    ----------
    mask : ndarray of bool, ZYX
        At least one voxel.
    spacing : (z, y, x)
        Sides of a voxel.
    """
    blurred = ndimage.gaussian_filter(np.pad(mask, 4).astype(np.float32), SURFACE_SIGMA)
    n_outside = blurred.size - int(np.count_nonzero(mask))
    below, above = np.partition(blurred.ravel(), (n_outside - 1, n_outside))[n_outside - 1 : n_outside + 1]
    # Equal where symmetry makes them so.
    level = float(below + above) / 2 if above < blurred.max() else float(below) / 2 + float(blurred.max()) / 2
    points, faces, _, _ = marching_cubes(blurred, level, spacing=tuple(spacing))
    return max(float(mesh_surface_area(points, faces)), ball_area(np.count_nonzero(mask) * float(np.prod(spacing))))


def ball_area(volume: float) -> float:
    """Return the area of a ball's surface."""
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3))


def class_names(classes: Sequence[str] | None, n_channels: int, name: str) -> tuple[str, ...]:
    """Return the names of a stack's classes: those given, else the usual ones.

    Raises
    ------
    ChannelError
        For another number of names than channels.
    """
    if classes is None:
        return DEFAULT_CLASSES.get(n_channels) or tuple(f"class_{k}" for k in range(n_channels))
    if len(classes) != n_channels:
        named = "1 class is" if len(classes) == 1 else f"{len(classes)} classes are"
        raise errors.ChannelError(name, n_channels, f"but {named} named: {', '.join(classes)}")
    return tuple(classes)


def _channel_names(channels: Sequence[str] | None, image: Source | None, classes: Sequence[str]) -> tuple[str, ...]:
    if image is None:
        return ()
    n_channels = image.grid.n_channels
    if channels is None:
        return tuple(classes) if len(classes) == n_channels else tuple(f"channel_{k}" for k in range(n_channels))
    if len(channels) != n_channels:
        raise errors.ChannelError(image.grid.name, n_channels, f"but {len(channels)} names were given")
    return tuple(channels)


def _rows(
    labels: Source,
    image: Source | None,
    channel: int,
    name: str,
    boxes: dict[int, np.ndarray],
    spacing: Sequence[float],
) -> list[list[object]]:
    """Return the rows of one class, in the order of the numbers."""
    numbers, corners = list(boxes), list(boxes.values())
    rows: dict[int, list[object]] = {}
    for whole, together in read_together(corners):
        values = labels.read(whole)[..., channel]
        intensities = None if image is None else image.read(whole)
        origin = np.array([part.start for part in whole])
        for index in together:
            low, high = corners[index]
            inner = tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))
            mask = values[inner] == numbers[index]
            centre = np.argwhere(mask).mean(axis=0) + low
            at_border = bool((low == 0).any() or (high == labels.grid.shape).any())
            rows[index] = [
                name,
                numbers[index],
                int(mask.sum()),
                *centre,
                *(centre * spacing),
                *shape_figures(mask, spacing),
                at_border,
                *([] if intensities is None else _brightness(intensities[inner], mask)),
            ]
    return [rows[index] for index in range(len(numbers))]


def _brightness(intensities: np.ndarray, mask: np.ndarray) -> list[float]:
    """Return mean and total of each channel (ZYXC) inside an object."""
    inside = intensities[mask].astype(np.float64)
    return [figure for k in range(inside.shape[1]) for figure in (inside[:, k].mean(), inside[:, k].sum())]


def _types(names: Iterable[str]) -> dict[str, str]:
    known = {"class": "object", "label": "int64", "n_voxels": "int64", "touches_border": "bool"}
    return {name: known.get(name, "float64") for name in names}
