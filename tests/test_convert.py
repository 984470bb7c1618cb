"""Models of every family become folders that load back equal, and that diffusers opens where it can say them."""

import contextlib
import io
import json

import pytest
import torch
from ddpm_files import Flags, random_state
from edm_files import saved_model, write_snapshot
from tiny import contents, farfield, make_model

from farfield.api.call import function
from farfield.checkpoints.foreign import keep_answers
from farfield.checkpoints.load import load_denoiser
from farfield.command.commands import COMMANDS
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config, network_config
from farfield.networks.guided_unet import GuidedUNet

pytestmark = pytest.mark.usefixtures("without_the_page")

convert = function(COMMANDS["convert"])

ANSWERS = {"size": 16, "schedule": "cosine", "steps": 1000, "heads": 2, "order": "legacy"}


@pytest.fixture
def guided(tmp_path):
    """Makes a file of guided-diffusion's format, of a random network."""

    def make(name="model.pt", dtype=torch.float32, answers=ANSWERS, **choices):
        torch.manual_seed(0)
        network = GuidedUNet(3, 6, 32, (32, 64), 1, **{"attention": (2,), "heads": 2, **choices})
        torch.save({k: v.to(dtype) for k, v in network.state_dict().items()}, tmp_path / name)
        keep_answers(tmp_path / name, answers)
        return tmp_path / name

    return make


@pytest.fixture
def native(tmp_path):
    """Makes a farfield folder of a random network."""

    def make(name="native", kind="ddpmpp", classes=0, **plan):
        torch.manual_seed(0)
        config = network_config(kind, (3, 16, 16), width=8, multipliers=(1, 2), blocks=1, classes=classes)
        network = from_config(config)
        for p in network.parameters():
            p.data.normal_(0, 0.2)
        from safetensors.torch import save_file

        (tmp_path / name).mkdir()
        save_file(network.state_dict(), tmp_path / name / "weights.safetensors")
        told = {"network": config, "shape": [3, 16, 16], "family": "edm", "classes": classes, "sigma_data": 0.5, **plan}
        (tmp_path / name / "model.json").write_text(json.dumps(told))
        return tmp_path / name

    return make


