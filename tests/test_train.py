"""`farfield train`: killed at any moment it ends as the unbroken run; what it leaves is a model like every other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from fork import needs_fork
from test_ranks import two_processes
from tiny import Outcome, decided, farfield, make_images, make_model

from farfield.checkpoints.load import load_denoiser, model_digest, open_network
from farfield.checkpoints.native import Blueprint, read_blueprint, save_model
from farfield.command.train import Train
from farfield.core.error import FarfieldError
from farfield.data.samples import open_samples
from farfield.diffusion.layers import chosen, layers
from farfield.diffusion.precondition import FAMILIES
from farfield.diffusion.training import Training
from farfield.networks.build import KINDS, from_config, network_config
from farfield.networks.magnitude_unet import UnitWeight
from farfield.present.report import draw

SMALL: dict[str, object] = {"width": 4, "multipliers": (1, 2), "blocks": 1, "attention": ()}
NETWORK = ("--width", 4, "--multipliers", "1,2", "--blocks", 1, "--attention", "none", "--device", "cpu")
BASE = (*NETWORK, "--length", 96, "--batch-size", 8, "--warmup", 16, "--ema", "40", "--every", 32, "--samples", 2)
"""Twelve steps; a later option overrides an earlier one."""
LOOKED = ("--heldout-images", 4, "--snapshots", 48, "--dropout", 0.1, "--flips", "--decay", "cosine")


@pytest.fixture(scope="module", autouse=True)
def without_the_page() -> Iterator[None]:
    """Drawing it takes longer than these trainings."""
    with patch("farfield.present.report.draw", lambda folder, command: (folder, ())):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures of 8×8, as folders."""
    root = tmp_path_factory.mktemp("data")
    make_images(root / "train" / "a", 7, 8, 8)
    make_images(root / "train" / "b", 6, 8, 8, first=20)
    for path in (root / "train" / "b").iterdir():
        path.rename(path.with_name(f"b-{path.name}"))
    return make_images(root / "heldout", 5, 8, 8, first=40).parent


def command(data: Path, out: Path, *options: object) -> tuple[object, ...]:
    return ("train", "--data", data / "train", "-o", out, *BASE, *options)


def train(data: Path, out: Path, *options: object) -> Outcome:
    return farfield(*command(data, out, *options))


def trained(data: Path, out: Path, *options: object) -> Path:
    """The last snapshot."""
    outcome = train(data, out, *options)
    assert outcome.code == 0, outcome.err
    return sorted((out / "snapshots").iterdir())[-1]


def left(run: Path) -> dict[str, Any]:
    """Everything that a training decides: left out are seconds, and where the run lies."""
    found = decided(run)
    found["log.json"] = [{k: v for k, v in row.items() if k != "seconds"} for row in json.loads(found["log.json"])]
    found["summary.json"]["model"].pop("name")
    return found


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    trained(data, out, "--heldout", data / "heldout", *LOOKED)
    return out


def test_given_again_it_is_already_done(data: Path, unbroken: Path):
    before = decided(unbroken)
    outcome = train(data, unbroken, "--heldout", data / "heldout", *LOOKED)
    assert (outcome.code, outcome.err) == (0, "")
    assert decided(unbroken) == before


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.safetensors", _flip),
        ("log.json", lambda path: path.write_bytes(path.read_bytes()[:-20])),
        ("log.json", Path.unlink),
        ("log.json", lambda path: path.write_text(path.read_text().replace('"images": 32', '"images": 33'))),
        ("snapshots/0000000096/weights.safetensors", _flip),
        ("snapshots/0000000096/weights.safetensors", Path.unlink),
        ("snapshots/0000000096", shutil.rmtree),
    ],
)
def test_what_is_damaged_after_its_end_is_made_again(
    data: Path, unbroken: Path, tmp_path: Path, name: str, damage: Callable[[Path], object]
):
    shutil.copytree(unbroken, tmp_path / "run")
    damage(tmp_path / "run" / name)
    outcome = train(data, tmp_path / "run", "--heldout", data / "heldout", *LOOKED, "-q")
    assert outcome.code == 0 and left(unbroken) == left(tmp_path / "run")
    assert outcome.err.count("made again") == (not name.startswith("snapshots"))


