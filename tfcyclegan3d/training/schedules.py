"""Values that change while a training goes on, as functions of its progress."""

from __future__ import annotations


def constant_then_linear(progress: float, *, decay_from: float, final: float) -> float:
    """Return 1 up to ``decay_from``, then a straight line to ``final`` at progress 1.

    Parameters
    ----------
    progress : float
        Share of the training done, in [0, 1].
    decay_from : float
        Where the line begins; 0.5 in the CycleGAN paper (appendix 7.1), which ends at 0.
    final : float
        Where it ends.

    Returns
    -------
    float
        A factor in [final, 1].
    """
    if progress <= decay_from or decay_from >= 1:
        return 1.0
    return 1.0 + (final - 1.0) * min(1.0, (progress - decay_from) / (1.0 - decay_from))


def linear(progress: float, start: float, end: float) -> float:
    """Return the value ``progress`` of the way from ``start`` to ``end``."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)
