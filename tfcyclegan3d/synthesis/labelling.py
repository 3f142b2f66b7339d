"""Labelled objects and debris as the optics blur them: the light of one channel, before background and noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfcyclegan3d.synthesis import fields
from tfcyclegan3d.synthesis.cut import Cut
from tfcyclegan3d.synthesis.microscope import Microscope

# Thickness of a labelled envelope, in voxels: thinner ones would all but vanish in the blur.
RIM_VOXELS = 2
# A solid ball's radius, in standard deviations of its voxels along any line.
BALL_RADIUS = np.float32(np.sqrt(5))
KERNEL_DEVIATIONS = 3.0


@dataclass(frozen=True, eq=False)
class Channel:
    """What is drawn once for one channel of a volume.

    Parameters
    ----------
    brightness : ndarray of float32, (n_objects + 1,)
        By object number; 0 for number 0.
    directions : ndarray of float32, (n_objects + 1, 3)
        ZYX unit vectors, towards the end of each object that shading makes brighter.
    specks : ndarray of int, (n_specks, 3)
        Voxels (z, y, x) of the debris.
    speck_brightness : ndarray of float32, (n_specks,)
        Peak of each once blurred.
    background : ndarray of float32, ZYX
        Slow changes of mean 0 and deviation 1, on a coarse grid.
    """

    brightness: np.ndarray
    directions: np.ndarray
    specks: np.ndarray
    speck_brightness: np.ndarray
    background: np.ndarray

    @classmethod
    def drawn(
        cls, numbers: np.ndarray, microscope: Microscope, strengths: Mapping[str, float], rng: np.random.Generator
    ) -> Channel:
        """Draw one for a channel's object numbers (ZYX)."""
        n_objects, shape = int(numbers.max()), numbers.shape
        brightness = rng.uniform(*microscope.brightness)
        brightness = brightness * np.exp(rng.normal(0, strengths["object_spread"], n_objects + 1))
        brightness[0] = 0
        directions = rng.standard_normal((n_objects + 1, 3), dtype=np.float32)
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
        n_specks = rng.poisson(strengths["debris"] * numbers.size / 1e6)
        specks = rng.integers(0, shape, (n_specks, 3))
        peaks = rng.uniform(*microscope.debris_brightness, n_specks).astype(np.float32)
        background = fields.coarse_noise(shape, max(shape) / 6, rng)
        return cls(brightness.astype(np.float32), directions, specks, peaks, background)


