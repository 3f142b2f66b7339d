"""Fixtures that several modules of tests use."""

from tests.toy import toy  # noqa: F401
