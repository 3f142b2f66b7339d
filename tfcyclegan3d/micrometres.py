"""Lengths in micrometres, from the numbers and names of units that files hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MICROMETRES = {
    "pm": 1e-6, "picometer": 1e-6, "a": 1e-4, "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6, "metre": 1e6,
    "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
# A TIFF holds resolutions as fractions of 32-bit integers; rounding gives back the number that was written.
SIGNIFICANT_DIGITS = 7
# Share by which sides of voxels may differ and stacks still show objects as large.
VOXEL_TOLERANCE = 0.05


def in_um(size: Any, unit: object) -> float | None:
    """Return a length in micrometres, or None where it is no number or its unit is none of length."""
    # ImageJ writes the micro sign as the six characters \u00B5, and Unicode has a second letter that looks like it.
    name = str(unit).strip().lower().replace("\\u00b5", "µ").replace("\u03bc", "µ").replace("\\u00c5", "å")
    try:
        return float(f"{abs(float(size)) * MICROMETRES[name]:.{SIGNIFICANT_DIGITS}g}")
    except (KeyError, TypeError, ValueError):
        return None


def voxel_size(z: float | None, y: float | None, x: float | None) -> tuple[float, float, float] | None:
    """Return a voxel size (z, y, x) of lengths in micrometres, or None unless all three are known and above 0."""
    if z is None or y is None or x is None:
        return None
    return (z, y, x) if all(size > 0 and math.isfinite(size) for size in (z, y, x)) else None


def voxels_alike(one: Sequence[float], other: Sequence[float], tolerance: float = VOXEL_TOLERANCE) -> bool:
    """Tell whether two voxel sizes (z, y, x) are the same but for a share of each side."""
    return all(math.isclose(a, b, rel_tol=tolerance) for a, b in zip(one, other, strict=True))


def shown(voxel_size_um: Sequence[float]) -> str:
    """Return a voxel size as people write it: 1 x 0.2 x 0.2 um."""
    return " x ".join(f"{side:.4g}" for side in voxel_size_um) + " um"
