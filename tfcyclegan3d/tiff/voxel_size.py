"""The voxel size a TIFF file states, in micrometres.

The bare resolution tags of a plain TIFF are never taken for a voxel size: they give no distance of slices, and mostly
hold a printer's 72 dpi.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.etree import ElementTree

import tifffile

MICROMETRES = {
    "pm": 1e-6, "a": 1e-4, "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "um": 1.0, "µm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6, "metre": 1e6,
    "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
# A TIFF holds resolutions as fractions of 32-bit integers; rounding gives back the number that was written.
SIGNIFICANT_DIGITS = 7


def voxel_size_um(tif: tifffile.TiffFile) -> tuple[float, float, float] | None:
    """Return the voxel size (z, y, x) in micrometres that an open file states, or None unless it states all three."""
    if tif.is_ome:
        return _from_ome(tif.ome_metadata or "")
    if tif.is_imagej:
        return _from_spacing(tif.pages[0], tif.imagej_metadata or {})
    if tif.shaped_metadata:
        return _from_spacing(tif.pages[0], tif.shaped_metadata[0])
    return None


def _from_ome(description: str) -> tuple[float, float, float] | None:
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError):
        return None
    pixels = next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return None
    return _positive(
        *(_in_um(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX")
    )


def _from_spacing(page: tifffile.TiffPage, metadata: Mapping[str, object]) -> tuple[float, float, float] | None:
    """ImageJ's way: ``spacing`` and ``unit`` in the description, pixels per unit in the resolution tags."""
    unit = metadata.get("unit")
    return _positive(
        _in_um(metadata.get("spacing"), metadata.get("zunit", unit)),
        _in_um(_unit_per_pixel(page, "YResolution"), metadata.get("yunit", unit)),
        _in_um(_unit_per_pixel(page, "XResolution"), unit),
    )


def _unit_per_pixel(page: tifffile.TiffPage, tag: str) -> float | None:
    value = page.tags[tag].value if tag in page.tags else (0, 1)
    pixels, units = value if isinstance(value, tuple) and len(value) == 2 else (0, 1)
    return units / pixels if pixels else None


def _in_um(size: object, unit: object) -> float | None:
    # ImageJ writes the micro sign as the six characters \u00B5, and Unicode has a second letter that looks like it.
    name = str(unit).strip().lower().replace("\\u00b5", "µ").replace("\u03bc", "µ").replace("\\u00c5", "å")
    try:
        return float(f"{abs(float(size)) * MICROMETRES[name]:.{SIGNIFICANT_DIGITS}g}")
    except (KeyError, TypeError, ValueError):
        return None


def _positive(z: float | None, y: float | None, x: float | None) -> tuple[float, float, float] | None:
    if z is None or y is None or x is None:
        return None
    return (z, y, x) if all(size > 0 and math.isfinite(size) for size in (z, y, x)) else None
