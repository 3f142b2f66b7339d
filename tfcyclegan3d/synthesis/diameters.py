"""From the diameters that a user knows to a prior."""

from __future__ import annotations

from collections.abc import Mapping

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.prior import Prior, prior_for
from tfcyclegan3d.synthesis.prior_values import Interval, Triple


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


def prior_of_diameters(
    diameters: Mapping[str, float], fill_fractions: Mapping[str, Interval], voxel_size_um: Triple | None
) -> Prior:
    """Return the prior of objects of known diameters, in micrometres where the voxel size is known.

    Parameters
    ----------
    diameters : dict of str to float
        In voxels along X.
    fill_fractions : dict of str to (low, high)
        Share of the voxels covered by each class.
    voxel_size_um : (z, y, x) or None
        Of the stacks.
    """
    if voxel_size_um is None:
        return prior_for(diameters, fill_fractions)
    in_um = {name: value * voxel_size_um[2] for name, value in diameters.items()}
    return prior_for(in_um, fill_fractions, unit="um")
