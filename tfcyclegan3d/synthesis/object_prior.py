"""What one class of objects looks like: its family of shapes, sizes, density and relation to another class."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis import prior_values as values
from tfcyclegan3d.synthesis.prior_values import Interval

N_SEMI_AXES = {"sphere": 1, "ellipsoid": 3, "ribbon": 3}
DENSITIES = ("count", "per_mm3", "fill_fraction")


@dataclasses.dataclass(frozen=True)
class ObjectPrior:
    """What one class of objects looks like.

    Parameters
    ----------
    name : str
        The class.
    shape : {"sphere", "ellipsoid", "ribbon"}
        The family of shapes; a ribbon is a bent row of flat fragments, as a Golgi apparatus is.
    semi_axes : tuple of (low, high)
        Intervals of the semi-axes, in the prior's unit, each drawn uniformly: one for a sphere (its radius), three for
        an ellipsoid, the principal first; for a ribbon half its length along the bend, half its width, half its
        thickness. Before rotation they lie along X, Y, Z.
    count : (low, high), optional
        Objects per volume, drawn uniformly from these integers, both included. A class without an anchor has exactly
        one of ``count``, ``per_mm3`` and ``fill_fraction``; it stands for the groups this class begins.
    per_mm3 : (low, high), optional
        Objects per cubic millimetre, uniform; needs a prior in micrometres.
    fill_fraction : (low, high), optional
        Share of the voxels that this class and those anchored to it cover together, in (0, 1), uniform.
    anchor : str, optional
        The class this one is paired with: one object of each is drawn together. None starts a group of its own.
    offset : (low, high) or three of them
        Shift of the centre from the anchor's centre, before the group is rotated, uniform: along every axis, or along
        Z, Y, X each with an interval of its own.
    alignment_degrees : (low, high)
        Angle between this object's principal axis and that of its anchor, in [0, 90], uniform; 0 turns them together.
    unpaired : float
        Share of this class's objects drawn without the others of their group, in [0, 1).
    fragments : (low, high), optional
        Of a ribbon alone: how many pieces it is made of; 3 to 8 where left out.
    bend_degrees : (low, high), optional
        Of a ribbon alone: the angle its two ends make, in [0, 330]; 0 to 150 where left out.

    Raises
    ------
    PriorError
        Where a value cannot be drawn.
    """

    name: str
    shape: str
    semi_axes: tuple[Interval, ...]
    count: tuple[int, int] | None = None
    per_mm3: Interval | None = None
    fill_fraction: Interval | None = None
    anchor: str | None = None
    offset: Interval | tuple[Interval, Interval, Interval] = (0.0, 0.0)
    alignment_degrees: Interval = (0.0, 0.0)
    unpaired: float = 0.0
    fragments: tuple[int, int] | None = None
    bend_degrees: Interval | None = None

    def __post_init__(self) -> None:
        """Check every field and turn lists into tuples."""
        if not isinstance(self.name, str) or not self.name:
            raise errors.PriorError(f"a class is named {self.name!r}", "name it with a word, for example 'nuclei'")
        values.choice(self.shape, f"{self.name}: shape", tuple(N_SEMI_AXES))
        if self.anchor is not None and not isinstance(self.anchor, str):
            raise errors.PriorError(f"{self.name}: anchor received {self.anchor!r}", "name a class, or leave it out")
        checked = {
            "semi_axes": values.intervals(self.semi_axes, f"{self.name}: semi_axes", N_SEMI_AXES[self.shape], 0.0),
            "offset": values.offsets(self.offset, f"{self.name}: offset"),
            "alignment_degrees": values.interval(
                self.alignment_degrees, f"{self.name}: alignment_degrees", within=(0.0, 90.0)
            ),
            "unpaired": values.number(self.unpaired, f"{self.name}: unpaired", below=1.0),
            **self._checked_density(),
            **self._checked_ribbon(),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def _checked_density(self) -> dict[str, object]:
        given = [name for name in DENSITIES if getattr(self, name) is not None]
        if self.anchor is not None:
            if given:
                raise errors.PriorError(
                    f"{self.name}: {given[0]} received {getattr(self, given[0])!r} beside the anchor {self.anchor!r}",
                    "leave it out: there are as many as of the anchor",
                )
            return {}
        moved = [name for name in ("offset", "alignment_degrees") if _is_nonzero(getattr(self, name))]
        if moved:
            raise errors.PriorError(
                f"{self.name}: {moved[0]} received {getattr(self, moved[0])!r} without an anchor",
                f"name the anchor it is counted from, or leave the {moved[0]} out",
            )
        if len(given) != 1:
            raise errors.PriorError(
                f"{self.name}: {' and '.join(given) or 'no density'} given",
                f"give exactly one of {', '.join(DENSITIES)}",
            )
        where, received = f"{self.name}: {given[0]}", getattr(self, given[0])
        if given[0] == "count":
            return {"count": values.whole_interval(received, where)}
        return {
            given[0]: values.interval(received, where, above=0.0, below=1.0 if given[0] == "fill_fraction" else None)
        }

    def _checked_ribbon(self) -> dict[str, object]:
        if self.shape != "ribbon":
            for name in ("fragments", "bend_degrees"):
                if getattr(self, name) is not None:
                    raise errors.PriorError(
                        f"{self.name}: {name} received {getattr(self, name)!r}", f"leave it out of a {self.shape}"
                    )
            return {}
        fragments = (3, 8) if self.fragments is None else self.fragments
        bend = (0.0, 150.0) if self.bend_degrees is None else self.bend_degrees
        return {
            "fragments": values.whole_interval(fragments, f"{self.name}: fragments"),
            "bend_degrees": values.interval(bend, f"{self.name}: bend_degrees", within=(0.0, 330.0)),
        }

    @property
    def least_diameter(self) -> float:
        """Twice the least semi-axis that can be drawn, in the prior's unit."""
        return 2 * min(low for low, _ in self.semi_axes)

    @property
    def greatest_diameter(self) -> float:
        """Twice the greatest semi-axis that can be drawn, in the prior's unit."""
        return 2 * max(high for _, high in self.semi_axes)

    @property
    def typical_volume(self) -> float:
        """Volume of an ellipsoid of the mean semi-axes, in the cubed unit of the prior."""
        means = [(low + high) / 2 for low, high in self.semi_axes]
        return 4 / 3 * math.pi * math.prod(means * 3 if len(means) == 1 else means)

    @property
    def typical_diameter(self) -> float:
        """Twice the mean of the thinnest semi-axis, in the prior's unit."""
        return min(low + high for low, high in self.semi_axes)


def _is_nonzero(value: object) -> bool:
    return any(_is_nonzero(one) for one in value) if isinstance(value, Sequence) else value != 0
