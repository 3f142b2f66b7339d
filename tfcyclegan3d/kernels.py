"""Which kernels TensorFlow computes with on a processor: oneDNN's, wherever that can still be said."""

from __future__ import annotations

import logging
import os
import platform
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

# TensorFlow looks at it once, while it is imported.
VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
# Processors that have one of these are given oneDNN's kernels by TensorFlow itself.
GIVEN_TO = ("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile")

_came_late = False


def choose() -> None:
    """Ask for oneDNN's kernels, unless the user has spoken or TensorFlow is there already.

    TensorFlow leaves them off on processors without certain instructions, where a training step then takes several
    times as long.
    """
    global _came_late
    _came_late = VARIABLE not in os.environ and "tensorflow" in sys.modules
    os.environ.setdefault(VARIABLE, "1")


def warn_if_late() -> None:
    """Say, once, that TensorFlow was imported before this package could choose, where that costs time."""
    global _came_late
    if _came_late and not _given():
        logger.warning(
            "TensorFlow was imported before tfcyclegan3d and computes without oneDNN's kernels, several times slower: "
            "import tfcyclegan3d first, or set %s=1",
            VARIABLE,
        )
    _came_late = False


def _given() -> bool:
    """Say whether TensorFlow turns the kernels on by itself, for instructions Linux lists; taken to be so elsewhere."""
    if platform.machine() != "x86_64":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return True
    return any(one in flags for one in GIVEN_TO)
