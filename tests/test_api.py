"""From Python: what a command does, the function of its name does, with arrays and in memory."""

import gc
import glob
import inspect
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import farfield
from farfield.api.call import OptionError, function
from farfield.command.commands import COMMANDS
from farfield.command.settings import leaves
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.core.provenance import SYNTHETIC
from farfield.data.given import checked, holding
from farfield.data.samples import open_samples
from farfield.data.source import open_collection

pytestmark = pytest.mark.usefixtures("few_views")

GUIDE = Path(__file__).parents[1] / "docs" / "python.md"
README = GUIDE.parents[1] / "README.md"
TASKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
MODEL = "digits-generalizing"


def temporary() -> set[str]:
    gc.collect()
    return set(glob.glob(tempfile.gettempdir() + "/farfield-*"))


def test_the_front_door_is_light_and_knows_its_names():
    heavy = "'torch', 'numpy', 'typer', 'rich', 'diffusers', 'farfield.command.commands', 'inspect'"
    code = f"import sys, farfield; assert not {{{heavy}}} & sys.modules.keys(); print(len(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], check=True
    )
    assert done.returncode == 0
    assert len(farfield.__all__) == 15 and all(callable(getattr(farfield, name)) for name in farfield.__all__)
    assert Path(farfield.__file__).with_name("py.typed").exists()
    for name in COMMANDS:
        assert callable(getattr(farfield, name.replace(" ", "_").replace("-", "_")))
    with pytest.raises(AttributeError, match=r"'expnad'; did you mean expand\?"):
        farfield.expnad  # noqa: B018
    assert set(farfield.models()) >= {"cifar10-32", MODEL} and "hubble" in farfield.domains()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_function_takes_the_options_of_its_command(name):
    """By the fields' names, and by the spelling of the command line; what is none is named."""
    command = COMMANDS[name]
    called, fields = function(command), leaves(command.settings)
    shown = inspect.signature(called).parameters
    own = [leaf.name for leaf in fields]
    assert set(own) <= set(shown) <= {*own, "out", "quiet"}
    assert all(leaf.option.help in called.__doc__ for leaf in fields)
    with pytest.raises(OptionError, match=f"^farfield.{called.__name__}: no option 'nonsense'") as told:
        called(nonsense=1)
    assert isinstance(told.value, TypeError) and "\n" not in str(told.value)


def test_options_go_by_their_spelling_too(tmp_path):
    """``--descriptor`` is the field ``descriptors``, ``--label`` the field ``labels``."""
    run = farfield.generate(MODEL, seeds="0-1", steps=2, format="shards", quiet=True)
    assert run.format == "shards" and run.seeds == "0-1"
    with pytest.raises(OptionError, match="one option by two names"):
        farfield.generate(MODEL, form="shards", format="png")
    with pytest.raises(OptionError, match="missing a required argument: 'examples'"):
        farfield.expand(MODEL)
    with pytest.raises(FarfieldError, match="--steps 0: expected a whole number, at least 1"):
        farfield.generate(MODEL, steps=0)
    with pytest.raises(FarfieldError, match="model: an array; expected a model"):
        farfield.expand(np.zeros((2, 8, 8, 1)), MODEL)
    with pytest.raises(FarfieldError, match="examples: a model; expected images"):
        farfield.expand(MODEL, farfield.load(MODEL))
    with pytest.raises(FarfieldError, match=r"Linear: a module, of which nothing says .* farfield.wrap"):
        farfield.generate(torch.nn.Linear(1, 1))


def read(value) -> Images:
    """What a source that was given as an array holds."""
    with holding() as hold, open_collection(hold(value, "images")) as collection:
        rows = [torch.as_tensor(collection.picture(key)).float() for key in collection.keys]
    return Images(collection.keys, torch.stack(rows).permute(0, 3, 1, 2))


def test_arrays_are_read_as_they_are_said_to_be():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 7, 3), dtype=np.uint8)
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    as_bytes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    for same in (pixels, pixels.transpose(0, 3, 1, 2), torch.from_numpy(pixels)):
        assert torch.equal(read(same).values, as_bytes)
    for same in (floats, floats.numpy(), (floats + 1) / 2, floats.permute(0, 2, 3, 1), floats.double()):
        assert torch.allclose(read(same).values, floats, atol=1e-6)
    own = Images(("b", "a", "c", "d"), 1.25 * floats)  # what a model made goes beyond [-1, 1]: kept, with its keys
    assert torch.equal(read(own).values, own.values) and read(own).keys == own.keys
    assert read(pixels[..., 0]).shape == (1, 6, 7)
    for bad in (pixels[0, 0], pixels.astype(np.int64), np.zeros((0, 3, 4, 4)), pixels.astype(str)):
        with pytest.raises(FarfieldError, match=r"^images: .*; expected images \[n, H, W, C\] of uint8"):
            checked(bad, "images")
    with pytest.raises(FarfieldError, match="either axis could be the channels"):
        checked(np.zeros((2, 9, 9, 5)), "images")


