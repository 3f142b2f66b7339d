"""What each object of a stack is like: its size, shape, place and brightness, in micrometres where they are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tfcyclegan3d import errors
from tfcyclegan3d.objects.boxes import MOST_READ, boxes_of, read_together
from tfcyclegan3d.objects.surfaces import ball_area, surface_area
from tfcyclegan3d.sources import Source, open_source
from tfcyclegan3d.synthesis.classes import DEFAULT_CLASSES
from tfcyclegan3d.volumes import Volume
from tfcyclegan3d.zarrs.chunks import Box

AXES = ("z", "y", "x")

Stack = Volume | np.ndarray | str | Path | Source
_Layer = tuple[np.ndarray, np.ndarray, np.ndarray | None]


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
    volume = int(np.count_nonzero(mask)) * float(np.prod(sides))
    # A voxel is a box, not a point: its own second moment counts.
    spread = centre_and_spread(mask)[1] * np.outer(sides, sides) + np.diag(sides**2 / 12)
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


def centre_and_spread(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean place (3,) of an object's voxels and its covariance (3, 3), in voxels."""
    # Voxels behind each other along an axis are counted together: a list of all of them would be many times the mask.
    counts = [mask.sum(axis=axis, dtype=np.int64) for axis in range(3)]
    along = counts[2].sum(axis=1), counts[2].sum(axis=0), counts[0].sum(axis=0)
    n_voxels = int(along[0].sum())
    centre = np.array([one @ np.arange(len(one)) / n_voxels for one in along])
    away = [np.arange(len(one)) - middle for one, middle in zip(along, centre, strict=True)]
    spread = np.diag([one @ steps**2 for one, steps in zip(along, away, strict=True)])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        spread[a, b] = spread[b, a] = away[a] @ counts[3 - a - b] @ away[b]
    return centre, spread / n_voxels


def direction(vector: Sequence[float]) -> tuple[float, float]:
    """Return azimuth and elevation of a vector (z, y, x), in degrees.

    The azimuth is counted in the XY plane from X towards Y, in (-180, 180]; the elevation from that plane towards Z, in
    [-90, 90]. A vector along Z has no azimuth (NaN).
    """
    z, y, x = (float(part) for part in vector)
    azimuth = float(np.degrees(np.arctan2(y, x))) if (y, x) != (0, 0) else float("nan")
    return azimuth, float(np.degrees(np.arctan2(z, np.hypot(y, x))))


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
        raise errors.ChannelError(
            name, n_channels, f"but {named} named: {', '.join(classes)}", "name one class for each channel"
        )
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
        layers = _layers(labels, image, channel, whole)
        if len(together) > 1:  # Which are in one layer, as they are read together.
            layers = list(layers)
        for index in together:
            low, high = corners[index]
            mask, totals = _gathered(layers, numbers[index], low, high)
            n_voxels = int(np.count_nonzero(mask))
            centre = centre_and_spread(mask)[0] + low
            at_border = bool((low == 0).any() or (high == labels.grid.shape).any())
            rows[index] = [
                name,
                numbers[index],
                n_voxels,
                *centre,
                *(centre * spacing),
                *shape_figures(mask, spacing),
                at_border,
                *(figure for total in totals for figure in (total / n_voxels, total)),
            ]
    return [rows[index] for index in range(len(numbers))]


def _layers(labels: Source, image: Source | None, channel: int, whole: Box) -> Iterator[_Layer]:
    """Yield the first voxel of each of the layers of a box, the numbers in it (ZYX), and the image's values (ZYXC)."""
    z, y, x = whole
    depth = max(1, MOST_READ // ((y.stop - y.start) * (x.stop - x.start)))
    for start in range(z.start, z.stop, depth):
        layer = (slice(start, min(start + depth, z.stop)), y, x)
        intensities = None if image is None else image.read(layer)
        yield np.array([start, y.start, x.start]), labels.read(layer)[..., channel], intensities


def _gathered(
    layers: Iterable[_Layer], number: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of an object in its box, and the total of each channel of the image inside."""
    mask, totals = np.zeros(high - low, bool), np.zeros(0)
    for origin, values, intensities in layers:
        start, stop = np.maximum(low, origin), np.minimum(high, origin + values.shape)
        inner = tuple(slice(a, b) for a, b in zip(start - origin, stop - origin, strict=True))
        here = values[inner] == number
        mask[start[0] - low[0] : stop[0] - low[0]] = here
        if intensities is not None:
            inside = intensities[inner][here]
            added = np.array([inside[:, k].sum(dtype=np.float64) for k in range(inside.shape[1])])
            totals = totals + added if totals.size else added
    return mask, totals


def _types(names: Iterable[str]) -> dict[str, str]:
    known = {"class": "object", "label": "int64", "n_voxels": "int64", "touches_border": "bool"}
    return {name: known.get(name, "float64") for name in names}
