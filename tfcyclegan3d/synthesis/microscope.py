"""Fluorescence microscopes to simulate, each described by the intervals its strengths are drawn from.

One value of each strength is drawn for each rendering, so that the same class describes "this microscope" (narrow
intervals) and "any microscope" (wide ones). Lengths are in voxels, intensities in units of the brightness of a typical
object. ``synthesis.rendering`` does what is described here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tfcyclegan3d import errors

Interval = tuple[float, float]

# Beyond these, nothing is left of a picture.
LIMITS = {
    "brightness": 100.0,
    "object_spread": 3.0,
    "texture": 3.0,
    "texture_scale": 100.0,
    "shading": 1.0,
    "rim": 1.0,
    "blur": 10.0,
    "blur_z_ratio": 10.0,
    "blur_growth": 5.0,
    "haze": 1.0,
    "haze_scale": 100.0,
    "bleed_through": 1.0,
    "background": 100.0,
    "unevenness": 5.0,
    "debris": 10_000.0,
    "debris_brightness": 100.0,
    "attenuation": 1.0,
    "photons": 1e12,
    "read_noise": 10.0,
}
ABOVE_ZERO = ("brightness", "texture_scale", "haze_scale", "background", "photons", "read_noise")
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
    shading : Interval
        Unevenness from one side of an object to the other: brighter by this share at one end, dimmer by it at the
        other, each object in a direction of its own. At most 1.
    rim : Interval
        Share of the labelling that the inside of an object lacks: 0 labels it through and through, 1 its envelope only.
    blur : Interval
        Standard deviation of the point spread function in the plane, in voxels.
    blur_z_ratio : Interval
        The same along z, divided by that in the plane.
    blur_growth : Interval
        Relative growth of both from the first plane to the last.
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
    shading: Interval = (0.0, 0.0)
    rim: Interval = (0.0, 0.0)
    blur: Interval = (1.4, 1.4)
    blur_z_ratio: Interval = (2.0, 2.0)
    blur_growth: Interval = (0.0, 0.0)
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
            limit, least = LIMITS[field.name], "above 0" if field.name in ABOVE_ZERO else "of 0 or more"
            if not 0 <= low <= high <= limit or (low == 0 and field.name in ABOVE_ZERO):
                raise errors.OptionError(
                    f"microscope {field.name}",
                    low if low == high else (low, high),
                    f"give a number {least} and at most {limit:g}, or two, the lower first",
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
    object_spread=(0.1, 0.6),
    texture=(0.0, 0.5),
    texture_scale=(0.7, 3.0),
    shading=(0.0, 0.4),
    blur=(0.3, 1.3),
    blur_z_ratio=(1.0, 4.0),
    blur_growth=(0.0, 0.5),
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
