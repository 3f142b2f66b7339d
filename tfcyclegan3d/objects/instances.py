"""Numbering the objects of a mask, without having learned from numbered ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from tfcyclegan3d import errors
from tfcyclegan3d.objects.basins import Relief, find_basins, least_voxels
from tfcyclegan3d.objects.landscape import estimate_diameter, graded, landscape
from tfcyclegan3d.thresholding import otsu_mask

logger = logging.getLogger(__name__)

# Of real and simulated masks, this one told most objects apart; less parts long ones, more joins neighbours.
VALLEY = 0.1
# A ball of a third of the diameter, and less, is taken for a speck.
MINIMUM_SHARE = 0.05


def label_objects(
    probability: np.ndarray,
    *,
    threshold: float = 0.5,
    diameter: float | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    centres: np.ndarray | None = None,
    minimum_share: float = MINIMUM_SHARE,
    valley: float = VALLEY,
    core: float | None = None,
) -> np.ndarray:
    """Give numbers to the objects of one class.

    Objects that touch are parted where the foreground is narrow, or less sure: the distance of every voxel to what is
    not the core of the foreground, smoothed in proportion to the diameter, has a hill in each object. Hills between
    which there is no valley worth the name are one object (h-maxima relative to the hill's height), the rest of the
    voxels goes to hills by watershed, and specks join what they touch or are dropped.

    Parameters
    ----------
    probability : ndarray, ZYX
        Probabilities, or a mask (bool, 0 and 1, 0 and 255), which is its own core.
    threshold : float
        Foreground is what lies above it.
    diameter : float, optional
        Typical diameter of an object where it is thinnest, in the unit of ``spacing``; estimated from the foreground if
        not given.
    spacing : (z, y, x)
        Sides of a voxel, in any unit.
    centres : ndarray of float, ZYX, optional
        In [0, 1], with a peak at each object's centre, as a network learns them: its hills are the objects then.
    minimum_share : float
        An object is at least this share of a ball of the diameter, as far as a ball fits into the stack; 0 keeps every
        voxel.
    valley : float
        In [0, 1): two hills are two objects where the pass between them lies lower than the lower hilltop by more than
        this share of its height.
    core : float, optional
        Probability above which a voxel is in the core of an object; nine tenths of the way from the threshold to 1 if
        not given.

    Returns
    -------
    ndarray of int32, ZYX
        Numbers of the objects from 1, in the order of their hilltops along Z, Y, X; 0 is background.

    Raises
    ------
    OptionError
        For values out of these ranges, or centres of another shape.

    Notes
    -----
    ``objects.blockwise`` does the same to a stack of any size.
    """
    check(diameter, spacing, minimum_share, valley)
    grades = graded(_stack(probability), threshold, core)
    foreground = grades > 0
    if centres is not None and np.shape(centres) != foreground.shape:
        raise errors.ShapeMismatchError("centres", np.shape(centres), "the mask", foreground.shape)
    diameter = diameter or estimate_diameter(foreground, spacing)
    if diameter is None:  # All background, or one object without an outside.
        return foreground.astype(np.int32)
    heights = landscape(grades, diameter, spacing, centres)
    basins = find_basins(heights)
    relief = Relief()
    relief.add_basins(basins.tops, basins.heights)
    relief.add_voxels(basins.numbers)
    relief.add_passes(basins.numbers, heights)
    found = relief.objects(valley, least_voxels(diameter, spacing, minimum_share, foreground.shape))
    warn_of_none(found, diameter, "the mask")
    return found[basins.numbers]


def voronoi_otsu(image: np.ndarray, *, spot_sigma: float, outline_sigma: float = 1.0) -> np.ndarray:
    """Give numbers to the bright blobs of an image by Voronoi-Otsu labelling [1]_, the baseline that needs no mask.

    Blurred by ``spot_sigma`` the image has a maximum in each blob; blurred by ``outline_sigma``, Otsu's threshold gives
    their outlines. Every voxel inside goes to the maximum from which the way through the foreground is shortest.

    Parameters
    ----------
    image : ndarray, ZYX
        Intensities.
    spot_sigma : float
        Standard deviation in voxels: how near to each other blobs may lie.
    outline_sigma : float
        Standard deviation in voxels: how finely they are outlined.

    Returns
    -------
    ndarray of int32, ZYX
        Numbers from 1; 0 is background.

    References
    ----------
    .. [1] R. Haase, py-clesperanto, "Voronoi-Otsu-labeling",
           https://github.com/clEsperanto/pyclesperanto_prototype
    """
    inside = otsu_mask(_stack(image), outline_sigma)
    blurred = ndimage.gaussian_filter(np.asarray(image, np.float32), spot_sigma)
    spots = (blurred == ndimage.maximum_filter(blurred, 3)) & inside
    markers, _ = ndimage.label(spots, np.ones((3, 3, 3)))
    return watershed(np.zeros(inside.shape, np.uint8), markers, mask=inside).astype(np.int32)


def warn_of_none(objects: np.ndarray, diameter: float, what: str) -> None:
    """Say so where hills were found and all of them are too small: ``objects`` holds the object of each."""
    if len(objects) > 1 and not objects.any():
        logger.warning(
            "%s: is not empty, but nothing in it is large enough for objects of diameter %.4g: give a smaller one",
            what,
            diameter,
        )


def check(diameter: float | None, spacing: Sequence[float], minimum_share: float, valley: float) -> None:
    """Check what ``label_objects`` takes.

    Raises
    ------
    OptionError
    """
    if diameter is not None and not 0 < diameter < np.inf:
        raise errors.OptionError("diameter", diameter, "give a length above 0")
    if len(spacing) != 3 or not all(0 < side < np.inf for side in spacing):
        raise errors.OptionError("spacing", tuple(spacing), "give three lengths above 0, along Z, Y, X")
    if not 0 <= minimum_share < np.inf:
        raise errors.OptionError("minimum_share", minimum_share, "give 0 or more")
    if not 0 <= valley < 1:
        raise errors.OptionError("valley", valley, "give at least 0 and less than 1")


def _stack(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 3:
        raise errors.VolumeContentError(
            "the mask", f"has {array.ndim} axes, shape {array.shape}", "give one class, ZYX"
        )
    return array
