"""A prior fitted to unlabelled stacks: sizes, elongation, density and pairing as far as the stacks show them."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tfcyclegan3d import errors
from tfcyclegan3d.stacks import grids_of
from tfcyclegan3d.synthesis import estimation
from tfcyclegan3d.synthesis.classes import check_channels, classes_of
from tfcyclegan3d.synthesis.diameters import diameters_in_voxels
from tfcyclegan3d.synthesis.groups import share_of_groups
from tfcyclegan3d.synthesis.measuring import ObjectEstimate, measure_objects
from tfcyclegan3d.synthesis.object_prior import ObjectPrior
from tfcyclegan3d.synthesis.placement import draw_scene
from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.synthesis.prior_values import Interval, Triple
from tfcyclegan3d.synthesis.scale_space import middle
from tfcyclegan3d.volumes import Grid, Volume

logger = logging.getLogger(__name__)

# Drawn fill fractions scatter so far about what was found, which a stack cannot tell closer.
FILL_SCATTER = (0.95, 1.05)
# Objects less elongated than this are taken for spheres: blur and noise make as much of a sphere.
ROUND = 1.25
# Classes are paired where an object's neighbour of the other class is, in the median, closer than this share of what it
# would be at random places; fewer objects than N_PAIRS say nothing of that.
PAIRED_DISTANCE, N_PAIRS = 0.5, 8
# Below this, unmatched objects are what splitting and merging make of fully paired ones.
LEAST_UNPAIRED = 0.2
SCALE_TOLERANCE = 0.4  # Logarithm of a given diameter by the one found, at which confidence has fallen to 37 %.
# Of what is drawn to tell how full a number of groups is, at most.
SAMPLED_SHAPE, ENOUGH_GROUPS = (128, 512, 512), 500


@dataclass(frozen=True)
class ClassFit:
    """What was found of one class in all stacks.

    Parameters
    ----------
    name : str
        The class.
    diameter : float
        Typical diameter (of a ball of the same volume), in ``unit``.
    semi_axes : tuple of (low, high)
        Of the three semi-axes, the longest first, in ``unit``.
    elongation : float
        Longest axis by the mean of the other two.
    in_plane : bool
        Whether long axes lie in the XY plane.
    counts : tuple of float
        Objects in each stack.
    per_mm3 : float or None
        Objects per cubic millimetre, where the voxel size is known.
    fill_fraction : float
        Share of the voxels covered.
    unit : {"voxels", "um"}
        Of lengths.
    confidence : float
        0 to 1.
    doubts : tuple of str
        Why not surer.
    """

    name: str
    diameter: float
    semi_axes: tuple[Interval, Interval, Interval]
    elongation: float
    in_plane: bool
    counts: tuple[float, ...]
    per_mm3: float | None
    fill_fraction: float
    unit: str
    confidence: float
    doubts: tuple[str, ...]

    @property
    def sureness(self) -> str:
        """The confidence as a word: sure, fairly sure, unsure."""
        return "sure" if self.confidence >= 0.8 else "fairly sure" if self.confidence >= 0.4 else "unsure"

    def __str__(self) -> str:
        """Return one line for a person."""
        doubts = f": {' '.join(self.doubts)}" if self.doubts else ""
        counts = ", ".join(f"{count:.0f}" for count in self.counts)
        return (
            f"{self.name}: diameter {self.diameter:.3g} {self.unit}, elongation {self.elongation:.2g}, "
            f"{counts} objects, {100 * self.fill_fraction:.2g} % full; {self.sureness} ({self.confidence:.2f}){doubts}"
        )


@dataclass(frozen=True)
class PriorFit:
    """A prior and what it was made of.

    Parameters
    ----------
    prior : Prior
        In micrometres where every stack has a voxel size, else in voxels.
    classes : tuple of ClassFit
        In the order of the channels.
    """

    prior: Prior
    classes: tuple[ClassFit, ...]

    @property
    def lines(self) -> list[str]:
        """What was found, one line a class, and one for pairs."""
        paired = [one for one in self.prior.objects if one.anchor is not None]
        return [str(one) for one in self.classes] + [
            f"{one.name} lie by their {one.anchor}: drawn in pairs, at most {one.offset[0][1]:.3g} {self.prior.unit} "
            "apart along each axis"
            for one in paired
        ]

    def to_dict(self) -> dict[str, object]:
        """Return the findings as plain numbers, texts and lists, by class."""
        return {one.name: dataclasses.asdict(one) | {"sureness": one.sureness} for one in self.classes}


def fit_prior(
    volumes: Volume | Sequence[Volume],
    class_names: Sequence[str] | None = None,
    diameters: Mapping[str, float | str] | None = None,
) -> PriorFit:
    """Fit a prior to stacks without labels.

    Parameters
    ----------
    volumes : Volume or sequence of Volume
        One channel a class. They are asked for one after the other, and large ones are looked at in parts.
    class_names : sequence of str, optional
        In the order of the channels; without them nuclei for one channel, Golgi and nuclei for two.
    diameters : dict of str to float or str, optional
        Of classes whose diameter is known, in voxels along X, or as a text such as ``"8um"``: believed, whatever the
        stacks seem to show.

    Returns
    -------
    PriorFit

    Raises
    ------
    ChannelError
        Where a stack has another number of channels than there are classes.
    VolumeContentError
        Where no object of a class is found and its diameter is not given.
    """
    if isinstance(volumes, Volume):
        volumes = [volumes]
    if not len(volumes):
        raise errors.OptionError("volumes", [], "give at least one stack")
    grids = grids_of(volumes)
    class_names = classes_of(grids[0]) if class_names is None else class_names
    check_channels(grids, class_names)
    known = diameters_in_voxels(diameters or {}, class_names, grids[0], grids)
    unit = "um" if all(grid.voxel_size_um is not None for grid in grids) else "voxels"
    sizes = [_voxel_size(grid, unit) for grid in grids]
    by_volume = [
        [_measured(volume, k, name, size) for k, name in enumerate(class_names)]
        for volume, size in zip(volumes, sizes, strict=True)
    ]
    estimates = list(zip(*by_volume, strict=True))
    classes = tuple(
        _pooled(name, found, grids, sizes, unit, known[name] * sizes[0][2] if name in known else None)
        for name, found in zip(class_names, estimates, strict=True)
    )
    long = [one for one in classes if one.elongation >= ROUND]
    prior = Prior(
        tuple(_object_prior(one) for one in classes),
        unit=unit,
        orientation="in-plane" if long and all(one.in_plane for one in long) else "any",
    )
    if len(classes) == 2:
        prior = _paired(prior, estimates, sizes)
    return PriorFit(_with_density(prior, classes, grids, sizes), classes)


def _voxel_size(grid: Grid, unit: str) -> Triple:
    return grid.voxel_size_um if unit == "um" else (1.0, 1.0, 1.0)


def _measured(volume: Volume, channel: int, name: str, voxel_size: Triple) -> ObjectEstimate | None:
    """Measure one channel; where no objects can be told apart, by what a threshold leaves, with little confidence."""
    logger.info("measuring %s in %s", name, volume.name)
    array = volume.array[..., channel]
    found = measure_objects(array, voxel_size)
    if found is not None:
        return found
    array = middle(array, estimation.MOST_THRESHOLDED)
    in_voxels = estimation.diameter(array, [side / voxel_size[2] for side in voxel_size])
    if in_voxels is None:
        return None
    diameter = in_voxels * voxel_size[2]
    fill = estimation.fill_fraction([array[..., np.newaxis]])
    return ObjectEstimate(
        diameter=diameter,
        semi_axes=((0.35 * diameter, 0.65 * diameter),) * 3,
        elongation=1.0,
        in_plane=False,
        count=fill * volume.array[..., channel].size * float(np.prod(voxel_size)) / (np.pi / 6 * diameter**3),
        fill_fraction=fill,
        centres=np.empty((0, 3)),
        window=(np.zeros(3), np.array(volume.shape)),
        n_measured=0,
        confidence=0.05,
        doubts=("No objects could be told apart: this is the size of what a threshold leaves.",),
    )


def _pooled(
    name: str,
    found: Sequence[ObjectEstimate | None],
    volumes: Sequence[Grid],
    sizes: Sequence[Triple],
    unit: str,
    known_diameter: float | None,
) -> ClassFit:
    """Put together what the stacks show of a class."""
    seen = [one for one in found if one is not None]
    if not seen:
        if known_diameter is None:
            raise errors.VolumeContentError(
                volumes[0].name,
                f"no {name} were found to measure",
                f"say how large they are, with --object-diameter {name}=VALUE in voxels",
            )
        raise errors.VolumeContentError(
            volumes[0].name, f"shows no {name}", "check the order of the channels, or give a prior with --prior"
        )
    weights = np.array([max(one.n_measured, 1) for one in seen], dtype=np.float64)
    weights /= weights.sum()
    diameter = float(weights @ [one.diameter for one in seen])
    scale = 1.0 if known_diameter is None else known_diameter / diameter
    axes = scale * np.tensordot(weights, np.array([one.semi_axes for one in seen]), 1)
    n_voxels = np.array([np.prod(volume.shape) for volume in volumes], dtype=np.float64)
    volume_unit3 = n_voxels @ [np.prod(size) for size in sizes]
    # How full a stack is has been measured: larger objects are fewer then.
    counts = tuple(float(one.count) / scale**3 if one is not None else 0.0 for one in found)
    fills = [one.fill_fraction if one is not None else 0.0 for one in found]
    confidence = float(weights @ [one.confidence for one in seen]) * len(seen) / len(found)
    confidence *= float(np.exp(-((np.log(scale) / SCALE_TOLERANCE) ** 2)))
    # Two stacks' doubts may differ in their figures alone.
    doubts = {re.sub(r"[\d.]+", "", doubt): doubt for one in seen for doubt in one.doubts}
    if len(seen) < len(found):
        doubts["some"] = "Nothing was found in some stacks."
    if known_diameter is not None and not 0.75 <= scale <= 1.33:
        doubts["diameter"] = f"The stack looks like a diameter of {diameter:.3g} {unit}."
    return ClassFit(
        name=name,
        diameter=diameter * scale,
        semi_axes=tuple((float(low), float(high)) for low, high in axes),
        elongation=float(weights @ [one.elongation for one in seen]),
        in_plane=float(weights @ [one.in_plane for one in seen]) >= 0.5,
        counts=counts,
        per_mm3=sum(counts) / volume_unit3 * 1e9 if unit == "um" else None,
        fill_fraction=float(n_voxels @ fills / n_voxels.sum()),
        unit=unit,
        confidence=confidence,
        doubts=tuple(doubts.values()),
    )


def _object_prior(one: ClassFit) -> ObjectPrior:
    fill = tuple(_short(np.clip(one.fill_fraction * factor, 1e-4, 0.6)) for factor in FILL_SCATTER)
    if one.elongation < ROUND:
        low, high = np.mean(one.semi_axes, axis=0)
        return ObjectPrior(one.name, "sphere", ((_short(low), _short(high)),), fill_fraction=fill)
    semi_axes = tuple((_short(low), _short(high)) for low, high in one.semi_axes)
    return ObjectPrior(one.name, "ellipsoid", semi_axes, fill_fraction=fill)


def _short(value: float) -> float:
    """Return three digits of a length, for the file that a person reads."""
    return float(f"{value:.3g}")


def _paired(prior: Prior, estimates: Sequence[Sequence[ObjectEstimate | None]], sizes: Sequence[Triple]) -> Prior:
    """Draw the second class beside the first where their centres are much closer than at random places."""
    vectors, matched, n_first, n_second, expected = [], 0, 0, 0, []
    for first, second, size in zip(*estimates, sizes, strict=True):
        if first is None or second is None:
            return prior
        low = np.maximum(first.window[0], second.window[0])
        high = np.minimum(first.window[1], second.window[1])
        one, other = (
            found.centres[((found.centres >= low) & (found.centres < high)).all(axis=1)] * size
            for found in (first, second)
        )
        if min(len(one), len(other)) < N_PAIRS:
            return prior
        distances, nearest = cKDTree(one).query(other)
        _, back = cKDTree(other).query(one)
        mutual = back[nearest] == np.arange(len(other))
        density = len(one) / float(np.prod(high - low) * np.prod(size))
        # Median distance to the nearest of points thrown at random: a ball that is empty with probability one half.
        expected.append((3 * np.log(2) / (4 * np.pi * density)) ** (1 / 3))
        close = mutual & (distances <= 2 * np.median(distances))
        vectors.append((other - one[nearest])[close])
        matched += int(close.sum())
        n_first, n_second = n_first + len(one), n_second + len(other)
        if np.median(distances) > PAIRED_DISTANCE * expected[-1]:
            return prior
    # The root mean square of a component, spread evenly over -reach to reach, is reach / sqrt(3).
    reach = _short(np.sqrt(3) * np.sqrt(np.mean(np.square(np.concatenate(vectors)))))
    lone = [share if share >= LEAST_UNPAIRED else 0.0 for share in (1 - matched / n_first, 1 - matched / n_second)]
    anchor, member = prior.objects
    member = dataclasses.replace(
        member, fill_fraction=None, anchor=anchor.name, offset=(-reach, reach), unpaired=min(round(lone[1], 2), 0.95)
    )
    anchor = dataclasses.replace(anchor, unpaired=min(round(lone[0], 2), 0.95))
    return dataclasses.replace(prior, objects=(anchor, member))


def _with_density(prior: Prior, classes: Sequence[ClassFit], volumes: Sequence[Grid], sizes: Sequence[Triple]) -> Prior:
    """Return the prior that draws as many objects in such stacks as were found in them.

    What so many cover, overlapping in pairs and cut by the border, is told by drawing them.
    """
    counts = {one.name: np.array(one.counts) for one in classes}
    volumes_unit3 = np.array(
        [np.prod(volume.shape) * np.prod(size) for volume, size in zip(volumes, sizes, strict=True)]
    )
    fills = {}
    for kind in prior.groups():
        alone = prior.select(kind.class_names)
        groups = np.mean([counts[one.name] / share_of_groups(kind, one) for one in kind.members], axis=0)
        densities = groups / volumes_unit3
        mean = float(densities[densities > 0].mean())
        shape, n_drawn = _sampled_shape(volumes[0].shape, mean * float(np.prod(sizes[0])))
        counted = dataclasses.replace(
            alone,
            objects=tuple(
                one if one.anchor else dataclasses.replace(one, fill_fraction=None, count=(n_drawn, n_drawn))
                for one in alone.objects
            ),
        )
        covered = draw_scene(shape, counted, sizes[0], np.random.SeedSequence(0)).mask().any(axis=-1).mean()
        ends = (densities[densities > 0].min(), densities.max())
        fills[kind.root.name] = tuple(
            _short(np.clip(factor * covered * end / mean, 1e-4, 0.6))
            for factor, end in zip(FILL_SCATTER, ends, strict=True)
        )
    return prior.with_fill(fills)


def _sampled_shape(shape: Triple, per_voxel: float) -> tuple[Triple, int]:
    """Return a volume with enough groups to tell how full they are, and how many those are."""
    z, y, x = (min(side, most) for side, most in zip(shape, SAMPLED_SHAPE, strict=True))
    shrink = min(1.0, np.sqrt(ENOUGH_GROUPS / max(per_voxel * z * y * x, 1e-9)))
    y, x = max(1, round(y * shrink)), max(1, round(x * shrink))
    return (z, y, x), max(1, round(per_voxel * z * y * x))
