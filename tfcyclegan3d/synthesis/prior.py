"""What is known beforehand about the objects in a stack: their shapes, sizes, pairing and number.

A prior is all the knowledge the method needs instead of labels. Lengths are counted in one unit, the X side of a
voxel on the grid the prior was written for; ``voxel_aspect`` says how large a voxel is in that unit, so that the same
prior can be drawn on finer, coarser or anisotropic grids.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.prior_values import Interval, Triple, interval, is_number, positive_triple, whole_interval

N_SEMI_AXES = {"sphere": 1, "ellipsoid": 3}
ORIENTATIONS = ("in-plane", "any")


@dataclasses.dataclass(frozen=True)
class ObjectPrior:
    """What one class of objects looks like.

    Parameters
    ----------
    name : str
        The class.
    shape : {"sphere", "ellipsoid"}
        The family of shapes.
    semi_axes : tuple of (low, high)
        Intervals of the semi-axes, in units of length, each drawn uniformly: one for a sphere (its radius), three for
        an ellipsoid, the principal first. Before rotation they lie along X, Y, Z.
    anchor : str, optional
        The class this one is paired with: one object of each is drawn together. None starts a group of its own.
    offset : (low, high)
        Shift of the centre from the anchor's centre along each axis before rotation, in units of length, uniform.

    Raises
    ------
    PriorError
        Where a value cannot be drawn.
    """

    name: str
    shape: str
    semi_axes: tuple[Interval, ...]
    anchor: str | None = None
    offset: Interval = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check every field and turn lists into tuples."""
        if not isinstance(self.name, str) or not self.name:
            raise errors.PriorError(f"a class is named {self.name!r}", "name it with a word, for example 'nuclei'")
        if self.shape not in N_SEMI_AXES:
            raise errors.PriorError(f"{self.name}: unknown shape {self.shape!r}", f"known: {', '.join(N_SEMI_AXES)}")
        where = f"{self.name}: semi_axes"
        if not isinstance(self.semi_axes, Sequence) or len(self.semi_axes) != N_SEMI_AXES[self.shape]:
            raise errors.PriorError(
                f"{where} received {self.semi_axes!r}",
                f"give {N_SEMI_AXES[self.shape]} interval(s) for shape {self.shape!r}",
            )
        semi_axes = tuple(interval(one, where, above=0.0) for one in self.semi_axes)
        if self.anchor is not None and not isinstance(self.anchor, str):
            raise errors.PriorError(f"{self.name}: anchor received {self.anchor!r}", "name a class, or leave it out")
        object.__setattr__(self, "semi_axes", semi_axes)
        object.__setattr__(self, "offset", interval(self.offset, f"{self.name}: offset"))
        if self.anchor is None and self.offset != (0.0, 0.0):
            raise errors.PriorError(
                f"{self.name}: offset received {self.offset!r} without an anchor",
                "name the anchor it is counted from, or leave the offset out",
            )

    def mean_volume(self) -> float:
        """Return the mean volume of an object, in cubed units of length."""
        if self.shape == "sphere":
            low, high = self.semi_axes[0]
            return math.pi / 3.0 * (low + high) * (low**2 + high**2)
        return 4.0 / 3.0 * math.pi * math.prod((low + high) / 2.0 for low, high in self.semi_axes)


