"""Advice works: what an error says to do is done here, once for each piece of advice that names an option, a command or a
deletion; then the command must succeed."""

import importlib.metadata
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import farfield, make_images, make_model, undrawn

from farfield.core.error import FarfieldError, missing
from farfield.data.source import open_collection

pytestmark = pytest.mark.usefixtures("few_views")

CPU = ("--device", "cpu", "-q")
FAST = ("--steps", 2, *CPU)
MADE = ("generate", "model", "--seeds", "0", *FAST)
ONE = ("invert", "model", "images", "--limit", 1, "--sigma", 1, *FAST)
SMALL = ("expand", "model", "images", "--examples", 3, "-n", 2, "--sigma", 1, "--candidates", 1, *FAST)
TRAIN = ("train", "--width", 4, "--multipliers", "1,2", "--blocks", 1, "--attention", "none", "--length", 8, "--batch-size", 4,
         "--samples", 0, *CPU)  # fmt: skip
EDIT = ("edit", "model", "images", "--limit", 1, "--direction", "1", "--strength", "1", *FAST)
PIXELS = ("--descriptor", "pixels", "--device", "cpu", "-q")
ANALYSE = (
    "analyse",
    "model",
    "others",
    "--levels",
    "2",
    "--eta",
    "1",
    "--noise",
    "1",
    "--decoded",
    2,
    "--down-steps",
    4,
    *FAST,
)
COMPARE = ("compare", "model", "images", "--counts", 3, "--methods", "ours", "-n", 4, *FAST)
DESCRIPTOR = ("--images", 8, "--batch-size", 8, "--width", 4, "--features", 4, "--device", "cpu", "-q")
RANK = ("rank", "model", "--sigmas", "1", *CPU)

