"""Every test belongs to one group, so that ``pytest -m unit`` and its like leave none out unseen."""

from pathlib import Path

from tests.conftest import GROUP_OF_FILE, GROUPS

HERE = Path(__file__).parent


def test_every_file_of_tests_is_in_one_group():
    listed = [name for names in GROUPS.values() for name in names.split()]
    assert len(listed) == len(set(listed)), "a file stands in two groups of tests/conftest.py"
    without = {path.name for path in HERE.glob("test_*.py")} - GROUP_OF_FILE.keys()
    assert not without, "add them to GROUPS in tests/conftest.py"


def test_every_test_that_was_collected_has_exactly_one_group(request):
    groups = {*GROUPS, "property"}
    for item in request.session.items:
        found = [mark.name for mark in item.iter_markers() if mark.name in groups]
        assert len(found) == 1, f"{item.nodeid}: {found}"


def test_a_test_by_hypothesis_is_of_properties_whatever_its_file(request):
    drawn = [item for item in request.session.items if getattr(item.function, "is_hypothesis_test", False)]
    assert all(item.get_closest_marker("property") for item in drawn)
