"""A simulated fluorescence microscope: from masks with numbered objects to image intensities.

Every strength is an interval from which one value is drawn for each rendering, so that the same class describes "this
microscope" (narrow intervals) and "any microscope" (wide ones). Lengths are in voxels, intensities in units of the
brightness of a typical object.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from tfcyclegan3d import errors

Interval = tuple[float, float]

SHARES = ("haze", "bleed_through", "attenuation")
DRAWN_IN_LOGARITHM = ("photons", "read_noise", "background")


@dataclass(frozen=True)
class Microscope:
    """Intervals from which a rendering draws its strengths, evenly; noise and background evenly in their logarithm.

    Parameters
    ----------
    brightness : Interval
        Of a channel's typical object.
    object_spread : Interval
        Standard deviation of the logarithm of brightness between objects of one channel.
    texture : Interval
        Relative standard deviation of the labelling inside an object.
    texture_scale : Interval
        Correlation length of that, in voxels.
    blur : Interval
        Standard deviation of the point spread function in the plane, in voxels.
    blur_z_ratio : Interval
        The same along z, divided by that in the plane.
    haze, haze_scale : Interval
        Share of the light that comes out of focus, and its spread in voxels.
    bleed_through : Interval
        Share of each other channel seen in a channel.
    background, unevenness : Interval
        Level of the background, and the relative standard deviation of its slow changes.
    debris, debris_brightness : Interval
        Bright specks per million voxels, and their brightness.
    attenuation : Interval
        Share of the light lost from the first plane to the last.
    photons : Interval
        Photons counted in a voxel of brightness 1.
    read_noise : Interval
        Standard deviation of the camera's noise.

    References
    ----------
    The chain blur, haze, Poisson, Gaussian is the standard model of a fluorescence microscope, e.g. Sage et al.,
    Methods 115 (2017), doi:10.1016/j.ymeth.2016.12.015.
    """

    brightness: Interval = (0.8, 1.2)
    object_spread: Interval = (0.3, 0.3)
    texture: Interval = (0.25, 0.25)
    texture_scale: Interval = (2.0, 3.0)
    blur: Interval = (1.4, 1.4)
    blur_z_ratio: Interval = (2.0, 2.0)
    haze: Interval = (0.12, 0.12)
    haze_scale: Interval = (6.0, 6.0)
    bleed_through: Interval = (0.04, 0.04)
    background: Interval = (0.12, 0.12)
    unevenness: Interval = (0.25, 0.25)
    debris: Interval = (15.0, 15.0)
    debris_brightness: Interval = (0.5, 1.0)
    attenuation: Interval = (0.25, 0.25)
    photons: Interval = (35.0, 35.0)
    read_noise: Interval = (0.05, 0.05)

    def __post_init__(self) -> None:
        """Refuse empty and negative intervals."""
        for field in fields(self):
            low, high = getattr(self, field.name)
            limit = 1.0 if field.name in SHARES else np.finfo(np.float64).max
            if not 0 <= low <= high <= limit or (low == 0 and field.name in (*DRAWN_IN_LOGARITHM, "texture_scale")):
                raise errors.OptionError(
                    f"microscope {field.name}",
                    (low, high),
                    f"give (low, high) with 0 <= low <= high, and low above 0 for {', '.join(DRAWN_IN_LOGARITHM)}",
                )

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw one value of each strength."""
        drawn = {}
        for field in fields(self):
            low, high = getattr(self, field.name)
            if field.name in DRAWN_IN_LOGARITHM:
                drawn[field.name] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            else:
                drawn[field.name] = float(rng.uniform(low, high))
        return drawn


CLEAN = Microscope()
"""A good day: what ``simulate`` renders."""

HARD = Microscope(
    brightness=(0.6, 1.0),
    object_spread=(0.4, 0.4),
    texture=(0.35, 0.35),
    blur=(1.5, 1.5),
    blur_z_ratio=(2.2, 2.2),
    haze=(0.15, 0.15),
    haze_scale=(8.0, 8.0),
    bleed_through=(0.08, 0.08),
    background=(0.2, 0.2),
    unevenness=(0.4, 0.4),
    debris=(30.0, 30.0),
    debris_brightness=(0.6, 1.2),
    attenuation=(0.35, 0.35),
    photons=(30.0, 30.0),
    read_noise=(0.05, 0.05),
)
"""Dim objects, clutter, bleed-through, attenuation, strong noise: what ``simulate --hard`` renders."""

ANY = Microscope(
    brightness=(0.5, 1.0),
    object_spread=(0.1, 0.9),
    texture=(0.0, 0.5),
    texture_scale=(0.7, 3.0),
    blur=(0.3, 1.3),
    blur_z_ratio=(1.0, 2.2),
    haze=(0.0, 0.25),
    haze_scale=(3.0, 8.0),
    bleed_through=(0.0, 0.15),
    background=(0.01, 0.3),
    unevenness=(0.0, 0.5),
    debris=(0.0, 100.0),
    debris_brightness=(0.3, 1.2),
    attenuation=(0.0, 0.5),
    photons=(6.0, 500.0),
    read_noise=(0.003, 0.12),
)
"""Every microscope a network should have met before it sees the user's."""


