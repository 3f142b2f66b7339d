"""The classes of objects: which a stack shows, and which a prior may describe."""

from __future__ import annotations

from collections.abc import Sequence

from tfcyclegan3d import errors
from tfcyclegan3d.stored_stacks import CLASS_NAME
from tfcyclegan3d.synthesis.object_prior import ObjectPrior
from tfcyclegan3d.volumes import Grid, Volume

DEFAULT_CLASSES = {1: ("nuclei",), 2: ("golgi", "nuclei")}


def classes_of(volume: Volume | Grid) -> tuple[str, ...]:
    """Return what a stack's channels show where nobody says it: nuclei, or Golgi and nuclei as in the paper.

    Raises
    ------
    ChannelError
        For another number of channels.
    """
    if volume.n_channels not in DEFAULT_CLASSES:
        raise errors.ChannelError(volume.name, volume.n_channels, "and no classes are named")
    return DEFAULT_CLASSES[volume.n_channels]


def taken_for(class_names: Sequence[str]) -> list[str]:
    """Say, in a line, which channel shows which class where nobody said it; nothing of a single channel."""
    said = ", ".join(f"channel {k} {'is taken ' if k == 0 else ''}for {name}" for k, name in enumerate(class_names))
    return [f"{said}; --classes changes it"] if len(class_names) > 1 else []


def check_channels(volumes: Sequence[Volume | Grid], class_names: Sequence[str]) -> None:
    """Check that every stack has one channel a class.

    Raises
    ------
    ChannelError
    """
    for volume in volumes:
        if volume.n_channels != len(class_names):
            raise errors.ChannelError(
                volume.name, volume.n_channels, f"but the classes are {len(class_names)}: {', '.join(class_names)}"
            )


def check_classes(objects: Sequence[ObjectPrior]) -> None:
    """Check that classes have names of their own and anchors that lead to a class without one.

    Raises
    ------
    PriorError
    """
    if not objects:
        raise errors.PriorError("there is no class to draw", "give at least one entry in objects")
    names = [one.name for one in objects]
    strange = next((name for name in names if not CLASS_NAME.fullmatch(name)), None)
    if strange is not None:
        raise errors.PriorError(f"a class is named {strange!r}", "use letters, digits, spaces and any of _ . + -")
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise errors.PriorError(f"class {double!r} is described twice", "give every class one name of its own")
    anchors = {one.name: one.anchor for one in objects}
    for one in objects:
        followed, anchor = [one.name], one.anchor
        while anchor is not None:
            if anchor not in anchors:
                raise errors.PriorError(f"{followed[-1]}: unknown anchor {anchor!r}", f"known: {', '.join(names)}")
            if anchor in followed:
                raise errors.PriorError(
                    f"anchors go in a circle: {' -> '.join([*followed, anchor])}",
                    "leave one class of the circle without an anchor",
                )
            followed.append(anchor)
            anchor = anchors[anchor]
