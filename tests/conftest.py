"""Fixtures that several modules of tests use."""

import tfcyclegan3d  # noqa: F401  (before TensorFlow, whose kernels it chooses)
from tests.toy import toy  # noqa: F401
