"""Every source of every command is in the request of its run by content: what changes under its name is never taken for the old.

The commands are walked over as the command line declares them, so that a new option which names a source cannot be forgotten.
"""

import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tiny import farfield, picture

from farfield.command.commands import COMMANDS as DECLARED
from farfield.command.settings import leaves
from farfield.core.artifact import Images, Store, save
from farfield.data.subset import choose
from farfield.manifold.edit import Directions
from farfield.study.bench.run import Run

MODELS = Path(__file__).parents[1] / "src" / "farfield" / "models"
COMMANDS: dict[str, str] = {
    "expand": "model examples --examples 8",
    "expand heldout": "model examples --heldout held",
    "analyse": "model examples --in-domain held --levels 2 --steps 8 --down-steps 4 --descriptor pixels",
    "gain": "examples model",
    "blind": "finished",
    "compare": "model examples --heldout held --methods ours --counts 8 -n 8",
    "compare samples": "model examples --heldout held --methods examples --counts 8 -n 4 --samples them=style --steps 1",
    "reconstruct": "model examples",
    "invert": "model examples",
    "transfer": "model examples style",
    "transfer heldout": "model examples style --heldout held",
    "edit": "model examples --mask mask.png",
    "edit load": "model examples --load directions",
    "edit labels": "model examples --mask mask.png --labels classed --attribute a",
    "restore": "model examples --mask mask.png --against model",
    "restore kernel": "model examples --blur kernel.npy",
    "rank": "model --images examples --points 24",
    "dimension": "model examples",
    "generate": "model --seeds 0-3",
    "generate noise": "model --noise noise.npy",
    "generate empirical": "empirical:examples --seeds 0-3",
    "train": "--data examples --heldout held --from model --images 64",
    "train-descriptor": "examples --images 256 --batch-size 8",
    "transition": "--data examples --sizes 2,4 --widths 8 --descriptor pixels --samples 4 --heldout-images 8 --rate 0.2 "
    "--images 64 --batch-size 4",
    "reproduce": "regimes --data examples",
    "distances": "held style --descriptor pixels",
    "describe": "examples --descriptor pixels --references held",
    "describe model": "examples --descriptor model --model model",
    "score rp": "examples style --common --calibrate held --descriptor pixels",
    "score gl": "examples style --heldout held --descriptor pixels",
    "score matrix": "examples style --descriptor pixels",
    "audit": "model examples --heldout held --other style --other other --descriptor pixels --alpha 0.2",
    "audit samples": "style examples --descriptor pixels --alpha 0.2",
    "prompt": "painter --heldout held --judge model --examples 8 -n 4 --prompt x --size 8",
}
"""Each command as it is typed; words that are names of the folders made here are its sources."""

NO_SOURCE = {
    "symmetry", "solver", "stretch", "hdu", "ivar", "field_mask", "device", "dtype", "methods", "answers", "compose", "ema",
    "prompts", "descriptor", "descriptors", "trust", "attribute",
}  # fmt: skip
"""Options of text that name no source. What a descriptor's file holds is in the name of its features, see `test_descriptor`."""
OF_SOURCES = {
    "analyse": 3, "audit": 4, "blind": 1, "compare": 4, "describe": 3, "distances": 2, "train-descriptor": 1, "rank": 2,
    "dimension": 2, "edit": 5, "expand": 3, "gain": 2, "generate": 2, "molrg": 0, "prompt": 3, "reconstruct": 2, "invert": 2,
    "reproduce": 1, "restore": 5, "train": 3, "transfer": 4, "transition": 1, "score rp": 3, "score gl": 3, "score matrix": 1,
}  # fmt: skip
"""How many options of each command may name one."""


class Begun(BaseException):
    """A run was about to begin with this request."""


def images(folder: Path, seed: int, skip: set[str] = frozenset()) -> Path:  # type: ignore[assignment]
    """24 grey pictures of 8×8 under their numbers."""
    folder.mkdir(exist_ok=True)
    for i in range(24):
        if f"{i:06d}" not in skip:
            picture(100 * seed + i, 8, 8).convert("L").save(folder / f"{i:06d}.png")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every source, as it is before it changes."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("examples", "held", "style", "other"), 1):
        images(folder / name, seed)
    classed(folder, 0)
    shutil.copytree(MODELS / "digits-generalizing", folder / "model")
    mask(folder, 0)
    kernel(folder, 1.0)
    noise(folder, 1)
    directions(folder, 1.0)
    quick = ("--examples", 8, "-n", 6, "--sigma", 1, "--steps", 1, "--no-calibrate", "--descriptor", "pixels", "-q")
    made = farfield("expand", folder / "model", folder / "examples", "-o", folder / "finished", *quick)
    assert made.code == 0, made.err
    return folder


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "now").mkdir()
    monkeypatch.chdir(tmp_path / "now")
    return tmp_path / "now"


def put_back(root: Path, there: Path) -> None:
    for path in there.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(root, there, dirs_exist_ok=True)


def mask(there: Path, left: int) -> None:
    from PIL import Image

    box = torch.zeros(8, 8, dtype=torch.uint8)
    box[2:5, left : left + 3] = 255
    Image.fromarray(box.numpy()).save(there / "mask.png")
    save(Images(("mask",), (box > 0)[None, None].float()), there / "directions" / "mask")


def kernel(there: Path, left: float) -> None:
    np.save(there / "kernel.npy", np.array([[left, 2.0, 1.0]]))


