"""EDM2's pickles: D equal to the paper's equations, latents as the file's encoder makes them, nothing else taken for one."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from edm2_files import Flags, denoised, pixels, plan, saved, snapshot, stability, weights
from edm_files import Saved, write_pickle
from tiny import farfield
from torch.nn import functional
from vae_files import make_vae

from farfield.checkpoints.edm2_arguments import configuration, preconditioning
from farfield.checkpoints.foreign import open_checkpoint
from farfield.checkpoints.load import load_denoiser, model_digest
from farfield.checkpoints.persistent import Module
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config
from farfield.networks.magnitude_unet import UnitWeight, beside, blend, swish, unit

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
CASES = {
    "as published": Flags(),
    "classes, other balances": Flags(
        16, 4, 5, 8, (1, 2, 3), 2, 4, 2, (16, 8), 8, 0.4, 0.6, 0.2, 0.35, 1.5, (1, 3, 3, 1), 0.7
    ),
    "grey, one level, no bound": Flags(4, 1, 0, 16, (1,), blocks=2, attention=(), per_head=4, clip=None),
    "narrower than a head": Flags(8, 2, 3, 8, (1, 2), attention=(8, 4), per_head=12),
}
LATENT = Flags(channels=4)


def written(folder, flags, state=None, encoder=None, name="network-snapshot-0001-0.100.pkl", **how):
    encoder = stability() if flags.channels == 4 and encoder is None else encoder
    return write_pickle(
        folder / name, snapshot(saved(flags, weights(flags) if state is None else state, **how), encoder)
    )


@pytest.mark.parametrize("case", CASES)
def test_the_denoiser_is_that_of_the_equations(case, tmp_path):
    flags = CASES[case]
    state = weights(flags, dtype=torch.float16 if "other" in case else torch.float32)
    path = written(tmp_path, flags, state, pixels())
    found = open_checkpoint(path)
    assert found.family == "edm2" and found.questions == () and found.plan.classes == flags.classes
    assert found.parameters == sum(v.numel() for v in state.values()) and found.dtype == state["out_gain"].dtype
    g = torch.Generator().manual_seed(1)
    for label in (0, 2, -1) if flags.classes else (None,):
        answers = {"null": "yes"} if label == -1 else {}
        model = open_checkpoint(path, answers).denoiser(dtype=F64, label=label)
        assert (model.schedule.sigma_min, model.schedule.sigma_max) == (0.002, 80)
        rows = torch.zeros(2, flags.classes)
        if label is not None and label >= 0:
            rows = functional.one_hot(torch.tensor([label, label]), flags.classes)
        for s in (0.002, 0.3, 2.0, 79.0):
            sigma = torch.tensor(s, dtype=F64)
            x = torch.rand(2, *model.shape, generator=g, dtype=F64) * 2 - 1
            x = x + sigma * torch.randn(2, *model.shape, generator=g, dtype=F64)
            want = denoised(flags, state, x, sigma, rows)
            # the network's share of the answer, so that x itself cannot hide it
            share = s * flags.sigma_data / math.sqrt(s**2 + flags.sigma_data**2)
            assert float((model(x, sigma) - want).abs().max()) < 1e-8 * share


def test_in_float32_it_is_the_same_to_rounding(tmp_path):
    flags = CASES["classes, other balances"]
    state = weights(flags)
    model = load_denoiser(str(written(tmp_path, flags, state, pixels())), label=1)
    rows = functional.one_hot(torch.tensor([1, 1]), flags.classes)
    for s in (0.01, 1.0, 40.0):
        sigma = torch.tensor(s)
        x = torch.randn(2, *model.shape) * (1 + sigma)
        away = model(x, sigma) - denoised(flags, state, x.double(), sigma, rows)
        assert float(away.abs().max()) < 1e-5 * (1 + s)


def test_no_class_is_known_where_none_was_left_out(tmp_path):
    path = written(tmp_path, replace(Flags(), classes=3))
    told = {f.what: f.value for f in open_checkpoint(path).findings}
    assert told["null"] is False
    with pytest.raises(FarfieldError, match="from 0 to 2, found -1; it was trained without label dropout"):
        load_denoiser(str(path), label=-1)
    with pytest.raises(FarfieldError, match="expected a label from 0 to 2, found None"):
        load_denoiser(str(path))


@torch.no_grad()
def test_latents_are_those_of_the_files_encoder(tmp_path):
    """Of pictures in [0, 1], times the scale of each channel, plus its bias; and back."""
    from diffusers import AutoencoderKL

    vae = make_vae(tmp_path / "vae")
    scale, bias = np.float32([0.5, 2, 3, 0.25]), np.float32([0.1, -0.7, 0.3, 0])
    path = written(tmp_path, LATENT, encoder=stability(scale, bias))
    (question,) = open_checkpoint(path).questions
    assert question.name == "codec" and "stabilityai/sd-vae-ft-mse" in question.why
    shown = farfield("inspect", path, "--set", f"codec={vae}")
    assert shown.code == 0 and "(0.5, 2, 3, 0.25) times" in shown.out, shown.err
    model = load_denoiser(str(path), dtype=F64)
    assert (model.shape, model.image_shape) == ((4, 8, 8), (3, 16, 16))
    pictures = torch.rand(2, 3, 16, 16, dtype=F64) * 2 - 1
    coder = AutoencoderKL.from_pretrained(vae).double()
    mean = coder.encode((pictures + 1) / 2).latent_dist.mean
    want = mean * torch.tensor(scale).double()[:, None, None] + torch.tensor(bias).double()[:, None, None]
    torch.testing.assert_close(model.encode(pictures), want)
    shown_back = coder.decode(
        (want - torch.tensor(bias).double()[:, None, None]) / torch.tensor(scale).double()[:, None, None]
    )
    torch.testing.assert_close(model.decode(want), 2 * shown_back.sample - 1)
    before = model_digest(str(path))
    (Path(vae) / "config.json").write_text((Path(vae) / "config.json").read_text() + " ")
    assert model_digest(str(path)) != before
    made = farfield("generate", path, "--seeds", "0", "--steps", "2", "-o", tmp_path / "run")
    assert made.code == 0, made.err


@torch.no_grad()
def test_the_published_constants_are_taken_where_the_file_has_none(tmp_path):
    vae = make_vae(tmp_path / "vae")
    state = weights(LATENT)
    root = snapshot(saved(LATENT, state))
    del root["encoder"]
    bare = open_checkpoint(write_pickle(tmp_path / "bare.pkl", root), {"codec": str(vae)})
    whole = open_checkpoint(written(tmp_path, LATENT, state), {"codec": str(vae)})
    pictures = torch.rand(1, 3, 16, 16, dtype=F64) * 2 - 1
    codes = [c.denoiser(dtype=F64).encode(pictures) for c in (bare, whole)]
    torch.testing.assert_close(*codes, rtol=1e-6, atol=1e-6)
    raw = torch.tensor([5.81, 3.25, 0.12, -2.15], dtype=F64)[:, None, None] + torch.zeros(1, 4, 8, 8, dtype=F64)
    codec = whole.denoiser(dtype=F64).codec
    code = torch.tensor(codec.scale, dtype=F64)[:, None, None] * (
        raw - torch.tensor(codec.shift, dtype=F64)[:, None, None]
    )
    assert float(code.abs().max()) < 1e-6  # the mean of all latents becomes 0
    assert any("no encoder is in the file" in f.why for f in bare.findings)


def test_the_encoder_tells_latents_from_pictures_and_not_the_channels(tmp_path):
    three, four = np.float32([1, 1, 1]), stability()
    path = written(tmp_path, Flags(), encoder=stability(three, three))
    assert [q.name for q in open_checkpoint(path).questions] == ["codec"]
    path = written(tmp_path, LATENT, encoder=pixels())
    assert open_checkpoint(path).questions == () and open_checkpoint(path).codec is None
    assert open_checkpoint(written(tmp_path, LATENT, encoder=four)).questions != ()


def test_latents_can_be_taken_as_they_are(tmp_path):
    model = open_checkpoint(written(tmp_path, LATENT), {"codec": "none"}).denoiser()
    assert model.codec is None and model.image_shape == (4, 8, 8)


def consistency(path):
    """Tuned from EDM2's networks (arXiv 2406.14548): the same classes, without the loss that is learned beside."""
    root = snapshot(saved(Flags(), weights(Flags()), logvar=False), pixels())
    return write_pickle(path, root), root