def light_of(
    channel: Channel,
    numbers: np.ndarray,
    coverage: np.ndarray | None,
    cut: Cut,
    strengths: Mapping[str, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the light of one channel in a part of a volume.

    Parameters
    ----------
    channel : Channel
        Drawn for the volume.
    numbers : ndarray of int, ZYX
        Objects in the cut.
    coverage : ndarray of float32, ZYX, or None
        Share of each voxel that its object covers; 1 in every object without it.
    cut : Cut
        Which part.
    strengths : mapping of str to float
        Lengths in voxels of the cut.
    rng : numpy.random.Generator
        Of the texture.

    Returns
    -------
    ndarray of float32, ZYX
    """
    light = channel.brightness[numbers]
    if coverage is not None:
        light *= coverage
    if strengths["shading"] > 0:
        _shade(light, numbers, channel.directions, strengths["shading"])
    if strengths["rim"] > 0:
        light *= 1 - np.float32(strengths["rim"]) * _inside(numbers, max(1, round(RIM_VOXELS / cut.step)))
    if strengths["texture"] > 0:
        grain = fields.smooth_noise(numbers.shape, strengths["texture_scale"], rng)
        grain *= np.float32(strengths["texture"])
        grain += 1
        light *= np.maximum(grain, 0, out=grain)
    _add_specks(light, channel, cut, strengths)
    light = _blurred(light, cut, strengths)
    if strengths["haze"] > 0:
        haze = np.float32(strengths["haze"])
        light = (1 - haze) * light + haze * fields.wide_blur(light, strengths["haze_scale"])
    return light


def deviations(strengths: Mapping[str, float]) -> np.ndarray:
    """Return the standard deviations of the point spread function in the first plane, along Z, Y, X, in voxels."""
    return strengths["blur"] * np.array([strengths["blur_z_ratio"], 1, 1])


def _shade(light: np.ndarray, numbers: np.ndarray, directions: np.ndarray, shading: float) -> None:
    """Make each object brighter towards its direction, by a share that grows evenly from end to end."""
    voxels = np.nonzero(numbers)
    owners = numbers[voxels]
    along = np.zeros(len(owners), np.float32)
    for axis, place in enumerate(voxels):
        along += directions[owners, axis] * place.astype(np.float32)
    n_voxels = np.maximum(np.bincount(owners), 1)
    mean = np.bincount(owners, along) / n_voxels
    along -= mean.astype(np.float32)[owners]
    deviation = np.sqrt(np.bincount(owners, along * along) / n_voxels)
    along /= np.maximum(BALL_RADIUS * deviation, 1e-3).astype(np.float32)[owners]
    light[voxels] *= 1 + np.float32(shading) * np.clip(along, -1, 1)


def _inside(numbers: np.ndarray, thickness: int) -> np.ndarray:
    """Return where (ZYX bool) the same object goes on for ``thickness`` voxels along every axis, both ways."""
    inside = numbers > 0
    for axis in range(3):
        side = numbers.shape[axis]
        if side <= thickness:
            continue
        before, after = np.moveaxis(numbers, axis, 0)[:-thickness], np.moveaxis(numbers, axis, 0)[thickness:]
        same, along = before == after, np.moveaxis(inside, axis, 0)
        # Beyond the border of the volume an object is taken to go on.
        along[thickness:] &= same
        along[:-thickness] &= same
    return inside


def _add_specks(light: np.ndarray, channel: Channel, cut: Cut, strengths: Mapping[str, float]) -> None:
    low = [span.start for span in cut.window]
    high = [span.stop for span in cut.window]
    here = ((channel.specks >= low) & (channel.specks < high)).all(axis=1)
    # A speck is a point: blurred, its peak is 1 / (sqrt(2 pi) sigma)^3 of its light, so it is given that much more.
    peak = np.prod(np.maximum(np.sqrt(2 * np.pi) * deviations(strengths), 1))
    where = tuple(((channel.specks[here] - low) // cut.step).T)
    np.add.at(light, where, np.float32(peak) * channel.speck_brightness[here])


def _blurred(light: np.ndarray, cut: Cut, strengths: Mapping[str, float]) -> np.ndarray:
    """Blur by a Gaussian whose deviation grows evenly with depth.

    Between the narrowest and the widest, a point is shown as a mixture of the two whose variance is the wanted one.
    """
    sigma, growth = deviations(strengths), strengths["blur_growth"]
    if growth > 0:
        widest = (1 + growth) ** 2 - 1
        share = ((1 + growth * cut.relative_depth) ** 2 - 1) / widest
        light = light * (1 - share) + _gaussian(light * share, np.sqrt(widest) * sigma, cut.step)
    return _gaussian(light, sigma, cut.step)


def _gaussian(light: np.ndarray, sigma: np.ndarray, step: int) -> np.ndarray:
    if step > 1:
        # A narrow Gaussian taken at whole voxels misses most of itself: between fewer voxels, widen it until the
        # variance over a voxel and its two neighbours is the wanted one.
        variance = np.clip(sigma**2, 1e-6, 0.3)
        widened = np.sqrt(-0.5 / np.log(variance / (2 * (1 - variance))))
        sigma = np.where(sigma**2 < 0.3, widened, sigma)
    return ndimage.gaussian_filter(light, sigma, mode="reflect", truncate=KERNEL_DEVIATIONS)
