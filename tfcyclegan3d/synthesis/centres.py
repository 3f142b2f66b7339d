"""How far inside its object a voxel lies: 1 at an object's centre, falling to 0 at its border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def centre_distances(numbers: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return each voxel's distance from outside its object as a share of the largest in that object.

    Objects that touch are told apart by their numbers, so that the distance falls to its least between them, too. What
    lies beyond the volume is neither inside nor outside: of an object that the end of the volume cuts, the middle may
    lie there.

    Parameters
    ----------
    numbers : ndarray of int, ZYXC
        The object at each voxel, 0 for none.
    spacing : (z, y, x)
        Sides of a voxel, in any one unit.

    Returns
    -------
    ndarray of float32, ZYXC
        In (0, 1] inside objects, 0 outside.
    """
    distances = np.zeros(numbers.shape, np.float32)
    for k in range(numbers.shape[-1]):
        of_class = np.ascontiguousarray(numbers[..., k])
        for number, box in enumerate(ndimage.find_objects(of_class), start=1):
            if box is None:
                continue
            around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
            inside = of_class[around] == number
            # With nothing outside, there is no distance to it.
            found = ndimage.distance_transform_edt(inside, spacing) if not inside.all() else inside.astype(np.float32)
            distances[around][..., k][inside] = (found / found.max())[inside]
    return distances
