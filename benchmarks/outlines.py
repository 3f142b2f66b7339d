"""Where a truth draws its outlines: how bright an object is there, and how far its brightness lies off its centre.

python benchmarks/outlines.py --data DATA

Brightness lies between an object's surroundings (0) and its inside (1). Half of a blurred object's brightness lies at
its border, unless it is small against the blur. A network that learned from renderings draws its outlines there; a
truth whose outlines lie at a fifth is of larger objects, which no training without labels can know. Nor can it know
that a truth lies beside what is seen. Looks at the truth, and at nothing else: no training uses any of this.
"""

from __future__ import annotations

import numpy as np
from cases import REAL, parser_of
from scipy import ndimage

import tfcyclegan3d as tc

# Voxels along X on either side of an outline, one bin each.
REACH = 8
# Voxels around an object that tell how bright its surroundings are.
MARGIN = 4


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


def displacement(image: np.ndarray, labels: np.ndarray, number: int, spacing: np.ndarray) -> np.ndarray | None:
    """Return how far one object of ZYX is brighter than its surroundings off its centre (z, y, x), in voxels.

    None for an object that a face cuts.
    """
    (box,) = ndimage.find_objects(labels == number)
    if any(side.start < MARGIN or side.stop > n - MARGIN for side, n in zip(box, labels.shape, strict=True)):
        return None
    box = tuple(slice(side.start - MARGIN, side.stop + MARGIN) for side in box)
    own = labels[box] == number
    outwards = ndimage.distance_transform_edt(~own, spacing)
    around = ~own & (labels[box] == 0) & (outwards <= MARGIN)
    if not around.any():
        return None
    brightness = np.clip(image[box] - np.median(image[box][around]), 0, None) * (own | (around & (outwards <= 2)))
    return np.subtract(ndimage.center_of_mass(brightness), ndimage.center_of_mass(own))


def main() -> None:
    """Print a row for each stack."""
    parser = parser_of(__doc__, None)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data is not given")
    print("| stack | objects | 2 voxels outside | outline | 2 voxels inside | brightness off the centre (Z, Y, X) |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, (image, truth, _, voxel_size_um) in REAL.items():
        volume = tc.read_volume(options.data / image, voxel_size_um=voxel_size_um)
        labels = tc.read_volume(options.data / truth).array[..., 0]
        if len(np.unique(labels)) == 2:
            labels, _ = ndimage.label(labels > 0)
        size = np.ones(3) if volume.voxel_size_um is None else np.array(volume.voxel_size_um)
        numbers = np.unique(labels)[1:]
        image, spacing = volume.array[..., 0].astype(np.float64), size / size[-1]
        profiles = [profile(image, labels, one, spacing) for one in numbers]
        median = np.nanmedian(profiles, axis=0)
        outline = median[REACH - 1 : REACH + 1].mean()
        shifts = [shift for one in numbers if (shift := displacement(image, labels, one, spacing)) is not None]
        off = ", ".join(f"{side:+.2f}" for side in np.median(shifts, axis=0))
        outside, inside = median[REACH - 3], median[REACH + 2]
        print(f"| {name} | {len(numbers)} | {outside:.2f} | {outline:.2f} | {inside:.2f} | {off} |")


if __name__ == "__main__":
    main()
