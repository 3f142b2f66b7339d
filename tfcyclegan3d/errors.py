"""What a user can get wrong, each with its remedy.

Every error here prints as one line, ``what (with the value received); what to do``, and ends a command with exit
status 2. Anything else that escapes a command is a fault of the package and ends it with a traceback and status 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend.

    Parameters
    ----------
    what : str
        What is wrong, naming the file or option and the value received.
    remedy : str
        What to do about it.
    """

    exit_status = 2

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(" ".join(f"{what}; {remedy}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again in another process, whatever its class takes."""
        return _made_again, (type(self), self.what, self.remedy)

    def of_file(self, path: str | Path) -> UserError:
        """Return this error naming the file that holds the mistake, too."""
        return _made_again(type(self), f"{path}: {self.what}", self.remedy)

    def with_advice(self, more: str) -> UserError:
        """Return this error with more to do about it."""
        return _made_again(type(self), self.what, f"{self.remedy}; {more}")


def _made_again(kind: type[UserError], what: str, remedy: str) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, what, remedy)
    return error


class FileMissingError(UserError):
    """A path, folder or glob that leads to no file."""

    def __init__(self, path: str | Path, kind: str = "file, folder or glob") -> None:
        super().__init__(f"{path}: no such {kind}", "check the path")


class UnreadableFileError(UserError):
    """A file or folder that is there but cannot be decoded (truncated, damaged, or another format)."""

    def __init__(self, path: str | Path, reason: object, remedy: str = "", kind: str = "a TIFF stack") -> None:
        super().__init__(
            f"{path}: cannot be read as {kind} ({reason})",
            remedy or "copy it again from its source, or open it in Fiji and save it as TIFF",
        )


class AxesError(UserError):
    """Axes that are unknown, ambiguous, or lack one of Z, Y, X."""

    def __init__(self, path: str | Path, found: str, shape: tuple[int, ...], reason: str, remedy: str = "") -> None:
        super().__init__(
            f"{path}: found axes {found} of shape {shape}, {reason}",
            remedy or "say what they are, for example --axes ZYX or --axes ZCYX",
        )


class VolumeContentError(UserError):
    """A stack whose values cannot be worked with: NaN, infinite, constant, complex, empty."""

    def __init__(self, name: str | Path, reason: str, remedy: str) -> None:
        super().__init__(f"{name}: {reason}", remedy)


class ChannelError(UserError):
    """A number of channels that does not fit the classes."""

    def __init__(self, name: str | Path, n_channels: int, wanted: str, remedy: str = "") -> None:
        super().__init__(
            f"{name}: has {n_channels} channel{'s' if n_channels != 1 else ''}, {wanted}",
            remedy or "choose channels with --channels (for example --channels 0,1) or name the classes with --classes",
        )


class ShapeMismatchError(UserError):
    """Two volumes that should lie on one grid and do not."""

    def __init__(self, one: str, one_shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]) -> None:
        super().__init__(
            f"{one} has shape {one_shape} but {other} has shape {other_shape}",
            "give files that belong together, in the same order",
        )


class OptionError(UserError):
    """An option, or a combination of options, that cannot be used."""

    def __init__(self, option: str, received: object, remedy: str) -> None:
        super().__init__(f"{option}: {'not given' if received is None else f'received {received!r}'}", remedy)


class OptionsClashError(UserError):
    """Options of which each can be used, and not all of them together."""

    def __init__(self, one: str, other: str, remedy: str) -> None:
        super().__init__(f"{one}: cannot be used with {other}", remedy)


class ConfigError(UserError):
    """A configuration key that does not exist, or a value that does not fit it."""

    def __init__(self, key: str, received: object, remedy: str) -> None:
        super().__init__(f"configuration {key}: received {received!r}", remedy)


class UnknownKeyError(UserError):
    """A configuration key that does not exist."""

    def __init__(self, key: str, known: Iterable[str]) -> None:
        known = list(known)
        section = key.rpartition(".")[0]
        beside = [name for name in known if section and name.startswith(f"{section}.")] or known
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        super().__init__(f"unknown configuration key {key!r}", f"{hint}known here: {', '.join(beside)}")


class PriorError(UserError):
    """A description of the objects to draw that cannot be drawn."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"prior: {what}", remedy)


class MicroscopeError(UserError):
    """A description of a microscope that cannot be read."""

    def __init__(self, path: str | Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}", remedy)


class PairingError(UserError):
    """Stacks and truths that cannot be told to belong together."""


class ClusterError(UserError):
    """Workers that cannot train or predict together: no cluster, unlike ones, or one that is gone."""


class OutputExistsError(UserError):
    """An output that would replace something."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"{path}: exists already", "choose another output, or add --overwrite to replace it")


class OutputError(UserError):
    """An output that cannot be written: no permission, no space, a file where a folder is needed."""

    def __init__(self, path: str | Path, reason: object) -> None:
        super().__init__(f"{path}: cannot be written ({reason})", "choose a writable place with enough space")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what the system has against writing a file into an error that names it.

    Raises
    ------
    OutputError
    """
    try:
        yield
    except OSError as error:
        raise OutputError(path, error.strerror or error) from error


class ModelError(UserError):
    """A path that is no trained model, or a model that does not fit the stack."""

    def __init__(
        self, path: str | Path, reason: str, remedy: str = "give a run folder written by 'tfcyclegan3d train'"
    ) -> None:
        super().__init__(f"{path}: {reason}", remedy)
