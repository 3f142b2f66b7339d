"""Fixtures that several modules of tests use, and what holds for all of them."""

import signal

from hypothesis import settings

import tfcyclegan3d  # noqa: F401  (before TensorFlow, whose kernels it chooses)
from tests.toy import toy  # noqa: F401

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Begun in the background, the tests inherit that Ctrl-C is ignored, which some of them press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
