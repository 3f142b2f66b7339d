"""The voxel size a TIFF file states, in micrometres.

The bare resolution tags of a plain TIFF are never taken for a voxel size: they give no distance of slices, and mostly
hold a printer's 72 dpi.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

import tifffile

from tfcyclegan3d.micrometres import in_um, voxel_size


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
    return voxel_size(
        *(in_um(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX")
    )


def _from_spacing(page: tifffile.TiffPage, metadata: Mapping[str, object]) -> tuple[float, float, float] | None:
    """ImageJ's way: ``spacing`` and ``unit`` in the description, pixels per unit in the resolution tags."""
    unit = metadata.get("unit")
    return voxel_size(
        in_um(metadata.get("spacing"), metadata.get("zunit", unit)),
        in_um(_unit_per_pixel(page, "YResolution"), metadata.get("yunit", unit)),
        in_um(_unit_per_pixel(page, "XResolution"), unit),
    )


def _unit_per_pixel(page: tifffile.TiffPage, tag: str) -> float | None:
    value = page.tags[tag].value if tag in page.tags else (0, 1)
    pixels, units = value if isinstance(value, tuple) and len(value) == 2 else (0, 1)
    return units / pixels if pixels else None
