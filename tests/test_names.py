"""Names that are no UTF-8, such as those of old archives and cameras, and names as long as they may be."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import farfield

from farfield.core.artifact import Images, load, save
from farfield.core.runtime import generator
from farfield.core.state import StateFile
from farfield.study.bench.carrier import key_seed
from farfield.study.unseen.ladder import toward_noise

pytestmark = pytest.mark.usefixtures("few_views")

LATIN = os.fsdecode(b"caf\xe9")
MODELS = Path(__file__).parents[1] / "src" / "farfield" / "models"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Latin-1 names, with a model in it, as the working folder."""
    try:
        shutil.copytree(MODELS / "digits-generalizing", tmp_path / LATIN / "model")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    monkeypatch.chdir(tmp_path / LATIN)
    return tmp_path / LATIN


def pictures(folder: Path, names: list[str], seed: int = 0) -> Path:
    folder.mkdir()
    draws = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(draws.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / name, format="PNG")
    return folder


def test_keys_and_places_that_are_no_text_are_kept(there: Path) -> None:
    images = Images((LATIN,), torch.ones(1, 1, 2, 2))
    save(images, there / "images")
    assert load(there / "images", Images).digest() == images.digest()
    state = StateFile(there / "state", "training")
    state.write({"data": LATIN}, {}, {"w": torch.ones(2)})
    assert torch.equal(state.read({"data": LATIN})[1]["w"], torch.ones(2))


def test_every_key_has_a_seed_and_that_of_text_is_what_it_was() -> None:
    assert key_seed(LATIN, 0) != key_seed("cafe", 0) == 3500010857450147749
    assert generator(0, LATIN).initial_seed() != generator(0, "noise a").initial_seed() == 1643936284502221361
    from farfield.core.artifact import Latents

    assert len(toward_noise(Latents((LATIN,), torch.ones(1, 1, 2, 2).double()), 0.5)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "expand model images --examples 6 -n 4 --steps 2 --sigma 1 --no-calibrate --descriptor pixels",
        "reconstruct model images --method edit-friendly --limit 2 --steps 4",
        "train --data images --heldout images2 --from model --images 16 --batch-size 8 --samples 2",
    ],
)
def test_a_command_takes_files_whose_names_are_no_text(there: Path, line: str) -> None:
    pictures(there / "images", [f"{LATIN}{i}.png" for i in range(20)])
    pictures(there / "images2", ["a.png", "b.png"], seed=1)
    said = farfield(*line.split(), "-o", f"{LATIN}-out", "-q", "--device", "cpu")
    assert said.code == 0 and (there / f"{LATIN}-out" / "report.html").exists(), said.err
    said = farfield("dataset", "convert", "images", f"{LATIN}.npz", "-q")
    assert said.code == 0 and farfield("describe", f"{LATIN}.npz", "--descriptor", "pixels", "-o", "features").code == 0


def test_long_names_and_names_that_become_one_have_files_of_their_own(there: Path) -> None:
    names = ["a:b.png", "a?b.png", *("x" * 250 + f"{i}.png" for i in range(4))]
    pictures(there / "images", names)
    line = "transfer model images brick -n 6 --examples 12 --strength 1 --steps 4 --descriptor pixels -o out -q --device cpu"
    said = farfield(*line.split())
    assert said.code == 0, said.err
    found = sorted(path.name for path in (there / "out" / "png").iterdir())
    assert len(found) == 6 and {n for n in names if n.startswith("x")} <= set(found)