FOLLOWED = {
    "a device that is not there": (
        ("generate", "model", "--seeds", "0", "--steps", 2, "--device", "mps", "-q"),
        "use --device cpu",
        MADE,
    ),
    "a form that cannot be": (
        ("generate", "two", "--seeds", "0", *FAST),
        "use --format shards or npz",
        ("generate", "two", "--seeds", "0", "--format", "npz", *FAST),
    ),
    "seeds backwards": (
        ("generate", "model", "--seeds", "4-1", *FAST),
        "write 1-4",
        ("generate", "model", "--seeds", "1-4", *FAST),
    ),
    "seeds twice": (
        ("generate", "model", "--seeds", "1,1", *FAST),
        "give each once",
        ("generate", "model", "--seeds", "1", *FAST),
    ),
    "noise for a multistep solver": (
        (*MADE, "--eta", 1, "--solver", "multistep"),
        "use euler, heun or midpoint",
        (*MADE, "--eta", 1, "--solver", "euler"),
    ),
    "two kinds of noise": ((*MADE, "--eta", 1, "--churn", 1), "leave one of the two out", (*MADE, "--churn", 1)),
    "a label without classes": ((*MADE, "--label", 1), "leave it out", MADE),
    "a prompt for a model that reads none": (
        ("generate", "model@dust", "--seeds", "0", *FAST),
        "leave @dust out",
        MADE,
    ),
    "more steps than levels": (
        ("generate", "model", "--seeds", "0", "--steps", 1000, *CPU),
        "use at most 999 steps",
        MADE,
    ),
    "no images": ((*ONE, "--limit", 0), "at least 1", ("invert", "model", "images", "--sigma", 1, *FAST)),
    "auto and a method's steps": (
        (*ONE, "--method", "auto"),
        "leave one of the two out",
        ("invert", "model", "images", "--limit", 1, "--sigma", 1, *CPU, "--method", "auto", "--latent", "0.5"),
    ),
    "a solver that a method does not have": (
        (*ONE, "--method", "belm", "--solver", "heun"),
        "leave one of the two out",
        (*ONE, "--method", "belm"),
    ),
    "a solver without an inverse step": (
        (*ONE, "--method", "fixed-point", "--solver", "multistep"),
        "use euler, heun or midpoint",
        (*ONE, "--method", "fixed-point", "--solver", "euler"),
    ),
    "patches of pictures": ((*ONE, "--patch", 8), "leave them out", ONE),
    "patches of counts": (
        ("invert", "model", "counts.npz", "--patch", 8, "--sigma", 1, *FAST),
        "add --stretch",
        ("invert", "model", "counts.npz", "--patch", 8, "--stretch", "linear", "--sigma", 1, *FAST),
    ),
    "numbers that can be pictures in two ranges": (
        ("invert", "model", "small.npz", "--sigma", 1, *FAST),
        "add an array `range` of two numbers to the npz",
        ("invert", "model", "ranged.npz", "--sigma", 1, *FAST),
    ),
    "numbers that can be pictures or fields": (
        ("invert", "model", "small.npz", "--sigma", 1, *FAST),
        "or give --stretch for physical fields",
        ("invert", "model", "small.npz", "--stretch", "linear", "--sigma", 1, *FAST),
    ),
    "a stretch of a bundled domain of pictures": (
        ("invert", "model", "digits", "--limit", 1, "--stretch", "linear", "--sigma", 1, *FAST),
        "leave out --stretch and --patch",
        ("invert", "model", "digits", "--limit", 1, "--sigma", 1, *FAST),
    ),
    "a patch of clouds": (
        ("invert", "model", "clouds", "--limit", 1, "--patch", 8, "--sigma", 1, *FAST),
        "leave them out",
        ("invert", "model", "clouds", "--limit", 1, "--sigma", 1, *FAST),
    ),
    "the logarithm of negatives": (
        ("invert", "model", "signed.npy", "--stretch", "log", "--sigma", 1, *FAST),
        "use --stretch asinh",
        ("invert", "model", "signed.npy", "--stretch", "asinh", "--sigma", 1, *FAST),
    ),
    "several arrays": (
        ("invert", "model", "both.npz", "--stretch", "linear", "--sigma", 1, *FAST),
        "name one with --hdu",
        ("invert", "model", "both.npz", "--stretch", "linear", "--hdu", "a", "--sigma", 1, *FAST),
    ),
    "several arrays, by the path": (
        ("invert", "model", "both.npz", "--stretch", "linear", "--sigma", 1, *FAST),
        "or both.npz[NAME]",
        ("invert", "model", "both.npz[b]", "--stretch", "linear", "--sigma", 1, *FAST),
    ),
    "too few examples for a sampler": (
        (*SMALL, "--sampler", "geometric"),
        "use another sampler",
        (*SMALL, "--sampler", "gaussian"),
    ),
    "a mask of everything": (
        (*EDIT, "--mask", "0,0,8,8", "--keep", 2),
        "give --keep 0",
        (*EDIT, "--mask", "0,0,8,8", "--keep", 0),
    ),
    "no mask": (EDIT, "expected a box", (*EDIT, "--mask", "1,1,4,4", "--keep", 2)),
    "more points than images": (
        (*RANK, "--images", "images", "--points", 9),
        "give --points 4",
        (*RANK, "--images", "images", "--points", 4),
    ),
    "a level twice": (
        ("rank", "model", "--images", "images", "--points", 1, "--sigmas", "1,1", *CPU),
        "give each once",
        (*RANK, "--images", "images", "--points", 1),
    ),
    "a trajectory of images": (
        (*RANK, "--images", "images", "--along", "trajectory", "--points", 1),
        "leave one of the two out",
        (*RANK, "--along", "trajectory", "--points", 1),
    ),
    "images of two sizes": (
        (*TRAIN, "--data", "mixed"),
        "bring them to one with `farfield dataset convert --resize`",
        ("dataset", "convert", "mixed", "OUT.zip", "--resize", 8, "-q"),
        (*TRAIN, "--data", "OUT.zip"),
    ),
    "a conversion of two sizes": (
        ("dataset", "convert", "mixed", "OUT", "-q"),
        "dataset convert --resize",
        ("dataset", "convert", "mixed", "OUT", "--resize", 8, "-q"),
    ),
    "an ending that is no format": (
        ("dataset", "convert", "images", "OUT.tar", "-q"),
        "or say --format",
        ("dataset", "convert", "images", "OUT.tar", "--format", "zip", "-q"),
    ),
    "a split of what has none": (
        (*TRAIN, "--data", "images[train]"),
        "leave it out",
        (*TRAIN, "--data", "images"),
    ),
    "labels of a model's own": (
        (*TRAIN, "--data", "images", "--from", "model", "--labels"),
        "leave them out",
        ("train", "--data", "images", "--from", "model", "--length", 4, "--batch-size", 4, "--samples", 0, *CPU),
    ),
    "other seeds": (
        ("score", "rp", "images", "more", "--rate", 0.2, *PIXELS),
        "--common",
        ("score", "rp", "images", "more", "--common", "--rate", 0.2, *PIXELS),
    ),
    "too few to calibrate": (
        ("score", "rp", "images", "images", *PIXELS),
        "or a cosine with --threshold",
        ("score", "rp", "images", "images", "--threshold", 0.9, *PIXELS),
    ),
    "too few held-out images": (
        (*COMPARE, "--heldout", "single"),
        "give --heldout more",
        (*COMPARE, "--heldout", "others"),
    ),
    "too few images of the training domain": (
        (*ANALYSE, "--in-domain", "single"),
        "leave --in-domain out",
        ANALYSE,
    ),
    "a batch larger than the data": (
        ("train-descriptor", "images", *DESCRIPTOR),
        "give more, or smaller batches",
        ("train-descriptor", "others", *DESCRIPTOR),
    ),
}


