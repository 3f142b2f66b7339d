"""What is known beforehand about the objects in a stack: their shapes, sizes, relations and number.

A prior is all the knowledge the method needs instead of labels. Its lengths are in voxels or in micrometres; in
micrometres the same prior draws right shapes on any stack whose voxel size is known, however anisotropic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis import prior_values as values
from tfcyclegan3d.synthesis.classes import check_classes
from tfcyclegan3d.synthesis.object_prior import DENSITIES, ObjectPrior
from tfcyclegan3d.synthesis.prior_values import Interval, Triple

ORIENTATIONS = ("in-plane", "any")
UNITS = ("voxels", "um")
ELASTIC_SHARE = 0.05  # The paper's 0.75 voxels are a twentieth of its Golgi's diameter.


class GroupKind(NamedTuple):
    """A class without an anchor and those that are drawn with it."""

    members: tuple[ObjectPrior, ...]

    @property
    def root(self) -> ObjectPrior:
        """The class that has the density."""
        return self.members[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, each after its anchor."""
        return tuple(one.name for one in self.members)


@dataclasses.dataclass(frozen=True)
class Prior:
    """What to draw in a volume.

    Parameters
    ----------
    objects : tuple of ObjectPrior
        The classes, in the order of the masks' channels.
    unit : {"voxels", "um"}
        Of every length. In micrometres, drawing needs the voxel size.
    orientation : {"in-plane", "any"}
        Whether groups turn in the XY plane alone, or are rotated uniformly in space.
    rotation_degrees : (low, high)
        Rotation of a group in the XY plane, uniform; not used with orientation "any".
    elastic_displacement : float
        Standard deviation of the elastic deformation's displacement vectors, a length, at 3x3x3 points spread over
        the box around a group; 0 deforms nothing, and where it is left out, it is a twentieth of the thinnest class.
    minimum_gap : float
        Length kept free between two groups, rounded up to whole voxels; 0 lets them touch.
    layer_thickness : (low, high), optional
        Length: groups' centres lie in a layer so thick, at a depth drawn anew for each volume, uniform. Without it they
        lie anywhere.
    layer_tilt_degrees : (low, high)
        Angle between that layer and the XY plane, in [0, 60], uniform, in a direction drawn anew.

    Raises
    ------
    PriorError
        Where a value cannot be drawn.
    """

    objects: tuple[ObjectPrior, ...]
    unit: str = "voxels"
    orientation: str = "in-plane"
    rotation_degrees: Interval = (0.0, 180.0)
    elastic_displacement: float | None = None
    minimum_gap: float = 0.0
    layer_thickness: Interval | None = None
    layer_tilt_degrees: Interval = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check every field and turn lists into tuples."""
        object.__setattr__(self, "objects", tuple(self.objects))
        check_classes(self.objects)
        values.choice(self.unit, "unit", UNITS)
        values.choice(self.orientation, "orientation", ORIENTATIONS)
        tilt = values.interval(self.layer_tilt_degrees, "layer_tilt_degrees", within=(0.0, 60.0))
        object.__setattr__(self, "layer_tilt_degrees", tilt)
        if self.layer_thickness is not None:
            thickness = values.interval(self.layer_thickness, "layer_thickness", above=0.0)
            object.__setattr__(self, "layer_thickness", thickness)
        elif tilt != (0.0, 0.0):
            raise errors.PriorError(f"layer_tilt_degrees received {tilt!r} without a layer", "give layer_thickness too")
        object.__setattr__(self, "rotation_degrees", values.interval(self.rotation_degrees, "rotation_degrees"))
        if self.elastic_displacement is None:
            thinnest = min(one.typical_diameter for one in self.objects)
            object.__setattr__(self, "elastic_displacement", float(f"{ELASTIC_SHARE * thinnest:.3g}"))
        for name in ("elastic_displacement", "minimum_gap"):
            object.__setattr__(self, name, values.number(getattr(self, name), name))
        longest = max(high for one in self.objects for _, high in one.semi_axes)
        if self.elastic_displacement > longest / 2:
            raise errors.PriorError(
                f"elastic_displacement received {self.elastic_displacement:g}, more than half of the longest semi-axis",
                f"give at most {longest / 2:g}, which leaves little of any shape",
            )
        counted = next((one for one in self.objects if one.per_mm3 is not None), None)
        if counted is not None and self.unit != "um":
            raise errors.PriorError(
                f"{counted.name}: per_mm3 received {counted.per_mm3!r} with lengths in {self.unit}",
                "write the prior in micrometres (unit: um), or give count or fill_fraction",
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the channels."""
        return tuple(one.name for one in self.objects)

    def groups(self) -> tuple[GroupKind, ...]:
        """Return the kinds of groups: every class without an anchor, followed by those anchored to it."""
        kinds = []
        for root in self.objects:
            if root.anchor is None:
                members = [root]
                for anchor in members:
                    members.extend(one for one in self.objects if one.anchor == anchor.name)
                kinds.append(GroupKind(tuple(members)))
        return tuple(kinds)

    def channels(self) -> dict[str, tuple[int, ...]]:
        """Return the channels of each kind of group, by the name of the class that begins it."""
        return {
            kind.root.name: tuple(self.class_names.index(name) for name in kind.class_names) for kind in self.groups()
        }

    def voxel_size(self, voxel_size_um: Triple | None) -> Triple:
        """Return the size of a voxel (z, y, x) in this prior's unit.

        Parameters
        ----------
        voxel_size_um : (z, y, x) or None
            Of the stack, in micrometres.

        Raises
        ------
        PriorError
            Where the prior is in micrometres and the voxel size is not known.
        """
        if self.unit == "voxels":
            return (1.0, 1.0, 1.0)
        if voxel_size_um is None:
            raise errors.PriorError(
                "its lengths are in micrometres, but the voxel size is not known",
                "give it with --voxel-size Z,Y,X, or in Fiji by Image > Properties, or write the prior in voxels",
            )
        return tuple(float(side) for side in voxel_size_um)

    def select(self, class_names: Sequence[str]) -> Prior:
        """Return the prior of some of the classes, in this order; one whose anchor is left out starts its own group.

        It takes over the density of the class that began its group.

        Raises
        ------
        PriorError
            Where a class is not described here.
        """
        described = {one.name: one for one in self.objects}
        unknown = next((name for name in class_names if name not in described), None)
        if unknown is not None:
            raise errors.PriorError(
                f"class {unknown!r} is not described",
                f"known: {', '.join(described)}; describe others in a prior of your own",
            )
        roots = {name: kind.root for kind in self.groups() for name in kind.class_names}

        def freed(one: ObjectPrior) -> ObjectPrior:
            if one.anchor is None or one.anchor in class_names:
                return one
            density = {name: getattr(roots[one.name], name) for name in DENSITIES}
            return dataclasses.replace(
                one, anchor=None, offset=(0.0, 0.0), alignment_degrees=(0.0, 0.0), unpaired=0.0, **density
            )

        return dataclasses.replace(self, objects=tuple(freed(described[name]) for name in class_names))

    def with_fill(self, fill_fractions: Mapping[str, Interval]) -> Prior:
        """Return the same objects, as full as given for each class that begins a group.

        Parameters
        ----------
        fill_fractions : dict of str to (low, high)
            By the name of the class without an anchor.
        """
        return dataclasses.replace(
            self,
            objects=tuple(
                one
                if one.anchor is not None
                else dataclasses.replace(one, count=None, per_mm3=None, fill_fraction=fill_fractions[one.name])
                for one in self.objects
            ),
        )

    def for_part(self, share: float) -> Prior:
        """Return the same objects for a part of the volume that counts are meant for: as dense, so fewer.

        Parameters
        ----------
        share : float
            Of the volume, above 0.
        """
        return dataclasses.replace(
            self,
            objects=tuple(
                one
                if one.count is None
                else dataclasses.replace(one, count=tuple(max(1, round(share * end)) for end in one.count))
                for one in self.objects
            ),
        )

    def check_fits(self, shape: Sequence[int], voxel_size: Triple) -> None:
        """Refuse a volume too small to hold an object, and voxels too large to show one.

        Parameters
        ----------
        shape : (z, y, x)
            In voxels.
        voxel_size : (z, y, x)
            In this prior's unit.

        Raises
        ------
        PriorError
            Where the thinnest side of the smallest object of a class is longer than the longest side of the volume, the
            largest several times longer than its diagonal, or the typical one smaller than a voxel.
        """
        sides = [side * step for side, step in zip(shape, voxel_size, strict=True)]
        longest, diagonal = max(sides), math.hypot(*sides)
        for one in self.objects:
            if one.typical_volume < math.prod(voxel_size):
                raise errors.PriorError(
                    f"{one.name} of {one.typical_volume:.3g} cubic {self.unit} are smaller than a voxel of "
                    f"{' x '.join(f'{side:g}' for side in voxel_size)} {self.unit}",
                    "check the unit and the voxel size, or draw larger objects",
                )
            if one.least_diameter > longest or one.greatest_diameter > 3 * diagonal:
                raise errors.PriorError(
                    f"{one.name} of {one.least_diameter:g} to {one.greatest_diameter:g} {self.unit} cannot fit into a "
                    f"volume of {' x '.join(str(side) for side in shape)} voxels",
                    "give a larger volume, or smaller objects (semi_axes of the prior, or --object-diameter)",
                )
        reach = max(abs(end) for one in self.objects for ends in one.offset for end in ends)
        for name, length in {"minimum_gap": self.minimum_gap, "offset": reach}.items():
            if length > diagonal:
                raise errors.PriorError(
                    f"{name} of {length:g} {self.unit} exceeds the volume's diagonal of {diagonal:.3g}", "give less"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the prior as plain lists, numbers and strings; what does not apply is left out."""
        described = _plain(dataclasses.asdict(self))
        described["objects"] = [_plain(one) for one in described["objects"]]
        if self.layer_thickness is None:
            del described["layer_tilt_degrees"]
        for one in described["objects"]:
            if "anchor" not in one:
                del one["offset"], one["alignment_degrees"]
        return described

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Prior:
        """Return the prior that ``to_dict`` described.

        Raises
        ------
        PriorError
            Where a key is unknown or missing, or a value cannot be drawn.
        """
        fields = values.known_keys(cls, description, "the prior")
        if not isinstance(fields["objects"], Sequence) or isinstance(fields["objects"], str):
            raise errors.PriorError(f"objects received {fields['objects']!r}", "give a list with one entry a class")
        fields["objects"] = tuple(
            ObjectPrior(**values.known_keys(ObjectPrior, one, f"objects[{index}]"))
            for index, one in enumerate(fields["objects"])
        )
        return cls(**fields)


def _plain(description: Mapping[str, Any]) -> dict[str, Any]:
    """Turn tuples into lists and leave out what is None."""

    def listed(value: Any) -> Any:
        return [listed(one) for one in value] if isinstance(value, tuple) else value

    return {key: listed(value) for key, value in description.items() if value is not None}


# The order of the classes and every interval are the paper's (Section II-A, "Synthetic segmentation masks"). Where the
# paper leaves open whether 17-30 x 8-13 x 8-13 are semi-axes or diameters, the published code uses them as semi-axes.
NUCLEI_AND_GOLGI = Prior(
    objects=(
        ObjectPrior("golgi", "sphere", ((5.0, 9.0),), count=(45, 70)),
        ObjectPrior(
            "nuclei", "ellipsoid", ((17.0, 30.0), (8.0, 13.0), (8.0, 13.0)), anchor="golgi", offset=(-6.0, 6.0)
        ),
    ),
    elastic_displacement=0.75,
)

NUCLEI = NUCLEI_AND_GOLGI.select(("nuclei",))
