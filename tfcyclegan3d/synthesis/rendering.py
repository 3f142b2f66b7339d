"""Rendering: from numbered objects to the intensities that a simulated fluorescence microscope would show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis import fields
from tfcyclegan3d.synthesis.cut import Cut
from tfcyclegan3d.synthesis.labelling import Channel, deviations, light_of
from tfcyclegan3d.synthesis.microscope import Microscope

LENGTHS = ("texture_scale", "blur", "haze_scale")
# From so many photons on, a normal number bent to the Poisson distribution's skewness (Cornish and Fisher,
# doi:10.2307/1400905) and rounded differs from a Poisson number in less than one draw of a hundred, in a quarter of the
# time.
MANY_PHOTONS = 4.0
# Variance that the bending (2 / 36) and the rounding (1 / 12) add.
ADDED_VARIANCE = np.float32(5 / 36)


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
    acquisition = Acquisition.drawn(objects, microscope, rng)
    return acquisition.image(objects, rng, coverage)


@dataclass(frozen=True, eq=False)
class Acquisition:
    """A microscope's strengths and a volume's labelling, background and debris, drawn once.

    It can show the whole volume, or a part of it for a part of the work.

    Parameters
    ----------
    strengths : mapping of str to float
        One value of each of the microscope's strengths.
    channels : tuple of Channel
        One a class.
    """

    strengths: Mapping[str, float]
    channels: tuple[Channel, ...]

    @classmethod
    def drawn(cls, objects: np.ndarray, microscope: Microscope, rng: np.random.Generator) -> Acquisition:
        """Draw one for numbered objects (ZYXC)."""
        strengths = microscope.draw(rng)
        classes = range(objects.shape[-1])
        return cls(strengths, tuple(Channel.drawn(objects[..., k], microscope, strengths, rng) for k in classes))

    def image(
        self,
        objects: np.ndarray,
        rng: np.random.Generator,
        coverage: np.ndarray | None = None,
        cut: Cut | None = None,
    ) -> np.ndarray:
        """Show the volume, or a part of it.

        Parameters
        ----------
        objects : ndarray of int, ZYXC
            The whole volume that this was drawn for.
        rng : numpy.random.Generator
            Of texture and noise, which are drawn anew each time.
        coverage : ndarray of float32, ZYXC, optional
            As ``render`` takes it.
        cut : Cut, optional
            What to show; all of it by default. What lies within two standard deviations of the blur is blurred into
            it; light from further away is taken to be like light from there. With a step, blur and grain are that
            much smaller in voxels, which gives the same distribution of intensities in fewer voxels.

        Returns
        -------
        ndarray of float32, ZYXC
            Of the shape of the cut.
        """
        cut = Cut.whole(objects.shape[:3]) if cut is None else cut
        strengths = {name: value / cut.step if name in LENGTHS else value for name, value in self.strengths.items()}
        margins = np.ceil(2 * deviations(strengths) * (1 + strengths["blur_growth"])).astype(int)
        grown, inner = cut.grown(margins)
        light = np.empty((len(self.channels), *(len(places) for places in cut.places)), np.float32)
        for k, channel in enumerate(self.channels):
            where = (*grown.slices, k)
            covered = None if coverage is None else coverage[where]
            light[k] = light_of(channel, objects[where], covered, grown, strengths, rng)[inner]
        bleeding = np.float32(strengths["bleed_through"])
        if len(light) > 1 and bleeding > 0:
            light = (1 - bleeding) * light + bleeding * light.sum(0)
        for channel, one in zip(self.channels, light, strict=True):
            slow = fields.interpolated(channel.background, cut.shape, cut.places)
            slow *= np.float32(strengths["unevenness"])
            slow += 1
            one += np.float32(strengths["background"]) * np.maximum(slow, 0, out=slow)
        light *= 1 - np.float32(strengths["attenuation"]) * cut.relative_depth
        return np.ascontiguousarray(np.moveaxis(_count(light, strengths, rng), 0, -1))


def _count(light: np.ndarray, strengths: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Count photons and read them out."""
    photons, read_noise = np.float32(strengths["photons"]), np.float32(strengths["read_noise"])
    counted = _poisson(light * photons, rng)
    counted /= photons
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    # An offset keeps the camera's noise from being clipped at nought, as real cameras do.
    noise += 4
    noise *= read_noise
    counted += noise
    return np.maximum(counted, 0, out=counted)


def _poisson(mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw Poisson numbers (float32) of the given means (float32)."""
    few = mean < MANY_PHOTONS
    counted = np.empty_like(mean)
    counted[few] = rng.poisson(np.maximum(mean[few], 0))
    many = mean[~few]
    normal = rng.standard_normal(many.size, dtype=np.float32)
    many += np.sqrt(many - ADDED_VARIANCE) * normal + (normal * normal - 1) / 6
    counted[~few] = np.rint(many, out=many)
    return counted