def test_a_consistency_model_of_the_same_classes_is_asked_about_or_refused(tmp_path):
    path, root = consistency(tmp_path / "network-snapshot-1.pkl")
    (question,) = open_checkpoint(path).questions
    assert question.name == "kind" and "consistency model" in question.ask
    with pytest.raises(FarfieldError, match="kind=denoiser"):
        load_denoiser(str(path))
    with pytest.raises(FarfieldError, match="one-step generator"):
        open_checkpoint(path, {"kind": "generator"})
    assert open_checkpoint(path, {"kind": "denoiser"}).denoiser().shape == (3, 8, 8)
    root["loss_fn"] = Saved("ECMLoss", {"P_mean": -1.1})
    with pytest.raises(FarfieldError, match="a consistency model"):
        open_checkpoint(write_pickle(path, root))


def test_without_its_training_it_is_asked_whether_it_denoises(tmp_path):
    path = write_pickle(tmp_path / "m.pkl", {"ema": saved(Flags(), weights(Flags()))})
    assert [q.name for q in open_checkpoint(path).questions] == ["kind"]
    named = write_pickle(tmp_path / "edm2-img64-s-1073741-0.075.pkl", {"ema": saved(Flags(), weights(Flags()))})
    assert open_checkpoint(named).questions == ()


