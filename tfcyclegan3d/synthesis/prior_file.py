"""A prior as a file: YAML with a comment beside every key, for people, or JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.prior import Prior

HEADER = """\
# What synthetic masks are drawn from: all that the method is told about the objects.
# [low, high] is an interval from which a value is drawn uniformly for each object or each volume.
"""
COMMENTS = {
    "unit": "of every length: voxels, or um (micrometres; the stacks then need a voxel size)",
    "orientation": "in-plane: groups turn about Z alone; any: uniformly in space",
    "rotation_degrees": "rotation about Z, with orientation in-plane",
    "elastic_displacement": "standard deviation of the elastic deformation, a length; 0 deforms nothing",
    "minimum_gap": "length kept free between two groups; 0 lets them touch",
    "layer_thickness": "a length: centres lie in a layer so thick, at a depth drawn for each volume",
    "layer_tilt_degrees": "tilt of that layer against the XY plane",
    "objects": "one entry a class, in the order of the channels",
}
OBJECT_COMMENTS = {
    "shape": "sphere, ellipsoid, or ribbon (a bent row of flat fragments)",
    "semi_axes": {
        "sphere": "the radius",
        "ellipsoid": "half the length, width and height; before rotation along X, Y, Z",
        "ribbon": "half its length along the bend, half its width, half its thickness",
    },
    "count": "groups per volume; or give per_mm3 (per cubic millimetre), or fill_fraction (share of the voxels)",
    "per_mm3": "groups per cubic millimetre; or give count (per volume), or fill_fraction (share of the voxels)",
    "fill_fraction": "share of the voxels that groups cover, partners included; or give count, or per_mm3",
    "anchor": "the class it is paired with: one of each is drawn together",
    "offset": "shift of the centre from the anchor's, along Z, Y, X before rotation",
    "alignment_degrees": "angle between its long axis and its anchor's; 0: they turn together",
    "unpaired": "share of these objects drawn alone",
    "fragments": "number of pieces",
    "bend_degrees": "angle between the two ends",
}


def load_prior(path: str | Path) -> Prior:
    """Read a prior from a JSON or YAML file.

    Raises
    ------
    FileMissingError, PriorError
    """
    path = Path(path)
    if not path.is_file():
        raise errors.FileMissingError(path, "file")
    parse = yaml.safe_load if _is_yaml(path) else json.loads
    try:
        description = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise errors.PriorError(
            f"{path} cannot be read ({error})", "mend the file, or write one with 'synthesize'"
        ) from error
    try:
        return Prior.from_dict(description)
    except errors.PriorError as error:
        raise errors.PriorError(f"{path}: {error.what.removeprefix('prior: ')}", error.remedy) from None


def save_prior(prior: Prior, path: str | Path, remarks: str = "") -> None:
    """Write a prior as YAML with comments or as JSON, by the file's suffix.

    Parameters
    ----------
    prior : Prior
        What to write.
    path : str or Path
        Ending in .yaml, .yml or .json.
    remarks : str
        Lines put above the prior as comments; in JSON, which has none, left out.

    Raises
    ------
    PriorError
        Where the suffix is none of these.
    """
    path = Path(path)
    text = _as_yaml(prior, remarks) if _is_yaml(path) else json.dumps(prior.to_dict(), indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


def _as_yaml(prior: Prior, remarks: str) -> str:
    described = prior.to_dict()
    objects = described.pop("objects")
    lines = [HEADER + "".join(f"# {line}\n" for line in remarks.splitlines())]
    lines += _entries(described, COMMENTS, "")
    if prior.layer_thickness is None:
        lines.append(f"# layer_thickness: [10, 15]  # {COMMENTS['layer_thickness']}\n")
    lines.append(f"objects:  # {COMMENTS['objects']}\n")
    for one in objects:
        comments = OBJECT_COMMENTS | {"semi_axes": OBJECT_COMMENTS["semi_axes"][one["shape"]]}
        first, *others = _entries(one, comments, "    ")
        lines += [f"  - {first.lstrip()}", *others]
    return "".join(lines)


def _entries(description: Mapping[str, Any], comments: Mapping[str, str], indent: str) -> Iterator[str]:
    for key, value in description.items():
        written = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
        comment = f"  # {comments[key]}" if key in comments else ""
        yield f"{indent}{key}: {written}{comment}\n"


def _is_yaml(path: Path) -> bool:
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise errors.PriorError(f"{path} is neither JSON nor YAML", "name the file .json, .yaml or .yml")
    return path.suffix.lower() != ".json"