def noise(there: Path, seed: int) -> None:
    np.save(there / "noise.npy", np.random.default_rng(seed).standard_normal((8, 1, 8, 8)))


def directions(there: Path, gain: float) -> None:
    from farfield.checkpoints.load import model_digest

    vectors = torch.eye(64, dtype=torch.float64)[:3].reshape(3, 1, 8, 8)
    names = tuple(f"direction-{i + 1}" for i in range(3))
    made = Directions(names, vectors, 3.0, model_digest(str(there / "model")), "0", 2, [gain] * 3, [0.1] * 3)
    save(made, there / "directions" / "directions")


DRAWN = choose([f"{i:06d}" for i in range(24)], 8, 0)[0]
"""What commands draw as 8 examples."""


def rest(there: Path, name: str) -> None:
    """All but the examples."""
    images(there / name, 9, set(DRAWN))


def model(there: Path) -> None:
    shutil.rmtree(there / "model")
    shutil.copytree(MODELS / "digits-memorizing", there / "model")


def classed(there: Path, other: int) -> None:
    """22 pictures of each of two classes, which their names begin with; with ``other`` one of them has the other's."""
    shutil.rmtree(there / "classed", ignore_errors=True)
    (there / "classed").mkdir()
    for i in range(44):
        name = "ab"[i % 2 if i != 1 else 1 - other]
        picture(5000 + i, 8, 8).convert("L").save(there / "classed" / f"{name}_{i:02d}.png")


def one(there: Path, name: str) -> None:
    picture(999, 8, 8).convert("L").save(there / name / f"{DRAWN[0]}.png")


def turned(there: Path, name: str) -> None:
    """Other pictures in a finished run."""
    kept = Store(there / "finished" / name, Images).read()
    shutil.rmtree(there / "finished" / name)
    save(Images(kept.keys, -kept.values), there / "finished" / name)


CHANGES: dict[str, list[Callable[[Path], None]]] = {
    **{name: [lambda p, n=name: one(p, n)] for name in ("held", "style", "other")},  # type: ignore[misc]
    "examples": [lambda p: one(p, "examples")],
    "classed": [lambda p: classed(p, 1)],
    "them=style": [lambda p: one(p, "style")],
    "model": [model],
    "mask.png": [lambda p: mask(p, 5)],
    "kernel.npy": [lambda p: kernel(p, 3.0)],
    "noise.npy": [lambda p: noise(p, 2)],
    "finished": [lambda p: turned(p, "samples"), lambda p: turned(p, "references")],
    "directions": [lambda p: directions(p, 2.0), lambda p: mask(p, 5)],
}
NOT_SEEN = {("edit load", "model")}
"""Refused in other words: directions belong to one model."""


def request(command: str, line: str) -> dict[str, typing.Any]:
    """What the command would begin its run with; `compare` and `gain` keep their images in those of folders."""
    claim, seen = Run._claim, []

    def begin(run: Run) -> None:
        seen.append(run.request)
        if len(seen) == {"compare": 2, "compare samples": 4, "gain": 2}.get(command, 1):
            raise Begun
        claim(run)

    name = command.split()[: 2 if command.startswith("score") else 1]
    with patch.object(Run, "_claim", begin), pytest.raises(Begun):
        device = ("--device", "cpu") if name != ["blind"] else ()
        said = farfield(*name, *line.split(), "-o", "run", "-q", *device)
        raise AssertionError(f"{command} began no run: {said.err}")
    return {f"{i} {k}": v for i, one in enumerate(seen) for k, v in one.items()}


def check(command: str, line: str, root: Path, there: Path) -> None:
    put_back(root, there)
    before = request(command, line)
    for name in dict.fromkeys(word.removeprefix("empirical:") for word in line.split()):
        changes = CHANGES.get(name, []) if (command, name) not in NOT_SEEN else []
        if name in line and "--examples" in line.split() and name in ("examples", "held"):
            changes = [*changes, lambda folder, name=name: rest(folder, name)]  # type: ignore[misc]
        for change in changes:
            put_back(root, there)
            change(there)
            after = request(command, line)
            changed = {k for k in {*before, *after} if before.get(k) != after.get(k)}
            assert changed and all("_digest" in k or "descriptor" in k for k in changed), (command, name, changed)
    put_back(root, there)
    assert request(command, line) == before


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "prompt"])
def test_what_a_run_reads_is_in_its_request_by_content(root: Path, there: Path, command: str) -> None:
    check(command, COMMANDS[command], root, there)


def test_so_is_what_prompts_are_held_against(root: Path, there: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="text encoders are in the extra `features`")
    from test_prompt import make_pipeline

    painter = make_pipeline(tmp_path / "painter")
    check("prompt", COMMANDS["prompt"].replace("painter", str(painter)), root, there)


def test_no_command_has_a_source_that_is_not_looked_at_here() -> None:
    for name, command in DECLARED.items():
        if command.result is None:
            continue  # it keeps no run
        masks = (
            {"mask"} if name not in ("edit", "restore") else set()
        )  # an array of the source's own file, but theirs are pictures
        texts = [
            leaf for leaf in leaves(command.settings) if {leaf.kind, leaf.item} & {str, Path} and not leaf.option.rest
        ]
        found = [leaf.name for leaf in texts if leaf.name not in {*NO_SOURCE, *masks}]
        assert len(found) == OF_SOURCES[name], (
            f"{name}: {found}; give a new source to COMMANDS, or another option to NO_SOURCE"
        )
        assert name == "molrg" or any(c == name or c.startswith(f"{name} ") for c in COMMANDS)