def test_the_source_in_a_file_is_not_run(tmp_path):
    model = saved(Flags(), weights(Flags()))
    model.source = f"open({str(tmp_path / 'ran')!r}, 'w')"
    encoder = pixels()
    encoder.source = model.source
    load_denoiser(str(write_pickle(tmp_path / "m.pkl", snapshot(model, encoder))))
    assert not (tmp_path / "ran").exists()


def test_an_attribute_that_was_changed_later_is_what_counts(tmp_path):
    flags = replace(Flags(), sigma_data=0.25, concat_balance=0.7)
    state = weights(flags)
    model = saved(flags, state)
    model.state["_init_kwargs"]["sigma_data"] = 0.5
    model.state["_modules"]["unet"].state["_init_kwargs"]["concat_balance"] = 0.5
    found = load_denoiser(str(write_pickle(tmp_path / "m.pkl", snapshot(model))), dtype=F64)
    x, sigma = torch.randn(2, 3, 8, 8, dtype=F64), torch.tensor(0.7, dtype=F64)
    torch.testing.assert_close(found(x, sigma), denoised(flags, state, x, sigma))


def unet(name, value):
    return lambda model: model.state["_modules"]["unet"].state["_init_kwargs"].update({name: value})


def weight(name, value):
    return lambda model: model.state["_modules"]["unet"].state["_parameters"].update({name: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.state.update(_modules={}), "unet: expected a module, found NoneType"),
        (lambda m: m.state.update(img_resolution=-8), "img_resolution: expected a whole number"),
        (lambda m: m.state.update(img_resolution=16), r"\[8, 3, 0\], expected \[16, 3, 0\] to fit"),
        (lambda m: m.state.update(sigma_data=math.nan), "sigma_data: expected a number"),
        (lambda m: m.state["_init_kwargs"].update(depth=3), "Precond was made with depth"),
        (
            lambda m: setattr(m.state["_modules"]["unet"], "title", "SongUNet"),
            "a network of class SongUNet, expected UNet",
        ),
        (unet("dropout_res", 16), "UNet was made with dropout_res, which the published class"),
        (unet("model_channels", 2**40), "model_channels: expected a whole number"),
        (unet("channel_mult", [1] * 8), "expected more in 1 blocks"),
        (unet("channel_mult", [1, 2, 3]), "tensors are not those of the network"),
        (unet("num_blocks", 0), "num_blocks: expected a whole number from 1"),
        (unet("res_balance", 1.5), "res_balance: expected a number from 0 to 1, found 1.5"),
        (unet("clip_act", -1), "clip_act: expected a number"),
        (unet("channels_per_head", 5), "attention with 3 heads over 16 channels"),
        (unet("resample_filter", [1, 2, 1]), "an even number of taps"),
        (unet("attn_resolutions", []), "tensors are not those of the network"),
        (weight("more", torch.nn.Parameter(torch.ones(2))), r"more is \(2,\), expected none of that name"),
        (weight("out_gain", None), r"out_gain is missing, expected \(\)"),
    ],
)
def test_what_is_not_such_a_network_is_refused(change, said, tmp_path):
    model = saved(Flags(), weights(Flags()))
    change(model)
    path = write_pickle(tmp_path / "m.pkl", snapshot(model))
    with pytest.raises(FarfieldError, match=said) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (
            Saved("MyEncoder", {"a": 1}),
            "an encoder of class MyEncoder; expected StandardRGBEncoder or StabilityVAEEncoder",
        ),
        (stability(np.float32([1, 1, 1])), "expected scale, a number for each of 4 channels"),
        (stability(bias=np.float32([[1, 1, 1, 1]])), "expected bias, a number for each of 4 channels"),
        (stability([1.0] * 4), "expected scale"),
        (stability(np.float32([1, 0, 1, 1])), "expected positive numbers, and any"),
        (stability(bias=np.float32([1, math.nan, 1, 1])), "expected positive numbers, and any"),
        (Saved("StabilityVAEEncoder", {}), "encoder: a module .StabilityVAEEncoder. without state"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(encoder, said, tmp_path):
    with pytest.raises(FarfieldError, match=said):
        open_checkpoint(written(tmp_path, LATENT, encoder=encoder))


def test_an_autoencoder_of_that_name_alone_is_named(tmp_path):
    path = written(tmp_path, LATENT, encoder=stability(name="x; rm -rf /"))
    (question,) = open_checkpoint(path).questions
    assert "rm" not in question.why and "stabilityai/sd-vae-ft-mse" in question.why


@pytest.mark.parametrize(
    ("width", "channels", "classes", "millions"),
    [
        (128, 4, 1000, 124.713), (192, 4, 1000, 280.213), (256, 4, 1000, 497.808), (320, 4, 1000, 777.498),
        (384, 4, 1000, 1119.284), (448, 4, 1000, 1523.165), (192, 3, 1000, 280.209), (128, 4, 0, 124.201),
    ],
)  # fmt: skip
def test_the_published_networks_have_the_published_counts(width, channels, classes, millions):
    """XS, S, M, L, XL and XXL, of 64×64 latents or pixels; the counts are those that the published code makes of them."""
    around = {"img_resolution": 64, "img_channels": channels, "label_dim": classes}
    given = {**around, "model_channels": width, "dropout": 0.1}
    told = preconditioning(Module("Precond", {"_init_args": (), "_init_kwargs": {**given, "use_fp16": True}}))
    config = configuration(Module("UNet", {"_init_args": (), "_init_kwargs": given}), told)
    with torch.device("meta"):
        count = sum(p.numel() for p in from_config(config).parameters())
    assert count + 128 == pytest.approx(millions * 1e6, abs=500)  # 128 of the loss to be expected


def test_magnitudes_are_preserved():
    """What the network is made of keeps a magnitude of 1, as the paper asks: to the spread of so many random numbers."""
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4, 64, 16, 16, generator=g) for _ in range(2))
    layer = UnitWeight(64, 64, 3).eval()
    with torch.no_grad():
        layer.weight *= 7
        made = (swish(x), blend(x, y, 0.3), beside(x, y[:, :16], 0.4), unit(3 * x, 1), layer(x)[..., 1:-1, 1:-1])
    assert all(abs(float(m.square().mean().sqrt()) - 1) < 0.02 for m in made)