def render(
    objects: np.ndarray, microscope: Microscope, rng: np.random.Generator, coverage: np.ndarray | None = None
) -> np.ndarray:
    """Render numbered objects as a microscope would show them.

    Parameters
    ----------
    objects : ndarray of int, ZYXC
        The number of the object at each voxel, 0 for none, class by class.
    microscope : Microscope
        Where the strengths are drawn from.
    rng : numpy.random.Generator
        Of everything random here.
    coverage : ndarray of float32, ZYXC, optional
        Share of each voxel that its object covers; 1 in every object without it.

    Returns
    -------
    ndarray of float32, ZYXC
        Intensities, not negative; about 1 in a typical object.
    """
    strengths = microscope.draw(rng)
    coverage = (objects > 0).astype(np.float32) if coverage is None else coverage
    channels = range(objects.shape[-1])
    light = np.stack([_label(objects[..., k], coverage[..., k], microscope, strengths, rng) for k in channels], axis=-1)
    bleeding = strengths["bleed_through"]
    light = (1 - bleeding) * light + bleeding * light.sum(-1, keepdims=True)
    light += _background(objects.shape, strengths, rng)
    light *= _attenuation(objects.shape[0], strengths["attenuation"])
    return _count(light, strengths, rng)


def _label(
    numbers: np.ndarray, coverage: np.ndarray, microscope: Microscope, strengths: dict, rng: np.random.Generator
) -> np.ndarray:
    """Light of one channel (ZYX float32): uneven objects and debris, blurred, with haze."""
    brightness = rng.uniform(*microscope.brightness)
    per_object = brightness * np.exp(rng.normal(0, strengths["object_spread"], int(numbers.max()) + 1))
    per_object[0] = 0
    light = per_object.astype(np.float32)[numbers] * coverage
    if strengths["texture"] > 0:
        grain = _smooth_noise(numbers.shape, strengths["texture_scale"], rng)
        light *= np.maximum(1 + strengths["texture"] * grain, 0)
    sigma = strengths["blur"] * np.array([strengths["blur_z_ratio"], 1, 1])
    n_specks = rng.poisson(strengths["debris"] * numbers.size / 1e6)
    where = tuple(rng.integers(0, side, n_specks) for side in numbers.shape)
    # A speck is a point: blurred, its peak is 1 / (sqrt(2 pi) sigma)^3 of its light, so it is given that much more.
    peak = np.prod(np.maximum(np.sqrt(2 * np.pi) * sigma, 1))
    light[where] += np.float32(peak) * rng.uniform(*microscope.debris_brightness, n_specks).astype(np.float32)
    light = ndimage.gaussian_filter(light, sigma, mode="reflect", truncate=3)
    if strengths["haze"] > 0:
        light = (1 - strengths["haze"]) * light + strengths["haze"] * _wide_blur(light, strengths["haze_scale"])
    return light


def _background(shape: tuple[int, ...], strengths: dict, rng: np.random.Generator) -> np.ndarray:
    """Background (ZYXC float32) that changes slowly, each channel by itself."""
    slow = np.stack([_smooth_noise(shape[:3], max(shape[:3]) / 6, rng) for _ in range(shape[3])], axis=-1)
    return strengths["background"] * np.maximum(1 + strengths["unevenness"] * slow, 0)


def _attenuation(depth: int, lost: float) -> np.ndarray:
    """Share of the light left in each plane (Z111 float32)."""
    return np.linspace(1, 1 - lost, depth, dtype=np.float32)[:, None, None, None]


def _count(light: np.ndarray, strengths: dict, rng: np.random.Generator) -> np.ndarray:
    """Count photons and read them out."""
    counted = rng.poisson(np.maximum(light, 0) * strengths["photons"]).astype(np.float32) / strengths["photons"]
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    # An offset keeps the camera's noise from being clipped at nought, as real cameras do.
    return np.maximum(counted + strengths["read_noise"] * (noise + 4), 0).astype(np.float32)


def _smooth_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of mean 0, deviation 1 and the given correlation length in voxels (ZYX float32)."""
    coarse = tuple(max(2, round(side / scale) + 1) for side in shape)
    noise = rng.standard_normal(coarse, dtype=np.float32)
    noise = _resize(noise, shape)
    return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


def _wide_blur(light: np.ndarray, scale: float) -> np.ndarray:
    """Blur widely and cheaply: on a grid coarser by about half the scale."""
    factor = max(1, int(scale / 2))
    coarse = tuple(max(1, -(-side // factor)) for side in light.shape)
    small = ndimage.gaussian_filter(_resize(ndimage.uniform_filter(light, factor), coarse), scale / factor, truncate=2)
    return _resize(small, light.shape)


def _resize(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resample to a shape by linear interpolation."""
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=1, mode="nearest", grid_mode=True)
