"""Fixed patches that a training is watched by, and what its networks make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfcyclegan3d import preprocessing

Triple = tuple[int, int, int]
Forward = Callable[[np.ndarray], np.ndarray]
"""A network without its training behaviour: BZYXC float32 to BZYXC float32."""

N_CANDIDATES = 6  # Places looked at for each probe.
# How the half-way point of a cycle is disturbed to see whether something is hidden there.
BLUR, NOISE = 0.7, 0.2  # Voxels; share of half the range of a mask.


@dataclass(frozen=True, eq=False)
class Probes:
    """What the networks are shown, the same at every epoch.

    Parameters
    ----------
    images, masks : ndarray, NZYXC float32 in [-1, 1]
        Not paired with each other; masks may hold the classes' centres in as many channels more.
    """

    images: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, eq=False)
class Observation:
    """What the networks make of probes.

    Parameters
    ----------
    images, masks : ndarray, NZYXC float32 in [-1, 1]
        The probes; of masks, as of those predicted, the classes' channels alone.
    predicted : ndarray, NZYXC
        ``image_to_mask`` of the images.
    translated : ndarray, NZYXC
        ``mask_to_image`` of the masks.
    cycled : ndarray, ZYXC
        ``mask_to_image`` of the first predicted mask.
    disturbed : dict of str to ndarray, ZYXC
        The same after that mask was ``"rounded"``, ``"blurred"`` or ``"noised"``.
    mask_scores, image_scores : (ndarray, ndarray)
        What a critic says of real probes and of fake ones.
    """

    images: np.ndarray
    masks: np.ndarray
    predicted: np.ndarray
    translated: np.ndarray
    cycled: np.ndarray
    disturbed: dict[str, np.ndarray]
    mask_scores: tuple[np.ndarray, np.ndarray]
    image_scores: tuple[np.ndarray, np.ndarray]


def spread_probes(volumes: Sequence[np.ndarray], shape: Triple, n_probes: int, seed: Sequence[int]) -> np.ndarray:
    """Cut probes out of volumes, from the brightest place to the dimmest of those looked at.

    A sparse stack is empty at most places; ordered by their mean, some of the probes hold objects for sure.

    Parameters
    ----------
    volumes : sequence of ndarray, ZYXC
        Images or masks; padded by reflection where they are smaller than a probe.
    shape : (int, int, int)
        Z, Y, X of a probe.
    n_probes : int
        At least 1.
    seed : sequence of int
        Of the places.

    Returns
    -------
    ndarray of float32, NZYXC
        The first one is the brightest.
    """
    rng = np.random.default_rng(list(seed))
    found = []
    for i in range(n_probes * N_CANDIDATES):
        volume = volumes[i % len(volumes)]
        starts = [
            int(rng.integers(max(side - size, 0) + 1)) for side, size in zip(volume.shape[:3], shape, strict=True)
        ]
        place = tuple(slice(first, first + size) for first, size in zip(starts, shape, strict=True))
        # Cut before it is padded: a volume may be larger than memory.
        found.append(preprocessing.pad_to(np.asarray(volume[place], dtype=np.float32), shape))
    order = np.argsort([-probe.mean() for probe in found], kind="stable")
    chosen = np.linspace(0, len(found) - 1, n_probes).round().astype(int)
    # Flipped each in a way of its own: a stack no larger than a probe would give the same one again and again.
    return np.stack([_flipped(found[order[k]], i) for i, k in enumerate(chosen)])


def _flipped(probe: np.ndarray, i: int) -> np.ndarray:
    return np.flip(probe, [axis for axis in (0, 1, 2) if i >> (2 - axis) & 1])


def observe(
    probes: Probes,
    image_to_mask: Forward,
    mask_to_image: Forward,
    mask_critic: Forward,
    image_critic: Forward,
    predicted: np.ndarray | None = None,
) -> Observation:
    """Run networks over probes, one probe at a time.

    ``predicted`` is what ``image_to_mask`` makes of the images, where that is known already.
    """
    predicted = one_by_one(image_to_mask, probes.images) if predicted is None else predicted
    translated = one_by_one(mask_to_image, probes.masks)
    first, n_classes = predicted[:1], probes.images.shape[-1]
    noise = np.random.default_rng(0).standard_normal(first.shape, dtype=np.float32)
    # Between 0 and 1, centres say what they are meant to say.
    is_mask = np.arange(first.shape[-1]) < n_classes
    ways = {
        "rounded": np.where(is_mask, np.where(first > 0, 1.0, -1.0), first).astype(np.float32),
        "blurred": ndimage.gaussian_filter(first, (0, BLUR, BLUR, BLUR, 0)),
        "noised": first + NOISE * noise,
    }
    return Observation(
        images=probes.images,
        masks=probes.masks[..., :n_classes],
        predicted=predicted[..., :n_classes],
        translated=translated,
        cycled=mask_to_image(first)[0],
        disturbed={name: mask_to_image(mask)[0] for name, mask in ways.items()},
        mask_scores=(one_by_one(mask_critic, probes.masks), one_by_one(mask_critic, predicted)),
        image_scores=(one_by_one(image_critic, probes.images), one_by_one(image_critic, translated)),
    )


def one_by_one(network: Forward, batch: np.ndarray) -> np.ndarray:
    """Return what a network makes of each sample by itself, which bounds the memory it takes."""
    return np.concatenate([network(sample[np.newaxis]) for sample in batch])