def test_in_training_the_weights_are_brought_to_unit_magnitude():
    layer = UnitWeight(6, 5, 3)
    with torch.no_grad():
        layer.weight *= 9
    before = copy.deepcopy(layer).eval()
    x = torch.randn(1, 6, 4, 4)
    torch.testing.assert_close(layer.train()(x), before(x), rtol=1e-3, atol=1e-3)
    sizes = layer.weight.detach().square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(sizes, torch.ones(5), rtol=1e-3, atol=1e-3)


def test_it_is_shown_converted_and_differentiated(tmp_path):
    path = written(tmp_path, CASES["as published"])
    shown = farfield("inspect", path)
    assert shown.code == 0 and "EDM2's U-Net: channels 8 · 16" in shown.out and "edm, sigma_data 0.5" in shown.out
    assert farfield("convert", path, tmp_path / "folder").code == 0
    models = [load_denoiser(str(place), dtype=F64) for place in (path, tmp_path / "folder")]
    x, sigma = torch.randn(2, 3, 8, 8, dtype=F64), torch.tensor(0.7, dtype=F64)
    assert torch.equal(*(model(x, sigma) for model in models))
    _, slope = torch.func.jvp(lambda x: models[0](x, sigma), (x,), (torch.ones_like(x),))
    secant = (models[0](x + 1e-6, sigma) - models[0](x - 1e-6, sigma)) / 2e-6
    torch.testing.assert_close(slope, secant, rtol=1e-4, atol=1e-6)


def test_which_network_of_a_file(tmp_path):
    one, other = weights(Flags(), 1), weights(Flags(), 2)
    root = snapshot(saved(Flags(), one), net=saved(Flags(), other))
    path = write_pickle(tmp_path / "both.pkl", root)
    x, sigma = torch.randn(2, 3, 8, 8, dtype=F64), torch.tensor(0.7, dtype=F64)
    for name, state in (("", one), ("@net", other)):
        torch.testing.assert_close(
            load_denoiser(f"{path}{name}", dtype=F64)(x, sigma), denoised(Flags(), state, x, sigma)
        )


def test_a_state_of_its_training_is_named(tmp_path):
    state = {f"unet.{name}": value for name, value in weights(Flags()).items()}
    torch.save({"net": state, "state": {"cur_nimg": 3}}, tmp_path / "training-state-1.pt")
    with pytest.raises(FarfieldError, match=r"EDM2 .*without its preconditioning.* give the pickle"):
        open_checkpoint(tmp_path / "training-state-1.pt")


def test_the_layout_here_is_that_of_the_network():
    for flags in CASES.values():
        around = {"img_resolution": flags.side, "in_channels": flags.channels, "label_dim": flags.classes}
        network = from_config({"kind": "edm2", **around, **flags.arguments()})
        assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == plan(flags).shapes