def same(a, b, label=None):
    """Whether two models are the same denoiser, to the bit, at low, middle and high levels; and know the same levels."""
    first, second = load_denoiser(str(a), label=label), load_denoiser(str(b), label=label)
    x = torch.randn(2, *first.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bounds = [(d.schedule.sigma_min, d.schedule.sigma_max) for d in (first, second)]
    sigmas = [torch.tensor(s, dtype=torch.float64) for s in (0.1, 1.0, 7.0)]
    return bounds[0] == bounds[1] and all(torch.equal(first(s * x, s), second(s * x, s)) for s in sigmas)


def diffusers_opens(folder):
    """The pipeline as diffusers opens it, after it made an image in two steps."""
    from diffusers import DDPMPipeline

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pipeline = DDPMPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        image = pipeline(num_inference_steps=2, output_type="np", generator=torch.manual_seed(0)).images
    assert image.shape[0] == 1 and bool((image == image).all())
    return pipeline


def test_a_guided_file_becomes_a_pipeline(guided, tmp_path):
    source = guided()
    done = convert(str(source), tmp_path / "out")
    assert (done.format, done.dtype, done.exact) == ("diffusers", "float32", True)
    assert same(source, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "training.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    pipeline = diffusers_opens(tmp_path / "out")
    ours = load_denoiser(str(tmp_path / "out"))
    levels = ((1 - pipeline.scheduler.alphas_cumprod) / pipeline.scheduler.alphas_cumprod).sqrt()
    assert torch.allclose(levels.double()[:900], ours.schedule.levels[:900], rtol=1e-3)
    assert pipeline.scheduler.config.clip_sample is False


def test_the_pipelines_own_step_agrees_with_the_denoiser(guided, tmp_path):
    """diffusers' scheduler, given diffusers' network's answer, says the same clean image."""
    convert(str(guided(answers={**ANSWERS, "prediction": "v"})), tmp_path / "out")
    pipeline, ours = diffusers_opens(tmp_path / "out"), load_denoiser(str(tmp_path / "out"))
    pipeline.scheduler.set_timesteps(1000)
    for t in (10, 500, 900):
        sigma = ours.schedule.levels[t]
        x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(t)) * float((1 + sigma**2).sqrt())
        seen = x * float((1 + sigma**2).rsqrt())
        with torch.no_grad():
            answer = pipeline.unet(seen, t).sample
        clean = pipeline.scheduler.step(answer, t, seen, generator=torch.manual_seed(0)).pred_original_sample
        assert torch.allclose(ours(x, sigma), clean, atol=2e-4 * float(clean.abs().max()))


@pytest.mark.parametrize(
    ("title", "kind", "classes"), [("EDMPrecond", "ddpmpp", 0), ("VEPrecond", "ncsnpp", 0), ("iDDPMPrecond", "adm", 4)]
)
def test_a_pickle_of_edm_becomes_a_farfield_model(tmp_path, title, kind, classes):
    torch.manual_seed(0)
    config = network_config(
        kind, (3, 8, 8), width=64 if kind == "adm" else 8, multipliers=(1, 2), blocks=1, classes=classes
    )
    config["out_channels"] = 6 if title == "iDDPMPrecond" else 3  # with a learned variance
    networks = [from_config(config) for _ in range(2)]
    for p in (p for network in networks for p in network.parameters()):
        p.data.normal_(0, 0.1)
    own = {"sigma_data": 0.7, "sigma_max": 60.0} if title == "EDMPrecond" else {}
    models = [saved_model(title, network, config, labels=classes, **own) for network in networks]
    path, label = write_snapshot(tmp_path / "snapshot.pkl", models[0], net=models[1]), 1 if classes else None
    for name in (str(path), f"{path}@net"):
        assert convert(name, tmp_path / "out").format == "farfield"
        assert same(name, tmp_path / "out", label)
    assert not same(path, tmp_path / "out", label)  # the other of the two


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_of_the_original_ddpm_becomes_a_pipeline(tmp_path, channels):
    path = tmp_path / "diffusion-8.ckpt"
    torch.save(random_state(Flags(channels=channels)), path)
    keep_answers(path, {"size": 8})
    done = convert(str(path), tmp_path / "out")
    assert (done.format, done.exact) == ("diffusers", True) and same(path, tmp_path / "out")
    assert diffusers_opens(tmp_path / "out").unet.config.in_channels == channels


@pytest.mark.parametrize(
    ("choices", "answers"),
    [
        ({}, {"steps": 4000, "rescale": True}),  # the network is told time steps that diffusers would not tell it
        ({"resample": "pool"}, {}),  # no UNet2DModel
    ],
)
def test_what_diffusers_cannot_say_becomes_a_farfield_model(guided, tmp_path, choices, answers):
    source = guided(answers={**ANSWERS, **answers}, **choices)
    done = convert(str(source), tmp_path / "out")
    assert done.format == "farfield" and same(source, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == ["model.json", "training.json", "weights.safetensors"]
    with pytest.raises(FarfieldError, match="use --format farfield"):
        convert(str(source), tmp_path / "other", format="diffusers")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("plan", "label"),
    [
        ({}, None),
        ({"kind": "ncsnpp", "family": "ve"}, None),
        ({"kind": "adm", "family": "iddpm", "classes": 5}, 3),
        ({"family": "vp", "levels": {"beta_d": 15.0}}, None),
        ({"family": "edm", "sigma_data": 1.0, "levels": {"sigma_max": 50.0}}, None),
        ({"kind": "unet2d", "family": "edm"}, None),
    ],
)
def test_farfields_own_models_are_carried_over(native, tmp_path, plan, label):
    source = native(**plan)
    done = convert(str(source), tmp_path / "out")
    assert done.format == "farfield" and same(source, tmp_path / "out", label)
    told = [json.loads((p / "model.json").read_text()) for p in (source, tmp_path / "out")]
    assert {k: v for k, v in told[1].items() if k in told[0]} == told[0]


@pytest.mark.parametrize("family", ["ddpm", "v", "iddpm"])
@pytest.mark.parametrize("format", ["auto", "farfield"])
def test_a_unet2d_of_time_steps_is_written_either_way(native, tmp_path, family, format):
    source = native(kind="unet2d", family=family)
    done = convert(str(source), tmp_path / "out", format=format)
    assert done.format == ("diffusers" if format == "auto" else "farfield") and same(source, tmp_path / "out")
    if format == "auto":
        diffusers_opens(tmp_path / "out")


@pytest.mark.parametrize(
    "changes", [{}, {"_class_name": "PNDMScheduler", "skip_prk_steps": True}, {"rescale_betas_zero_snr": True}]
)
def test_a_pipeline_is_written_as_one_that_samples(tmp_path, changes):
    """Another scheduler of the same levels becomes a DDPMScheduler, which is what a DDPMPipeline steps with."""
    source = make_model(tmp_path / "m")
    path = source / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    convert(str(source), tmp_path / "out")
    assert same(source, tmp_path / "out")
    assert type(diffusers_opens(tmp_path / "out").scheduler).__name__ == "DDPMScheduler"


@pytest.mark.parametrize(("dtype", "kept"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")])
def test_files_in_half_precision_stay_so(guided, tmp_path, dtype, kept):
    source = guided(dtype=dtype)
    done = convert(str(source), tmp_path / "out")
    assert (done.dtype, done.exact) == (kept, True) and same(source, tmp_path / "out")
    weights = tmp_path / "out/unet/diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size < 0.6 * source.stat().st_size + 2e6


def test_a_file_of_two_precisions_loses_neither(guided, tmp_path):
    source = guided()
    state = torch.load(source, weights_only=True)
    torch.save({k: v.half() if "blocks" in k else v for k, v in state.items()}, source)
    assert convert(str(source), tmp_path / "out").dtype == "float32" and same(source, tmp_path / "out")


@pytest.mark.parametrize("flag", ["--float16", "--half"])  # its former spelling
def test_half_rounds_the_weights_and_says_so(guided, tmp_path, flag):
    source = guided()
    said = farfield("convert", source, tmp_path / "out", flag)
    assert "float16, weights rounded" in said.out
    first, second = (load_denoiser(str(p)).network.state_dict() for p in (source, tmp_path / "out"))
    assert all(torch.equal(first[name].half().float(), second[name]) for name in first)
    state = torch.load(source, weights_only=True)
    state["out.2.bias"][0] = 1e5
    torch.save(state, source)
    with pytest.raises(FarfieldError, match=r"1e\+05 does not fit into float16"):
        convert(str(source), tmp_path / "out", float16=True)


def test_the_folder_says_where_it_came_from(guided, tmp_path):
    import hashlib

    source = guided()
    done = json.loads(farfield("convert", source, tmp_path / "out", "--set", "schedule=linear", "--json").out)
    assert done == {
        "out": str(tmp_path / "out"),
        "format": "diffusers",
        "dtype": "float32",
        "exact": True,
        "from": str(source),
    }
    told = json.loads((tmp_path / "out/training.json").read_text())
    assert told["command"] == "convert" and told["source"] == "model.pt" and told["family"] == "guided-diffusion"
    assert told["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert told["answers"] == {**ANSWERS, "schedule": "linear"} and told["licence"] is None
    assert {"what": "schedule", "value": "linear", "why": "as answered"} in told["findings"]
    scheduler = json.loads((tmp_path / "out/scheduler/scheduler_config.json").read_text())
    assert scheduler["beta_schedule"] == "linear"


def test_open_questions_are_not_guessed(guided, tmp_path):
    said = farfield("convert", guided(answers={}), tmp_path / "out")
    assert said.code == 2 and "does not say everything" in said.err and not (tmp_path / "out").exists()


def test_the_same_command_again_gives_the_same_bytes(guided, tmp_path):
    source = guided()
    convert(str(source), tmp_path / "out")
    before = contents(tmp_path / "out")
    convert(str(source), tmp_path / "out", format="farfield")
    assert "model.json" in contents(tmp_path / "out")
    convert(str(source), tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_nothing_else_is_overwritten(guided, native, tmp_path):
    source = str(guided())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    (tmp_path / "file").write_text("x")
    convert(source, tmp_path / "touched")
    (tmp_path / "touched/notes.txt").write_text("mine")
    trained = native()
    (trained / "training.json").write_text('{"command": "train"}')
    for place in (tmp_path / "mine", tmp_path / "file", tmp_path / "touched", trained):
        before = contents(place) if place.is_dir() else place.read_text()
        with pytest.raises(FarfieldError, match="there already"):
            convert(source, place)
        assert (contents(place) if place.is_dir() else place.read_text()) == before
    with pytest.raises(FarfieldError, match="is the model itself"):
        convert(str(tmp_path / "touched"), (tmp_path / "touched/notes.txt").unlink() or tmp_path / "touched")
    (tmp_path / "empty").mkdir()
    convert(source, tmp_path / "empty")


def test_what_has_no_network_of_its_own_is_refused(tmp_path):
    assert "no network" in farfield("convert", "empirical:digits", tmp_path / "out").err
    assert (
        "expected one of auto, farfield, diffusers"
        in farfield("convert", "cifar10-32", tmp_path / "out", "--format", "x").err
    )
    assert "a folder says everything" in farfield("convert", "cifar10-32", tmp_path / "out", "--set", "size=32").err