BEGUN = ("too few to calibrate",)
"""Where the run folder is begun before the mistake shows: the command that is right needs another one."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("advice")
    make_model(root / "model", (3, 8, 8))
    make_model(root / "two", (2, 8, 8))
    make_images(root / "images", 4, 8, 8)
    make_images(root / "more", 6, 8, 8)
    make_images(root / "others", 14, 8, 8, first=100)
    make_images(root / "single", 1, 8, 8)
    make_images(root / "mixed", 3, 8, 8)
    make_images(root / "mixed", 3, 10, 10, first=50)
    numbers = np.random.default_rng(0).normal(size=(2, 8, 8))
    small = numbers / 9
    np.savez(root / "small.npz", images=small)
    np.savez(root / "ranged.npz", images=small, range=np.array([-1.0, 1.0]))
    np.savez(root / "counts.npz", images=(20 * numbers + 100).clip(0, 255).astype(np.uint8))
    np.save(root / "signed.npy", numbers)
    np.savez(root / "both.npz", a=numbers, b=numbers)
    return root


def told(*arguments: object) -> str:
    """The one line of a command that is refused."""
    done = farfield(*arguments)
    assert done.code == 2 and done.err.count("\n") >= 1, (arguments, done)
    return done.err.splitlines()[-1]


@pytest.mark.parametrize("name", FOLLOWED)
def test_advice_is_followed(root, tmp_path, monkeypatch, name):
    monkeypatch.chdir(root)
    wrong, advice, *right = FOLLOWED[name]

    def placed(command: tuple[object, ...]) -> list[object]:
        words = [tmp_path / w if isinstance(w, str) and w.startswith("OUT") else w for w in command]
        return words if words[0] == "dataset" else [*words, "-o", tmp_path / "run"]

    assert advice in told(*placed(wrong))
    if name in BEGUN:
        (tmp_path / "run").rename(tmp_path / "begun")
    for command in right:
        with undrawn():
            done = farfield(*placed(command))
        assert done.code == 0, done.err


class TestOfFolders:
    @pytest.fixture
    def run(self, root, tmp_path, monkeypatch) -> Path:
        monkeypatch.chdir(root)
        assert farfield(*ONE, "-o", tmp_path / "run").code == 0
        return tmp_path / "run"

    def test_another_folder(self, run):
        assert "another folder with -o" in told(*ONE, "--steps", 3, "-o", run)
        assert farfield(*ONE, "--steps", 3, "-o", run.parent / "other").code == 0
        (run.parent / "mine").mkdir()
        (run.parent / "mine" / "notes.txt").write_text("mine")
        assert "choose another folder with -o" in told(*ONE, "-o", run.parent / "mine")

    def test_the_same_command_finishes_what_is_not_finished(self, run):
        (run / "summary.json").unlink()
        assert "give its command again to complete it" in told("report", run)
        assert farfield(*ONE, "-o", run).code == 0 and farfield("report", run).code == 0

    def test_a_command_that_makes_a_run(self, root, tmp_path, monkeypatch):
        monkeypatch.chdir(root)
        line = told("report", tmp_path / "none").partition("`")[2].partition("`")[0]
        words = [{"MODEL": "model", "IMAGES": "images"}.get(word, word) for word in shlex.split(line)[1:]]
        assert farfield(*words, *SMALL[3:]).code == 0 and farfield("report", tmp_path / "none").code == 0

    def test_a_place_that_is_taken(self, root, tmp_path, monkeypatch):
        monkeypatch.chdir(root)
        first, second = (("dataset", "convert", source, tmp_path / "set.zip", "-q") for source in ("images", "others"))
        assert farfield(*first).code == 0
        assert "choose another name or delete it" in told(*second)
        (tmp_path / "set.zip").unlink()
        assert farfield(*second).code == 0

    def test_directions_of_another_level(self, root, tmp_path, monkeypatch):
        monkeypatch.chdir(root)
        masked = (*EDIT, "--mask", "1,1,4,4", "--keep", 2)
        assert farfield(*masked, "--sigma", 2, "-o", tmp_path / "a").code == 0
        again = (*EDIT, "--load", tmp_path / "a")
        assert "leave --sigma out" in told(*again, "--sigma", 5, "-o", tmp_path / "b")
        assert farfield(*again, "-o", tmp_path / "b").code == 0


class TestOfFiles:
    def test_classes_that_cannot_be_read(self, root, tmp_path, monkeypatch):
        make_images(tmp_path / "set", 3, 8, 8)
        (tmp_path / "set" / "dataset.json").write_text("[]")
        line = ("dataset", "convert", tmp_path / "set", tmp_path / "out", "-q")
        assert "mend it or remove it" in told(*line)
        (tmp_path / "set" / "dataset.json").unlink()
        assert farfield(*line).code == 0

    def test_classes_that_are_not_all_there(self, tmp_path):
        make_images(tmp_path / "set", 3, 8, 8)
        (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": [["img-000.png", 0]]}))
        line = ("dataset", "convert", tmp_path / "set", tmp_path / "out", "-q")
        assert "or leave labels out" in told(*line)
        assert farfield(*line, "--no-labels").code == 0

    def test_a_picture_with_channels_no_png_has(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=np.zeros((2, 2, 8, 8), np.uint8))
        assert "write an npz" in told("dataset", "convert", tmp_path / "a.npz", tmp_path / "out", "-q")
        assert farfield("dataset", "convert", tmp_path / "a.npz", tmp_path / "out.npz", "-q").code == 0

    def test_a_picture_of_other_colours(self, root, tmp_path):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
        line = ("invert", root / "two", tmp_path / "a.png", "--sigma", 1, *FAST, "-o", tmp_path / "run")
        assert "give an npz with an array [n, 2, H, W]" in told(*line)
        np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 255, (1, 2, 8, 8), np.uint8))
        assert farfield(*line[:2], tmp_path / "a.npz", *line[3:]).code == 0


class TestOfPackages:
    @pytest.mark.parametrize(
        ("package", "name"),
        [("astropy", "a.fits"), ("h5py", "a.h5"), ("lmdb", "."), ("datasets", "hf:cifar10")],
    )
    def test_a_missing_package_is_installed_by_the_name_that_is_said(self, tmp_path, monkeypatch, package, name):
        from farfield.data.science import load_fields

        for module in {package, *(m for m in sys.modules if m.startswith(f"{package}."))}:
            monkeypatch.setitem(sys.modules, module, None)
        for file in ("a.fits", "a.h5", "data.mdb"):
            (tmp_path / file).write_bytes(b"")
        with pytest.raises(FarfieldError) as refused:
            if name in ("a.fits", "a.h5"):
                load_fields(tmp_path / name, (1, 8, 8))
            else:
                with open_collection(name if name.startswith("hf:") else str(tmp_path)):
                    pass
        command = str(refused.value).partition("which is not installed: ")[2]
        assert command == f"pip install {package}" and importlib.metadata.version(command.split()[-1])

    def test_no_message_names_an_extra_of_a_package_that_no_index_has(self):
        sources = Path(__file__).parent.parent.joinpath("src", "farfield").rglob("*.py")
        assert not [path for path in sources if "farfield[" in path.read_text()]
        assert (
            str(missing("x", "astropy.io"))
            == "x needs the package astropy, which is not installed: pip install astropy"
        )
