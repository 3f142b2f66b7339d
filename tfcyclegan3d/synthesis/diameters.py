"""From the diameters that a user knows to a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis import prior_values as values
from tfcyclegan3d.synthesis.object_prior import ObjectPrior
from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.synthesis.prior_values import Interval, Triple
from tfcyclegan3d.volumes import Grid, Volume

ROUNDING = 1e-6
# How semi-axes scatter about half of the typical diameter.
AXIS_SCATTER = (0.7, 1.3)
# Microscopes show objects longer along Z than they are, and people draw what they see. Of told diameters alone: what is
# measured in a stack says so itself.
AXIAL_ELONGATION = 1.2
# What is said of stacks whose voxel size nothing tells.
TAKEN_FOR_ISOTROPIC = (
    "the voxel size is not known: voxels are taken to be as long along Z as along Y and X; where planes lie further "
    "apart, give --voxel-size Z,Y,X"
)


def diameter_in_voxels(name: str, value: float | str, voxel_size_um: Triple | None, source: str = "the stack") -> float:
    """Return a diameter in voxels along X, given as such or as a text such as ``"8um"``.

    Parameters
    ----------
    name : str
        The class.
    value : float or str
        Its diameter.
    voxel_size_um : (z, y, x) or None
        Of the stack.
    source : str
        The stack's name, for the error.

    Raises
    ------
    OptionError
        Where it is no length above 0, or is in micrometres and the stack has no voxel size.
    """
    text = str(value).strip().lower().replace("\u00b5m", "um").replace("\u03bcm", "um")
    in_um = text.endswith("um")
    try:
        number = float(text.removesuffix("um"))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise errors.OptionError("--object-diameter", f"{name}={value}", "give a number above 0, for example 16 or 8um")
    if not in_um:
        return number
    if voxel_size_um is None:
        raise errors.OptionError(
            "--object-diameter",
            f"{name}={value}",
            f"{source} has no voxel size: give it with --voxel-size, or the diameter in voxels, without um",
        )
    return number / voxel_size_um[2]


def diameters_in_voxels(
    diameters: Mapping[str, float | str],
    class_names: Sequence[str],
    volume: Volume | Grid,
    stacks: Sequence[Volume | Grid] = (),
) -> dict[str, float]:
    """Return the diameters of some of a stack's classes in voxels along X.

    Parameters
    ----------
    diameters : dict of str to (float or str)
        As `diameter_in_voxels` takes them.
    class_names : sequence of str
        The stack's.
    volume : Volume or Grid
        The stack.
    stacks : sequence of Volume or Grid
        All that show such objects, so that one of them must have room for one; a crop may lie inside an object.

    Raises
    ------
    OptionError
        For a class that is none of the stack's, a diameter beyond the longest side of all ``stacks``, or as
        `diameter_in_voxels` does.
    """
    unknown = next((name for name in diameters if name not in class_names), None)
    if unknown is not None:
        raise errors.OptionError("--object-diameter", unknown, f"the classes are {', '.join(class_names)}")
    found = {
        name: diameter_in_voxels(name, value, volume.voxel_size_um, volume.name) for name, value in diameters.items()
    }
    if stacks:
        largest = max(stacks, key=_longest_side)
        longest, size = _longest_side(largest), largest.voxel_size_um
        length = f"{longest:.4g} voxels" + (f" ({longest * size[2]:.4g} um)" if size else "")
        for name, diameter in found.items():
            if diameter > longest * (1 + ROUNDING):
                raise errors.OptionError(
                    "--object-diameter",
                    f"{name}={diameters[name]}",
                    f"{largest.name} is {length} along its longest side: check the number, its unit (voxels along X, "
                    "or um) and the voxel size",
                )
    return found


def _longest_side(stack: Volume | Grid) -> float:
    """Return the longest side of a stack in its voxels along X."""
    size = stack.voxel_size_um or (1.0, 1.0, 1.0)
    return max(side * one / size[2] for side, one in zip(stack.shape[:3], size, strict=True))


def prior_for(
    diameters: Mapping[str, float],
    fill_fraction: float | Interval | Mapping[str, float | Interval],
    unit: str = "voxels",
    axial_elongation: float = 1.0,
) -> Prior:
    """Return a prior from the least a user can know: how large the objects are and how full the stack is.

    Parameters
    ----------
    diameters : dict of str to float
        A typical diameter of each class in the XY plane, in ``unit``: ellipsoids are drawn whose semi-axes each lie
        uniformly in 0.7 to 1.3 times half of it. The classes are not paired.
    fill_fraction : float, (low, high), or a dict of these by class
        Share of the voxels covered by each class, in (0, 1).
    unit : {"voxels", "um"}
        Of the diameters.
    axial_elongation : float
        How many times as long as wide objects are along Z in the mean, at least 1. Above 1, they turn in the XY plane
        alone, and the semi-axis along Z lies uniformly in 0.7 to 2 ``axial_elongation`` - 0.7 times half the diameter.

    Returns
    -------
    Prior

    Raises
    ------
    PriorError
        Where a diameter or the fill fraction is not positive, or the elongation is below 1.
    """
    if not values.is_number(axial_elongation) or axial_elongation < 1:
        raise errors.PriorError(f"axial_elongation received {axial_elongation!r}", "give a number of at least 1")
    least, most = AXIS_SCATTER
    objects = []
    for name, diameter in diameters.items():
        if not values.is_number(diameter) or diameter <= 0:
            raise errors.PriorError(f"{name}: diameter received {diameter!r}", f"give a length above 0, in {unit}")
        share = fill_fraction[name] if isinstance(fill_fraction, Mapping) else fill_fraction
        share = (share, share) if values.is_number(share) else share
        shortest, widest, longest = (
            float(f"{factor * diameter / 2:.6g}") for factor in (least, most, 2 * axial_elongation - least)
        )
        across, along_z = (shortest, widest), (shortest, longest)
        objects.append(ObjectPrior(name, "ellipsoid", (across, across, along_z), fill_fraction=share))
    return Prior(tuple(objects), unit=unit, orientation="any" if axial_elongation == 1 else "in-plane")


def prior_of_diameters(
    diameters: Mapping[str, float], fill_fractions: Mapping[str, Interval], voxel_size_um: Triple | None
) -> Prior:
    """Return the prior of objects of told diameters, in micrometres where the voxel size is known.

    Objects are a little longer along Z (``AXIAL_ELONGATION``).

    Parameters
    ----------
    diameters : dict of str to float
        In the XY plane, in voxels along X.
    fill_fractions : dict of str to (low, high)
        Share of the voxels covered by each class.
    voxel_size_um : (z, y, x) or None
        Of the stacks.
    """
    if voxel_size_um is None:
        return prior_for(diameters, fill_fractions, axial_elongation=AXIAL_ELONGATION)
    in_um = {name: value * voxel_size_um[2] for name, value in diameters.items()}
    return prior_for(in_um, fill_fractions, "um", AXIAL_ELONGATION)