def test_it_tells_what_it_did(data: Path, unbroken: Path):
    told = json.loads((unbroken / "summary.json").read_text())
    log = json.loads((unbroken / "log.json").read_text())
    assert (told["images"], told["n"], told["heldout"]) == (96, 13, log[-1]["heldout"])
    assert [row["images"] for row in log] == [0, 32, 64, 96]
    assert [p.name for p in sorted((unbroken / "snapshots").iterdir())] == ["0000000048", "0000000096"]
    assert len(list((unbroken / "samples").iterdir())) == 4
    assert json.loads((unbroken / "snapshots" / "0000000096" / "training.json").read_text())["images_seen"] == 96


def test_the_page_shows_losses_and_samples(unbroken: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(unbroken, copy)
    page = draw(copy)[0].read_text()
    assert all(words in page for words in ("held-out loss", "learning rate", "<svg", "After 96 images"))


def test_each_row_of_the_log_stands_once_in_tensorboard(data: Path, unbroken: Path, tmp_path: Path):
    """Killed after a row that the state does not know yet, and continued."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("--heldout", data / "heldout", *LOOKED, "--log", "tensorboard")
    step = Training.step
    with patch.object(Training, "step", lambda self: step(self) if self.seen < 72 else _killed()):
        assert train(data, tmp_path / "run", *options).code == 130
    assert [row["images"] for row in json.loads((tmp_path / "run" / "log.json").read_text())] == [0, 32, 64]
    for _ in ("continued", "given again when it is over"):
        trained(data, tmp_path / "run", *options)
        board = EventAccumulator(str(tmp_path / "run" / "tensorboard"), purge_orphaned_data=False).Reload()
        log = json.loads((tmp_path / "run" / "log.json").read_text())
        for name, key in (("loss/training", "loss"), ("loss/held-out", "heldout"), ("learning rate", "rate")):
            points = [(event.step, pytest.approx(event.value)) for event in board.Scalars(name)]
            assert points == [(row["images"], row[key]) for row in log if row[key] is not None], name
        assert [event.step for event in board.Images("samples")] == [0, 32, 64, 96]
    shutil.rmtree(tmp_path / "run" / "tensorboard")
    assert left(tmp_path / "run") == left(unbroken), "it decides nothing"


def _killed() -> float:
    raise KeyboardInterrupt


def test_without_tensorboard_it_says_what_to_install(data: Path, tmp_path: Path):
    with patch.dict("sys.modules", {"tensorboard": None}):
        said = train(data, tmp_path / "run", "--log", "tensorboard")
    assert said.code == 2 and "--log tensorboard needs the package tensorboard" in said.err
    assert "pip install tensorboard" in said.err and not (tmp_path / "run").exists()


@needs_fork
def test_two_processes_train_as_one_does(data: Path, unbroken: Path, tmp_path: Path):
    alone = trained(data, tmp_path / "one")
    said = two_processes(*command(data, tmp_path / "two"))
    assert said.code == 0, said.err
    both = sorted((tmp_path / "two" / "snapshots").iterdir())[-1]
    first, second = (load_denoiser(str(folder)).network.state_dict() for folder in (alone, both))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-3, atol=1e-5)


def test_a_run_folder_is_a_model_the_newest_snapshot(unbroken: Path):
    last = unbroken / "snapshots" / "0000000096"
    for ours, theirs in zip(
        load_denoiser(str(unbroken)).parameters(), load_denoiser(str(last)).parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert model_digest(str(unbroken)) == model_digest(str(last)) != model_digest(str(last.with_name("0000000048")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_network_is_loaded_as_it_was_saved(kind: str, family: Any, tmp_path: Path):
    alone = {"mixer": {"width": 4, "blocks": 1}, "dit": {"width": 8, "blocks": 1}}  # which have one level
    choices = alone.get(kind, SMALL)
    config = network_config(kind, (1, 8, 8), **choices)  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = from_config(config).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)  # a new network answers with zeros
    plan = Blueprint(config, (1, 8, 8), family)
    save_model(tmp_path / "model", network, plan)
    denoiser, again = plan.denoiser(network), load_denoiser(str(tmp_path / "model"))
    for name, weight in denoiser.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], weight)
    noise = torch.randn(3, 1, 8, 8)
    for sigma in denoiser.schedule.sigmas(3)[:-1].float():
        x = (1 + sigma**2).sqrt() * noise
        torch.testing.assert_close(again(x, sigma), denoiser(x, sigma), rtol=1e-4, atol=1e-5 * float(1 + sigma))


@pytest.mark.parametrize("precond", ["ddpm", "v", "iddpm"])
def test_diffusers_loads_what_it_has_words_for(precond: str, data: Path, tmp_path: Path):
    from diffusers import DDPMPipeline, UNet2DModel

    options = ("--network", "unet2d", "--precond", precond, "--length", 16, "--samples", 0)
    folder = trained(data, tmp_path / "run", *options)
    pipeline = DDPMPipeline.from_pretrained(folder)
    unet = UNet2DModel.from_pretrained(folder / "unet")
    ours, x = load_denoiser(str(folder)), torch.randn(2, 3, 8, 8)
    level, abar = ours.schedule.sigmas(4)[1], pipeline.scheduler.alphas_cumprod
    t = int((((1 - abar) / abar).sqrt() - level).abs().argmin())
    answer = unet(x, t).sample
    a, q = abar[t].sqrt(), (1 - abar[t]).sqrt()
    expected = a * x - q * answer if precond == "v" else (x - q * answer) / a
    sigma = q / a
    torch.testing.assert_close(ours(x / a, sigma), expected, rtol=1e-3, atol=1e-4)
    for name, weight in pipeline.unet.state_dict().items():
        assert torch.equal(weight, unet.state_dict()[name])
    assert not pipeline.scheduler.config.clip_sample


def test_half_the_bytes_in_float16(data: Path, tmp_path: Path):
    whole, half = (trained(data, tmp_path / name, "--length", 16, *o) for name, o in (("a", ()), ("b", ("--float16",))))
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.65 * sizes[0]
    for a, b in zip(load_denoiser(str(whole)).parameters(), load_denoiser(str(half)).parameters(), strict=True):
        assert torch.equal(a.half().float(), b)


def test_classes_are_told_apart(data: Path, tmp_path: Path):
    folder = trained(data, tmp_path / "run", "--labels", "--length", 32)
    assert read_blueprint(folder).classes == 2
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor(1.0)
    a, b = (load_denoiser(str(folder), label=k)(x, sigma) for k in (0, 1))
    assert not torch.equal(a, b)
    with pytest.raises(FarfieldError, match="label from 0 to 1"):
        load_denoiser(str(folder))


def test_augmentation_is_told_to_the_network_and_not_to_the_sampler(data: Path, tmp_path: Path):
    folder = trained(data, tmp_path / "run", "--augment", 0.5, "--length", 32)
    network = load_denoiser(str(folder)).network
    told = network.map_augment.weight  # type: ignore[union-attr]
    assert told.shape[1] == 9
    assert load_denoiser(str(folder))(torch.randn(2, 3, 8, 8), torch.tensor(1.0)).isfinite().all()


def test_further_from_a_model_of_ours(data: Path, unbroken: Path, tmp_path: Path):
    origin = unbroken / "snapshots" / "0000000096"
    folder = trained(data, tmp_path / "run", "--from", origin, "--length", 8, "--learning-rate", 1e-6)
    assert read_blueprint(folder) == read_blueprint(origin)
    for ours, theirs in zip(
        load_denoiser(str(folder)).parameters(), load_denoiser(str(origin)).parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_further_from_a_model_of_diffusers(data: Path, tmp_path: Path):
    origin = make_model(tmp_path / "model", (3, 8, 8))
    options = ("--length", 8, "--learning-rate", 1e-7, "--samples", 0)
    same = trained(data, tmp_path / "same", "--from", origin, *options)
    x, sigma = torch.randn(2, 3, 8, 8), load_denoiser(str(origin)).schedule.sigmas(4)[1].float()
    torch.testing.assert_close(
        load_denoiser(str(same))(x, sigma), load_denoiser(str(origin))(x, sigma), rtol=1e-3, atol=1e-3
    )
    other = trained(data, tmp_path / "other", "--from", origin, "--precond", "edm", *options)
    assert read_blueprint(other).family == "edm"


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_last_snapshot(data: Path, tmp_path: Path):
    options = ("--learning-rate", 1e30, "--clip", 0, "--warmup", 48, "--snapshots", 8)
    outcome = train(data, tmp_path / "run", *options)
    assert outcome.code == 2
    assert "NaN or infinite" in outcome.err and "step " in outcome.err
    kept = sorted((tmp_path / "run" / "snapshots").iterdir())
    assert kept
    assert all(w.isfinite().all() for w in load_denoiser(str(kept[0])).parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--length", "many"), "--length 'many'"),
        (("--network", "transformer"), "expected one of ddpmpp"),
        (("--precond", "flows"), "expected one of edm"),
        (("--decay", "slowly"), "--decay slowly"),
        (("--precision", "int8"), "--precision int8"),
        (("--max-images", 14), "1 to 13"),
        (("--level-law", "1"), "mean and a standard deviation"),
        (("--ema", "power:0.9"), "0.288"),
        (("--attention", "5"), "attention at 5"),
        (("--from", "nowhere"), "nowhere"),
        (("--from", "cifar10-32", "--labels"), "leave them out"),
        (("--batch-size", 8, "--accumulate", 3), "multiple of 3"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    options: tuple[object, ...], message: str, data: Path, tmp_path: Path
):
    outcome = train(data, tmp_path / "run", *options)
    assert outcome.code == 2
    assert message in outcome.err.replace("\n", " ")
    assert outcome.err.startswith("farfield: ") and outcome.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_other_settings_on_the_same_folder_are_refused(data: Path, unbroken: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(unbroken, copy)
    outcome = train(data, copy, "--heldout", data / "heldout", *LOOKED, "--learning-rate", 1e-2)
    assert outcome.code == 2
    assert "other settings (" in outcome.err and "now 0.01" in outcome.err
    assert left(copy) == left(unbroken)


def test_words_are_the_settings_that_give_them_and_old_spellings_are_understood():
    words = [
        "--data",
        "x",
        "--images",
        "100k",
        "--levels=-1,1.3",
        "--half",
        "--clip",
        "0",
        "--attention",
        "none",
        "--from",
        "m",
    ]
    given = Train.of(**Train.parse(words))
    assert given == Train.of(
        data="x", length=100_000, level_law=(-1, 1.3), float16=True, clip=0, attention=(), start="m"
    )
    assert Train.of(**Train.parse(given.words())) == given
    for wrong, message in ((["--bogus", "3"], "--bogus: no option"), (["--width"], "--width: expected a value")):
        with pytest.raises(FarfieldError, match=message):
            Train.parse(wrong)
    with pytest.raises(FarfieldError, match="--length: missing"):
        Train.of(data="x")


def test_layers_that_are_not_trained_stay_to_the_bit(data: Path, unbroken: Path, tmp_path: Path):
    run = tmp_path / "run"
    options = ("--from", unbroken, "--layers", "*dec*", "--layers", "map_layer0.weight")
    step = Training.step
    with patch.object(Training, "step", lambda self: step(self) if self.seen < 56 else _killed()):
        assert train(data, run, *options, "--snapshots", 48).code == 130  # and continued
    done = train(data, run, *options, "--snapshots", 48)
    assert done.code == 0, done.err
    before, after = (dict(open_network(str(place))[1].named_parameters()) for place in (unbroken, run))
    trained = {name for name in before if "dec" in name or name == "map_layer0.weight"}
    assert 0 < len(trained) < len(before)
    for name, value in before.items():
        assert torch.equal(value, after[name]) is (name not in trained), name
    told = json.loads((run / "summary.json").read_text())
    some, whole = (sum(before[name].numel() for name in names) for names in (trained, before))
    assert (told["model"]["trained"], told["model"]["parameters"]) == (some, whole)
    assert f"{some:,} of {whole:,} weights are trained" in " ".join(told["reading"])
    assert "trained" not in json.loads((unbroken / "summary.json").read_text())["model"]


def test_a_pattern_that_names_no_layer_lists_them(data: Path, unbroken: Path, tmp_path: Path):
    refused = train(data, tmp_path / "run", "--from", unbroken, "--layers", "decoder")
    assert refused.code == 2 and "--layers decoder" in refused.err and "map_layer0" in refused.err
    assert not (tmp_path / "run").exists()
    alone = train(data, tmp_path / "run", "--layers", "*dec*")
    assert alone.code == 2 and "--layers without --from" in alone.err


def test_names_are_listed_as_deep_as_there_is_room():
    names = [f"unet.{part}.{i}.{kind}" for part in ("down", "up") for i in range(20) for kind in ("weight", "bias")]
    assert layers(names) == ["unet.down", "unet.up"]
    assert layers(names[:20]) == [f"unet.down.{i}" for i in range(10)]
    assert chosen(names, ["unet.down.1", "*.1?.bias"])[:3] == [
        "unet.down.1.weight",
        "unet.down.1.bias",
        "unet.down.10.bias",
    ]
    assert chosen(names, ["unet.up"]) == names[40:]


def test_a_unit_weight_that_is_not_trained_stays_to_the_bit():
    layer = UnitWeight(5, 3).train().requires_grad_(False)
    before = layer.weight.clone()
    layer(torch.ones(2, 5))
    assert torch.equal(layer.weight, before)
    layer.requires_grad_(True)(torch.ones(2, 5))
    assert not torch.equal(layer.weight, before) or torch.allclose(before.norm(dim=1), torch.ones(3) * 5**0.5)


def test_snapshots_are_kept_after_the_images_that_are_named(data: Path, unbroken: Path, tmp_path: Path):
    named = ("--heldout", data / "heldout", *LOOKED, "--at", "8,20,90")
    trained(data, tmp_path / "run", *named)
    kept = sorted(int(path.name) for path in (tmp_path / "run" / "snapshots").iterdir())
    assert kept == [8, 16, 48, 88, 96]  # in whole steps of 8
    assert left(tmp_path / "run")["log.json"] == left(unbroken)["log.json"]  # it is the same training
    request = json.loads((unbroken / "config.json").read_text())["request"]
    assert not {"at", "layers"} & set(request)  # as it was before there were these options


def test_each_snapshot_and_each_class_make_the_images_of_all_seeds(data: Path, unbroken: Path, tmp_path: Path):
    how = ("--seeds", "0-2", "--steps", 2, "--format", "shards", "--device", "cpu")
    made = farfield("generate", unbroken, *how, "--each", "snapshot", "-o", tmp_path / "times")
    assert made.code == 0, made.err
    for name in ("0000000048", "0000000096"):
        alone = farfield("generate", unbroken / "snapshots" / name, *how, "-o", tmp_path / name)
        assert alone.code == 0, alone.err
        a, b = (open_samples(place) for place in (tmp_path / "times" / "each" / name, tmp_path / name))
        assert a.keys == b.keys == ("0", "1", "2") and torch.equal(a.values, b.values)
    assert json.loads((tmp_path / "times" / "summary.json").read_text())["n"] == 6
    for options, message in (
        (("--each", "label"), "expected --labels"),
        (("--each", "snapshot", "--format", "png"), "expected --format shards"),
    ):
        refused = farfield("generate", unbroken, *how, *options, "-o", tmp_path / "none")
        assert refused.code == 2 and message in refused.err
    alone = farfield(
        "generate", unbroken / "snapshots" / "0000000096", *how, "--each", "snapshot", "-o", tmp_path / "none"
    )
    assert alone.code == 2 and "expected a training with a snapshot" in alone.err
