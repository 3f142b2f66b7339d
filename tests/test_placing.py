"""What is replaced is there until the new one is in its place, however the replacing ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfcyclegan3d import errors
from tfcyclegan3d.exporting.folder import whole_folder
from tfcyclegan3d.placing import in_place


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_text("old")
    return folder


def in_place_of(folder):
    with in_place(folder) as made:
        made.mkdir()
        (made / "zarr.json").write_text("new")


def exported_to(folder):
    with whole_folder(folder, overwrite=True, contents={"zarr.json"}) as made:
        (made / "zarr.json").write_text("new")


@pytest.mark.parametrize("write", [in_place_of, exported_to])
def test_a_folder_is_replaced_whole(old, write):
    write(old)
    assert [path.name for path in old.parent.iterdir()] == ["a.zarr"]
    assert (old / "zarr.json").read_text() == "new"


@pytest.mark.parametrize("write", [in_place_of, exported_to])
@pytest.mark.parametrize(
    ("raised", "ends_as"), [(OSError(5, "Input/output error"), errors.OutputError), (KeyboardInterrupt(), None)]
)
def test_a_folder_is_back_where_its_replacing_fails_or_is_stopped(old, monkeypatch, write, raised, ends_as):
    real = {name: getattr(Path, name) for name in ("rename", "replace")}

    def moving(name):
        def move(path, target):
            if Path(target) == old and (path / "zarr.json").read_text() == "new":
                raise raised
            return real[name](path, target)

        return move

    for name in real:
        monkeypatch.setattr(Path, name, moving(name))
    with pytest.raises(ends_as or type(raised)):
        write(old)
    assert [path.name for path in old.parent.iterdir()] == ["a.zarr"]
    assert (old / "zarr.json").read_text() == "old"


def test_what_fails_while_it_is_written_leaves_a_folder_of_any_name_alone(tmp_path):
    with pytest.raises(errors.OutputError), in_place(tmp_path / "replaced") as made:
        made.mkdir()
        raise OSError(28, "No space left on device")
    assert not [*tmp_path.iterdir()]
