import os

import pytest
import torch

from farfield.core.artifact import Images
from farfield.data.file_name import file_names
from farfield.data.picture import save_pngs


def test_names_that_are_safe_stay_as_they_are():
    keys = ["000001", "sub/stem", "é", "a b"]
    assert file_names(keys, ".png") == keys


@pytest.mark.parametrize(
    "keys",
    [
        ["a:b", "a?b", "c"],
        ["a_b", "a:b", "a?b"],
        ["", "_"],
        ["a.png/b", "a"],
        ["x" * 250, "x" * 251, "x" * 252, "x" * 300],
        ["é" * 200, "é" * 201],
        ["d" * 300 + "/a", "d" * 301 + "/a"],
        ["../../x", "..", ".", "/etc/x", "a//b", "a/_/b"],
        ["caf\udce9", "k\n1\r<b>"],
        ["A", "a", "AB", "Ab", "x/A", "X/a"],
        ["con", "_con", "nul.png", "COM1/a", "a.", "a", "b ", "b"],
    ],
)
def test_different_keys_have_different_files_inside_the_folder(tmp_path, keys):
    images = Images(tuple(keys), torch.linspace(-1, 1, len(keys)).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2))
    paths = save_pngs(images, tmp_path / "png")
    assert len(set(paths)) == len(keys) and all(path.is_file() for path in paths)
    assert len({str(path).casefold() for path in paths}) == len(keys), (
        "capitals tell no files apart on macOS and Windows"
    )
    stems = [part.partition(".")[0].casefold() for path in paths for part in path.relative_to(tmp_path / "png").parts]
    assert not {"con", "nul", "com1"} & set(stems) and not [s for s in stems if s.endswith(" ")]
    assert all(path.resolve().is_relative_to(tmp_path / "png") for path in paths)
    assert all(len(os.fsencode(part)) <= 255 for path in paths for part in path.parts)


def test_a_name_depends_on_the_others_only_where_they_collide():
    assert file_names(["a:b"]) == ["a_b"]
    one, other = file_names(["a_b", "a:b"])
    assert one == "a_b" and other.startswith("a_b-") and len(other) == 12
    assert file_names(["a:b", "a_b"]) == [other, one]
