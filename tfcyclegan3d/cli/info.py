"""``tfcyclegan3d info``: say how the package reads a stack."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tfcyclegan3d.cli.arguments import add_missing_chunks, add_voxel_size

SUMMARY = "show axes, shape, type, voxel size and intensities of stacks as they are read"
EXAMPLE = "tfcyclegan3d info stack.tif --axes YXZC"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="TIFF or zarr stacks, folders of them, or globs")
    parser.add_argument("--axes", help="the file's dimensions in order, where it does not say them itself")
    add_voxel_size(parser)
    add_missing_chunks(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: a list with one entry per stack")


def run(options: argparse.Namespace) -> None:
    """Print a description of each stack; write nothing."""
    from tfcyclegan3d.describing import describe
    from tfcyclegan3d.finding_stacks import find_stacks

    fill = options.missing_chunks == "fill"
    found = find_stacks(options.paths)
    given = {"voxel_size_um": list(options.voxel_size)} if options.voxel_size else {}
    described = (describe(path, options.axes, allow_missing_chunks=fill) | given for path in found)
    if options.json:
        print(json.dumps(list(described), indent=2))
        return
    for number, description in enumerate(described):
        print(("\n" if number else "") + _as_text(description, options), flush=True)


def _as_text(description: dict[str, Any], options: argparse.Namespace) -> str:
    """Return aligned lines: the stack's facts, then a row of intensities per channel."""
    from tfcyclegan3d.axes import UNKNOWN

    size = description["voxel_size_um"]
    z, y, x, n_channels = description["shape"]
    given = ", as given" if options.voxel_size else ""
    sides = "not stated in the file for all of Z, Y and X"
    if size:
        sides = f"{' x '.join(_number(length) for length in size)} um (z, y, x){given}"
    unnamed = [letter for letter in UNKNOWN if letter in description["axes"]]
    unsaid = f" ({', '.join(unnamed)}: not named in the file)" if unnamed else ""
    facts = {
        "stored": f"{description['axes']} {_by(description['stored_shape'])}{unsaid}",
        "read as": f"ZYX {z} x {y} x {x}, {n_channels} channel{'s' if n_channels != 1 else ''}"
        + (f", by --axes {options.axes}" if options.axes else ""),
        "type": description["dtype"],
        "voxel size": sides,
    }
    ranks = list(description["channels"][0]["percentiles"])
    rows = [["channel", "min", "max", "mean", *(f"{rank} %" for rank in ranks)]]
    for number, channel in enumerate(description["channels"]):
        values = [channel["min"], channel["max"], channel["mean"], *channel["percentiles"].values()]
        rows.append([str(number), *(_number(value) for value in values)])
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(
        [
            description["path"],
            *(f"  {name:<10}  {fact}" for name, fact in facts.items()),
            *(f"  {line}" for line in table),
        ]
    )


def _by(shape: list[int]) -> str:
    return " x ".join(str(length) for length in shape)


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
