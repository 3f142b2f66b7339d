"""Fixtures that several modules of tests use, the group that each test belongs to, and what holds for all."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

import tfcyclegan3d  # noqa: F401  (before TensorFlow, whose kernels it chooses)
from tests.toy import toy  # noqa: F401

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Begun in the background, the tests inherit that Ctrl-C is ignored, which some of them press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What pyproject.toml says of the groups. A test that hypothesis draws examples for is "property" wherever it stands.
GROUPS = {
    "unit": """
        blocks centres composites config data_layout figures flips folds info instances kernels losses masks
        measurements measuring microscope noise notebook_figures objects outlines overlap pairing patches pictures
        pipeline placing precision_and_colours precision_of_training preprocessing priors progress sources stitching
        tables tile_invariance tiling training watching
    """,
    "conformance": """
        baselines documented_commands documented_names errors_page export frozen fused_adam groups models notebooks
        other_readers presets quick volumes zarrs
    """,
    "e2e": """
        command_line consequences crossval disk distribution evaluate_command killed_runs measure_command
        methods_command missing_chunks runs spreading supervised synthesize_command two_stage whole_stacks
    """,
}
GROUP_OF_FILE = {f"test_{name}.py": group for group, names in GROUPS.items() for name in names.split()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its group."""
    for item in items:
        by_hypothesis = getattr(getattr(item, "function", None), "is_hypothesis_test", False)
        group = "property" if by_hypothesis else GROUP_OF_FILE.get(Path(item.path).name)
        if group is not None:
            item.add_marker(group)
