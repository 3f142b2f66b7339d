"""Where a truth draws its outlines: how bright an object is there, between its surroundings (0) and its inside (1).

python benchmarks/outlines.py --data DATA

Half of a blurred object's brightness lies at its border, unless it is small against the blur. A network that learned
from renderings draws its outlines there; a truth whose outlines lie at a fifth is of larger objects, which no training
without labels can know. Looks at the truth, and at nothing else: no training uses any of this.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from cases import REAL
from scipy import ndimage

import tfcyclegan3d as tc

# Voxels along X on either side of an outline, one bin each.
REACH = 8


def profile(image: np.ndarray, labels: np.ndarray, number: int, spacing: np.ndarray) -> np.ndarray:
    """Return the mean brightness (2 REACH bins, outside to inside) around the outline of one object of ZYX."""
    (box,) = ndimage.find_objects(labels == number)
    box = tuple(slice(max(side.start - REACH, 0), side.stop + REACH) for side in box)
    own, image = labels[box] == number, image[box]
    inwards = ndimage.distance_transform_edt(own, spacing)
    outwards = ndimage.distance_transform_edt(~own, spacing)
    from_any = ndimage.distance_transform_edt(labels[box] == 0, spacing)
    counted = own | ((labels[box] == 0) & (outwards <= from_any))  # Not what lies nearer another object.
    bins = np.clip(np.floor(np.where(own, inwards, -outwards) + np.where(own, -0.5, 0.5)), -REACH, REACH - 1)
    within = np.abs(inwards - outwards) < REACH
    sums = [image[counted & within & (bins == one)] for one in range(-REACH, REACH)]
    means = np.array([one.mean() if one.size else np.nan for one in sums])
    low, high = np.nanmin(means), np.nanmax(means)
    return (means - low) / (high - low)


def main() -> None:
    """Print a row for each stack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("TFCYCLEGAN3D_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), required=not data)
    options = parser.parse_args()
    print("| stack | objects | 2 voxels outside | outline | 2 voxels inside |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (image, truth, _, voxel_size_um) in REAL.items():
        volume = tc.read_volume(options.data / image, voxel_size_um=voxel_size_um)
        labels = tc.read_volume(options.data / truth).array[..., 0]
        if len(np.unique(labels)) == 2:
            labels, _ = ndimage.label(labels > 0)
        size = np.ones(3) if volume.voxel_size_um is None else np.array(volume.voxel_size_um)
        numbers = np.unique(labels)[1:]
        profiles = [profile(volume.array[..., 0], labels, one, size / size[-1]) for one in numbers]
        median = np.nanmedian(profiles, axis=0)
        outline = median[REACH - 1 : REACH + 1].mean()
        print(f"| {name} | {len(numbers)} | {median[REACH - 3]:.2f} | {outline:.2f} | {median[REACH + 2]:.2f} |")


if __name__ == "__main__":
    main()