def test_an_array_is_a_source_while_it_is_held():
    """Its name is made of its content; afterwards the name says where it came from, and nothing is left."""
    before = temporary()
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    with holding() as hold:
        name = hold(pixels, "images")
        assert hold(pixels.copy(), "others") == name != hold(pixels + 1, "images")
        assert len(open_samples(name)) == 2 and temporary() > before
    assert temporary() == before
    with pytest.raises(FarfieldError, match="an array that was given from Python; give it there again"):
        open_samples(name)


def test_a_list_of_arrays_is_pictures(tmp_path):
    """Of one size they are one array; of several they are as files in a folder, their range that of all together."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 9, 12, 3), dtype=np.uint8)
    assert torch.equal(read(list(pixels)).values, read(pixels).values)
    assert torch.equal(read([torch.from_numpy(p) for p in pixels[..., 0]]).values, read(pixels[..., 0]).values)
    sizes = [pixels[0], pixels[1, :, :9], np.repeat(pixels[2], 2, 0)]
    for i, picture in enumerate(sizes):
        Image.fromarray(picture).save(tmp_path / f"{i:06d}.png")
    files, ours = (farfield.open_images(source, (3, 8, 8)) for source in (tmp_path, sizes))
    assert ours.keys == files.keys and torch.equal(ours.values, files.values)
    signed = [p.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1 for p in sizes]
    signed[1] = np.abs(signed[1])  # alone it would be taken for [0, 1]
    there = farfield.open_images(signed, (3, 9, 9)).values[1]
    assert torch.equal(there, torch.from_numpy(signed[1]))
    with pytest.raises(FarfieldError, match=r"^images\[0\]: uint8 \[4, 9, 12, 3\]; expected a list of pictures"):
        read([pixels, pixels])
    with pytest.raises(FarfieldError, match="a list of float32 and uint8, which fill different ranges"):
        read([pixels[0], signed[0]])


def test_where_an_array_lies_is_said_nowhere(tmp_path, recwarn):
    """Neither in lines nor in errors, nor in anything that a run leaves."""
    where = Path(tempfile.gettempdir()) / "farfield-"
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (9, 9 + i % 3, 3), dtype=np.uint8) for i in range(6)]
    run = farfield.reconstruct(MODEL, pictures, steps=2, sigma=5.0, quiet=True, out=tmp_path / "run")
    farfield.describe(np.stack([p[:, :9] for p in pictures]), descriptor="pixels", quiet=True, out=tmp_path / "more")
    said = [str(w.message) for w in recwarn.list]
    assert any(line.startswith("the arrays given as images: 9×9 to 9×11 → 8×8") for line in said), said
    broken = [np.full((9, 9), np.nan, np.float32), np.zeros((8, 8), np.float32)]
    with pytest.raises(
        FarfieldError, match=r"^the arrays given as images/000000\.npz: expected finite values"
    ) as error:
        farfield.reconstruct(MODEL, broken, quiet=True)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    told = [*said, str(error.value), repr(run), run._repr_html_(), *(str(path.read_bytes()) for path in kept)]
    assert len(kept) > 8 and not [text for text in told if str(where) in text]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert any(line.startswith("the arrays given as images: ") for line in summary["reading"])


def test_a_sibling_s_option_is_named():
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    for call, said in (
        (
            lambda: farfield.expand(MODEL, pictures, examples=12),
            "examples is given by its place already; their number is count=",
        ),
        (
            lambda: farfield.expand(MODEL, examples=12),
            "expected images: a path, a domain or an array; their number is count=",
        ),
        (lambda: farfield.compare(MODEL, pictures, count=3), r"no option 'count'; did you mean counts=\?"),
        (lambda: farfield.compare(MODEL, pictures, examples=3), "their number is counts="),
        (lambda: farfield.expand(MODEL, pictures, cuont=3), r"did you mean count=\?"),
    ):
        with pytest.raises(FarfieldError, match=said):
            call()


def test_a_run_in_memory_is_that_of_the_command(tmp_path):
    before = temporary()
    given = farfield.open_images("digits", (1, 8, 8), limit=6)
    there = farfield.invert(MODEL, given, steps=3, sigma=20.0, quiet=True, out=tmp_path / "run")
    run = farfield.invert(farfield.load(MODEL), np.asarray(given), steps=3, sigma=20.0, quiet=True)
    assert torch.equal(run.latents.values, there.latents.values) and run.latents.sigma == run.sigma == there.sigma
    assert there.images != run.images  # named by their content: one has keys of its own
    assert there.folder == tmp_path / "run" and (tmp_path / "run" / "summary.json").exists()
    again = farfield.invert(MODEL, given, steps=3, sigma=20.0, quiet=True, out=tmp_path / "run")
    assert again.result == there.result
    other = Images(given.keys, given.values.flip(0))
    with pytest.raises(FarfieldError, match="holds a run with other settings"):
        farfield.invert(MODEL, other, steps=3, sigma=20.0, quiet=True, out=tmp_path / "run")
    back, own = farfield.decode(MODEL, run), farfield.decode(MODEL, run.latents, steps=3)
    assert torch.equal(back.values, own.values) and back.keys == run.latents.keys
    assert torch.equal(farfield.decode(MODEL, run.latents.values, sigma=20.0, steps=3).values, own.values)
    with pytest.raises(FarfieldError, match="does not say its noise level"):
        farfield.decode(MODEL, run.latents.values)
    with pytest.raises(FarfieldError, match="these latents are of level"):
        farfield.decode(MODEL, run.latents, sigma=5.0)
    with pytest.raises(AttributeError, match="has no 'smaples'; it has model"):
        run.smaples  # noqa: B018
    assert temporary() > before
    del run
    assert temporary() == before


def test_a_run_shows_and_keeps_itself(tmp_path):
    run = farfield.generate(MODEL, seeds=[3, 5], steps=2, quiet=True)
    assert run.samples.keys == ("3", "5") and np.asarray(run.samples).shape == (2, 1, 8, 8)
    html = run._repr_html_()
    assert html.count("<img") == 1 and "the first 2 of 2 images" in html and "network calls an image" in html
    assert repr(run).startswith("farfield.generate (2 samples)")
    with Image.open(run.save(tmp_path / "a.png")) as sheet:
        assert sheet.info[SYNTHETIC] == "true"
    assert open_samples(run.save(tmp_path / "a.npz")).keys == ("3", "5")
    folder = run.save(tmp_path / "kept")
    assert (folder / "report.html").exists() and torch.equal(open_samples(folder).values, run.samples.values)
    with pytest.raises(FarfieldError, match="expected a new folder"):
        run.save(folder)


def test_a_failed_run_leaves_nothing(tmp_path):
    before = temporary()
    with pytest.raises(FarfieldError):
        farfield.rank(MODEL, images=np.zeros((3, 8, 8, 1), dtype=np.uint8), sigmas=[1e9], quiet=True)
    assert temporary() == before


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    """Its first block, with the smallest model and a few images."""
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)[0]
    for word, small in (
        ("cifar10-32", MODEL),
        ('"hubble"', "images"),
        ("n=16", "n=8, steps=4, count=12, sigma=1.0, control=False"),
    ):
        assert word in code
        code = code.replace(word, small)
    exec(compile(code, README.name, "exec"), {"images": farfield.open_images("digits", limit=60)})
    with Image.open("galaxies.png") as picture:
        assert picture.size[0] > 8


@pytest.mark.parametrize("task", range(len(TASKS)))
def test_the_tasks_of_the_guide_run_as_they_stand(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = TASKS[task]
    names = ("samples", "training", "heldout")
    if any(f"{name}/" in code for name in names) or "mine.npy" in code:
        images = farfield.open_images("digits", limit=240).values
        pixels = ((images + 1) * 127.5).round().byte()
        np.save("mine.npy", pixels[:60].permute(0, 2, 3, 1).numpy())
        for i, name in enumerate(names):
            Path(name).mkdir()
            for k in range(120 if name == "heldout" else 24):
                Image.fromarray(pixels[40 * i + k, 0].numpy()).save(f"{name}/{k:06d}.png")
    exec(compile(code, GUIDE.name, "exec"), {})
    for made in re.findall(r'save\("(.*?)"\)', code):
        with Image.open(made) as picture:
            assert picture.size[0] > 8
