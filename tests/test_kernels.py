"""The package asks TensorFlow for its quick kernels, and says so where it could not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from tfcyclegan3d import kernels


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_importing_the_package_turns_the_quick_kernels_on_unless_the_user_has_spoken(given, expected):
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    code = "import tfcyclegan3d, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def warnings_of(caplog):
    with caplog.at_level(logging.WARNING, logger="tfcyclegan3d"):
        kernels.warn_if_late()
        kernels.warn_if_late()
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def chosen(monkeypatch):
    """Choose anew: with TensorFlow imported before or not, the variable set or not, a processor of a kind."""
    monkeypatch.setattr(kernels, "_came_late", False)

    def choose(*, imported, variable, given):
        monkeypatch.delenv(kernels.VARIABLE, raising=False)
        if variable is not None:
            monkeypatch.setenv(kernels.VARIABLE, variable)
        monkeypatch.setitem(sys.modules, "tensorflow", object())
        if not imported:
            monkeypatch.delitem(sys.modules, "tensorflow")
        monkeypatch.setattr(kernels, "_given", lambda: given)
        kernels.choose()

    return choose


def test_who_imports_tensorflow_first_is_told_once(chosen, caplog):
    chosen(imported=True, variable=None, given=False)
    (said,) = warnings_of(caplog)
    assert "import tfcyclegan3d first" in said and kernels.VARIABLE in said


@pytest.mark.parametrize(
    "situation",
    [
        {"imported": False, "variable": None, "given": False},
        {"imported": True, "variable": "0", "given": False},
        {"imported": True, "variable": "1", "given": False},
        {"imported": True, "variable": None, "given": True},
    ],
)
def test_nobody_else_is(chosen, caplog, situation):
    chosen(**situation)
    assert warnings_of(caplog) == []
    assert os.environ[kernels.VARIABLE] == situation["variable"] or situation["variable"] is None