@dataclasses.dataclass(frozen=True)
class Prior:
    """What to draw in a volume.

    Parameters
    ----------
    objects : tuple of ObjectPrior
        The classes, in the order of the masks' channels.
    count : (low, high), optional
        Groups per volume, drawn uniformly from these integers, both included; of every kind where several classes
        have no anchor. Exactly one of ``count`` and ``fill_fraction`` is given.
    fill_fraction : (low, high), optional
        Share of the voxels covered by any class, in (0, 1), uniform.
    rotation_degrees : (low, high)
        Rotation of a group in the XY plane, uniform; not used with orientation "any".
    orientation : {"in-plane", "any"}
        Whether groups turn in the XY plane alone, or are rotated uniformly in space.
    elastic_displacement : float
        Standard deviation of the elastic deformation's displacement vectors, in units of length, at 3x3x3 points
        spread over the box around a group; 0 deforms nothing.
    minimum_gap : int
        Least number of free voxels (of side 1) kept between two groups; 0 lets them touch.
    voxel_aspect : (z, y, x)
        Size of a voxel along each axis, in units of length.

    Raises
    ------
    PriorError
        Where a value cannot be drawn.
    """

    objects: tuple[ObjectPrior, ...]
    count: tuple[int, int] | None = None
    fill_fraction: Interval | None = None
    rotation_degrees: Interval = (0.0, 180.0)
    orientation: str = "in-plane"
    elastic_displacement: float = 0.75
    minimum_gap: int = 0
    voxel_aspect: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Check every field and turn lists into tuples."""
        object.__setattr__(self, "objects", tuple(self.objects))
        _check_classes(self.objects)
        if (self.count is None) == (self.fill_fraction is None):
            raise errors.PriorError(
                f"count is {self.count!r} and fill_fraction is {self.fill_fraction!r}", "give exactly one of the two"
            )
        if self.count is not None:
            object.__setattr__(self, "count", whole_interval(self.count, "count"))
        else:
            object.__setattr__(self, "fill_fraction", interval(self.fill_fraction, "fill_fraction", 0.0, 1.0))
        object.__setattr__(self, "rotation_degrees", interval(self.rotation_degrees, "rotation_degrees"))
        if self.orientation not in ORIENTATIONS:
            raise errors.PriorError(f"orientation received {self.orientation!r}", f"known: {', '.join(ORIENTATIONS)}")
        if not is_number(self.elastic_displacement) or self.elastic_displacement < 0:
            raise errors.PriorError(
                f"elastic_displacement received {self.elastic_displacement!r}", "give a length of 0 or more"
            )
        if not is_number(self.minimum_gap) or self.minimum_gap < 0 or self.minimum_gap != int(self.minimum_gap):
            raise errors.PriorError(f"minimum_gap received {self.minimum_gap!r}", "give a whole number of 0 or more")
        object.__setattr__(self, "voxel_aspect", positive_triple(self.voxel_aspect, "voxel_aspect"))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the channels."""
        return tuple(one.name for one in self.objects)

    def groups(self) -> tuple[tuple[ObjectPrior, ...], ...]:
        """Return the kinds of groups: every class without an anchor, followed by those anchored to it."""
        kinds = []
        for root in self.objects:
            if root.anchor is None:
                members = [root]
                for anchor in members:
                    members.extend(one for one in self.objects if one.anchor == anchor.name)
                kinds.append(tuple(members))
        return tuple(kinds)

    def select(self, class_names: Sequence[str]) -> Prior:
        """Return the prior of some of the classes, in this order; one whose anchor is left out starts its own group.

        Raises
        ------
        PriorError
            Where a class is not described here.
        """
        described = dict(zip(self.class_names, self.objects, strict=True))
        unknown = next((name for name in class_names if name not in described), None)
        if unknown is not None:
            raise errors.PriorError(
                f"class {unknown!r} is not described",
                f"known: {', '.join(described)}; describe others in a prior of your own",
            )
        chosen = (described[name] for name in class_names)
        return dataclasses.replace(
            self,
            objects=tuple(
                one if one.anchor in class_names else dataclasses.replace(one, anchor=None, offset=(0.0, 0.0))
                for one in chosen
            ),
        )

    def scaled(self, factors: float | Sequence[float]) -> Prior:
        """Return the same objects on a grid whose voxels are larger.

        Parameters
        ----------
        factors : float or (z, y, x)
            How many times larger a voxel is along each axis than now; below 1 is a finer grid.

        Returns
        -------
        Prior
        """
        wanted = (factors,) * 3 if is_number(factors) else factors
        steps = positive_triple(wanted, "scale factors")
        aspect = tuple(old * step for old, step in zip(self.voxel_aspect, steps, strict=True))
        return dataclasses.replace(self, voxel_aspect=aspect)

    def mean_object_volume(self) -> dict[str, float]:
        """Return the mean volume of an object of each class, in voxels of this grid."""
        return {one.name: one.mean_volume() / math.prod(self.voxel_aspect) for one in self.objects}

    def to_dict(self) -> dict[str, Any]:
        """Return the prior as plain lists, numbers and strings."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Prior:
        """Return the prior that ``to_dict`` described.

        Raises
        ------
        PriorError
            Where a key is unknown or missing, or a value cannot be drawn.
        """
        fields = _known_keys(cls, description, "the prior")
        if not isinstance(fields["objects"], Sequence) or isinstance(fields["objects"], str):
            raise errors.PriorError(f"objects received {fields['objects']!r}", "give a list with one entry a class")
        fields["objects"] = tuple(
            ObjectPrior(**_known_keys(ObjectPrior, one, f"objects[{index}]"))
            for index, one in enumerate(fields["objects"])
        )
        return cls(**fields)


def prior_for(diameters: Mapping[str, float], fill_fraction: float | Interval) -> Prior:
    """Return a prior from the least a user can know: how large the objects are and how full the stack is.

    Parameters
    ----------
    diameters : dict of str to float
        A typical diameter of each class, in voxels: ellipsoids are drawn whose semi-axes each lie uniformly in 0.7 to
        1.3 times half of it. The classes are not paired.
    fill_fraction : float or (low, high)
        Share of the voxels covered by any class, in (0, 1).

    Returns
    -------
    Prior

    Raises
    ------
    PriorError
        Where a diameter or the fill fraction is not positive.
    """
    objects = []
    for name, diameter in diameters.items():
        if not is_number(diameter) or diameter <= 0:
            raise errors.PriorError(f"{name}: diameter received {diameter!r}", "give a length above 0, in voxels")
        objects.append(ObjectPrior(name, "ellipsoid", ((0.35 * diameter, 0.65 * diameter),) * 3))
    share = (fill_fraction, fill_fraction) if is_number(fill_fraction) else fill_fraction
    return Prior(tuple(objects), fill_fraction=share, orientation="any")


def load_prior(path: str | Path) -> Prior:
    """Read a prior from a JSON or YAML file.

    Raises
    ------
    FileMissingError, PriorError
    """
    path = Path(path)
    if not path.is_file():
        raise errors.FileMissingError(path, "file")
    try:
        description = _decode(path, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.PriorError(
            f"{path} cannot be read ({error})", "mend the file, or write one with 'synthesize'"
        ) from error
    return Prior.from_dict(description)


def save_prior(prior: Prior, path: str | Path) -> None:
    """Write a prior as JSON or YAML, by the file's suffix.

    Raises
    ------
    PriorError
        Where the suffix is neither.
    """
    path = Path(path)
    if _is_yaml(path):
        import yaml

        text = yaml.safe_dump(prior.to_dict(), sort_keys=False)
    else:
        text = json.dumps(prior.to_dict(), indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


def _decode(path: Path, text: str) -> Any:
    if not _is_yaml(path):
        return json.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _is_yaml(path: Path) -> bool:
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise errors.PriorError(f"{path} is neither JSON nor YAML", "name the file .json, .yaml or .yml")
    return path.suffix.lower() != ".json"


def _known_keys(cls: type, description: object, where: str) -> dict[str, Any]:
    fields = dataclasses.fields(cls)
    known = [field.name for field in fields]
    if not isinstance(description, Mapping):
        raise errors.PriorError(f"{where} received {description!r}", f"give the keys {', '.join(known)}")
    unknown = next((key for key in description if key not in known), None)
    if unknown is not None:
        raise errors.PriorError(f"unknown key {unknown!r} in {where}", f"known here: {', '.join(known)}")
    missing = next(
        (field.name for field in fields if field.default is dataclasses.MISSING and field.name not in description), None
    )
    if missing is not None:
        raise errors.PriorError(f"{where} lacks the key {missing!r}", "add it")
    return dict(description)


def _check_classes(objects: tuple[ObjectPrior, ...]) -> None:
    if not objects:
        raise errors.PriorError("there is no class to draw", "give at least one entry in objects")
    names = [one.name for one in objects]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise errors.PriorError(f"class {double!r} is described twice", "give every class one name of its own")
    anchors = {one.name: one.anchor for one in objects}
    for one in objects:
        followed, anchor = [one.name], one.anchor
        while anchor is not None:
            if anchor not in anchors:
                raise errors.PriorError(f"{followed[-1]}: unknown anchor {anchor!r}", f"known: {', '.join(names)}")
            if anchor in followed:
                raise errors.PriorError(
                    f"anchors go in a circle: {' -> '.join([*followed, anchor])}",
                    "leave one class of the circle without an anchor",
                )
            followed.append(anchor)
            anchor = anchors[anchor]


# The order of the classes and every interval are the paper's (Section II-A, "Synthetic segmentation masks"). Where the
# paper leaves open whether 17-30 x 8-13 x 8-13 are semi-axes or diameters, the published code uses them as semi-axes.
NUCLEI_AND_GOLGI = Prior(
    objects=(
        ObjectPrior("golgi", "sphere", ((5.0, 9.0),)),
        ObjectPrior("nuclei", "ellipsoid", ((17.0, 30.0), (8.0, 13.0), (8.0, 13.0)), "golgi", (-6.0, 6.0)),
    ),
    count=(45, 70),
)

NUCLEI = NUCLEI_AND_GOLGI.select(("nuclei",))
