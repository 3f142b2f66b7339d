"""A drawn volume as a list of objects in small boxes, from which masks and object numbers are painted plane by plane.

The list takes a thousandth of the memory of the volume, so that masks larger than memory can be written as a stream.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcyclegan3d.synthesis.prior_values import Triple

CENTRE_COLUMNS = ("centre_z", "centre_y", "centre_x")
TABLE_COLUMNS = (
    "class",
    "number",
    "pair",
    *CENTRE_COLUMNS,
    *(f"{name}_um" for name in CENTRE_COLUMNS),
    "semi_axis_a",
    "semi_axis_b",
    "semi_axis_c",
    "unit",
    "angle_degrees",
    "axis_z",
    "axis_y",
    "axis_x",
    "voxels",
    "volume_um3",
    "cut_by_border",
)


@dataclass(frozen=True)
class DrawnObject:
    """One object as it was drawn, before the elastic deformation and the cut at the volume's border.

    Parameters
    ----------
    class_name : str
        Its class.
    number : int
        Its value in the numbered masks, from 1; the members of a pair carry the same.
    centre : (z, y, x)
        In voxels.
    semi_axes : (a, b, c)
        In the prior's unit, the principal first; all alike for a sphere.
    offset : (z, y, x)
        Shift from its anchor before the pair was rotated, in the prior's unit.
    angle : float
        Direction of the principal axis in the XY plane, in degrees from X towards Y.
    principal_axis : (z, y, x)
        Unit vector of the principal semi-axis.
    n_voxels : int
        Voxels of it in the volume, after deformation and cut.
    is_cut : bool
        Whether the volume's border cuts it.
    """

    class_name: str
    number: int
    centre: Triple
    semi_axes: Triple
    offset: Triple
    angle: float
    principal_axis: Triple
    n_voxels: int
    is_cut: bool

    @property
    def pair(self) -> int:
        """The number of the pair (the group) it belongs to."""
        return self.number


@dataclass(frozen=True, eq=False)
class PlacedObject:
    """An object with its voxels.

    Parameters
    ----------
    drawn : DrawnObject
        What it is.
    channel : int
        Of the mask.
    corner : (z, y, x)
        First voxel of its box in the volume.
    box : (z, y, x)
        Sides of its box.
    bits : np.ndarray
        The box's truth values, packed eight to a byte.
    """

    drawn: DrawnObject
    channel: int
    corner: tuple[int, int, int]
    box: tuple[int, int, int]
    bits: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """ZYX bool of its box."""
        return np.unpackbits(self.bits, count=int(np.prod(self.box))).reshape(self.box).view(bool)


@dataclass(frozen=True, eq=False)
class Scene:
    """All objects of a volume.

    Parameters
    ----------
    shape : (z, y, x)
        Of the volume, in voxels.
    class_names : tuple of str
        One a channel.
    unit : {"voxels", "um"}
        Of the objects' lengths.
    placed : tuple of PlacedObject
        Those with at least one voxel in the volume.
    shortfalls : tuple of str
        For each class of which fewer were placed than asked for: how many, and why.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    unit: str
    placed: tuple[PlacedObject, ...]
    shortfalls: tuple[str, ...] = ()

    @property
    def table(self) -> tuple[DrawnObject, ...]:
        """Every object, without its voxels."""
        return tuple(one.drawn for one in self.placed)

    @property
    def highest_number(self) -> int:
        """Of the objects; 0 where there is none."""
        return max((one.drawn.number for one in self.placed), default=0)

    @property
    def number_type(self) -> np.dtype:
        """The smallest of uint16 and uint32 that holds every number."""
        return np.dtype(np.uint16 if self.highest_number <= np.iinfo(np.uint16).max else np.uint32)

    def mask(self, planes: slice = slice(None)) -> np.ndarray:
        """Paint some planes: ZYXC uint8, 1 in objects."""
        return self._paint(planes, np.dtype(np.uint8), numbered=False)

    def numbers(self, planes: slice = slice(None)) -> np.ndarray:
        """Paint some planes: ZYXC uint16 or uint32, each object's number, 0 for background."""
        return self._paint(planes, self.number_type, numbered=True)

    def _paint(self, planes: slice, dtype: np.dtype, *, numbered: bool) -> np.ndarray:
        first, last, _ = planes.indices(self.shape[0])
        # Channel by channel in memory, for whole runs of an object lie side by side then.
        canvas = np.zeros((len(self.class_names), last - first, *self.shape[1:]), dtype)
        for one in self.placed:
            z, y, x = one.corner
            low, high = max(z, first), min(z + one.box[0], last)
            if low < high:
                here = canvas[one.channel, low - first : high - first, y : y + one.box[1], x : x + one.box[2]]
                here[one.inside[low - z : high - z]] = one.drawn.number if numbered else 1
        return np.moveaxis(canvas, 0, -1)


def save_table(scene: Scene, path: str | Path, voxel_size_um: Triple | None) -> None:
    """Write one row per object as CSV; centres in voxels and, where the voxel size is known, in micrometres.

    Parameters
    ----------
    scene : Scene
        Whose objects to list.
    path : str or Path
        The file.
    voxel_size_um : (z, y, x) or None
        Without it the columns in micrometres stay empty.
    """
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TABLE_COLUMNS)
        writer.writerows(_row(one, scene.unit, voxel_size_um) for one in scene.table)


def _row(one: DrawnObject, unit: str, voxel_size_um: Triple | None) -> Sequence[object]:
    sides = voxel_size_um
    centre_um = (
        ["", "", ""] if sides is None else [f"{c * side:.4f}" for c, side in zip(one.centre, sides, strict=True)]
    )
    volume = "" if sides is None else f"{one.n_voxels * float(np.prod(sides)):.4f}"
    return [
        one.class_name,
        one.number,
        one.pair,
        *(f"{value:.3f}" for value in one.centre),
        *centre_um,
        *(f"{value:.4f}" for value in one.semi_axes),
        unit,
        f"{one.angle:.3f}",
        *(f"{value:.5f}" for value in one.principal_axis),
        one.n_voxels,
        volume,
        int(one.is_cut),
    ]
