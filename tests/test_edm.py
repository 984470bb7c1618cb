"""EDM's pickles: the denoiser in one is that of table 1 of arXiv 2206.00364, whatever the architecture; nothing else passes."""

import copy
import math

import pytest
import torch
from edm_files import (
    EasyDict,
    Saved,
    levels,
    module_state,
    saved_model,
    write_pickle,
    write_snapshot,
    write_training_state,
)
from tiny import farfield
from torch import nn
from torch.nn import functional

from farfield.checkpoints.edm_arguments import configuration, preconditioning
from farfield.checkpoints.foreign import keep_answers, open_checkpoint
from farfield.checkpoints.load import load_denoiser
from farfield.checkpoints.persistent import Module
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config, network_config
from farfield.networks.layers import Block

pytestmark = pytest.mark.usefixtures("without_the_page")

SONG = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": ()}
ADM = {**SONG, "width": 64}


def tiny(kind="ddpmpp", shape=(3, 8, 8), title="EDMPrecond", seed=0, classes=0, augment=0, **others):
    """A configuration, and a network of it with random weights everywhere."""
    choices = ADM if kind == "adm" else SONG
    plain = network_config(kind, shape, **choices, classes=classes, augment=augment)
    config = {**plain, "attn_resolutions": [4], **others}
    if title == "iDDPMPrecond":
        config["out_channels"] = 2 * shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = from_config(config).eval()
        for p in network.parameters():
            p.data.normal_(0, 0.1)
    return config, network


def table_1(title, network, x, sigma, label=None, **own):
    """The denoiser, one row of the table for each class: c_skip x + c_out F(c_in x, c_noise)."""
    s = sigma.reshape(-1, 1, 1, 1)
    skip = 1
    if title == "VPPrecond":
        depth, least, steps = own.get("beta_d", 19.9), own.get("beta_min", 0.1), own.get("M", 1000)
        time = ((least**2 + 2 * depth * (1 + sigma**2).log()).sqrt() - least) / depth
        out, within, noise = -s, 1 / (s**2 + 1).sqrt(), (steps - 1) * time
    elif title == "VEPrecond":
        out, within, noise = s, 1, (sigma / 2).log()
    elif title == "iDDPMPrecond":
        u = levels(own.get("M", 1000), own.get("C_1", 0.001), own.get("C_2", 0.008))
        nearest = (sigma[:, None] - u).abs().argmin(1)
        out, within, noise = -s, 1 / (s**2 + 1).sqrt(), own.get("M", 1000) - 1 - nearest.double()
    else:
        d = own.get("sigma_data", 0.5)
        skip, out, within = d**2 / (s**2 + d**2), s * d / (s**2 + d**2).sqrt(), 1 / (s**2 + d**2).sqrt()
        noise = sigma.log() / 4
    rows = None if label is None else torch.full((len(x),), label)
    return skip * x + out * network(within * x, noise, rows)[:, : x.shape[1]]


def check(path, title, network, label=None, name=None, **own):
    """The file's denoiser is the network's in float64."""
    denoiser = load_denoiser(name or str(path), dtype=torch.float64, label=label)
    schedule = denoiser.schedule
    sigma = schedule.sigmas(3).flip(0) if title == "iDDPMPrecond" else torch.tensor([0.03, 0.4, 2.0, 9.0]).double()
    g = torch.Generator().manual_seed(1)
    x = torch.randn(len(sigma), *denoiser.shape, generator=g, dtype=torch.float64)
    x = x * (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1)
    want = table_1(title, copy.deepcopy(network).double(), x, sigma, label, **own)
    # the network's share of the answer, so that x itself cannot hide it
    torch.testing.assert_close((denoiser(x, sigma) - x) / sigma[:, None, None, None],
                               (want - x) / sigma[:, None, None, None], rtol=1e-9, atol=1e-9)  # fmt: skip
    return denoiser


ALL = ("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond")
CASES = [
    *((title, kind, {}, {}) for title in ALL for kind in ("ddpmpp", "ncsnpp", "adm")),
    *((title, "ddpmpp", {"classes": 3, "augment": 9, "shape": (1, 8, 8)}, {}) for title in ALL),
    ("EDMPrecond", "adm", {"classes": 3, "augment": 9, "shape": (4, 8, 8)}, {"sigma_data": 0.3, "sigma_max": 40.0}),
    ("EDMPrecond", "ncsnpp", {"channel_mult": [3, 1, 2], "shape": (2, 12, 12), "attn_resolutions": [12, 3]}, {}),
    ("EDMPrecond", "ddpmpp", {"encoder_type": "skip", "decoder_type": "skip", "resample_filter": [1, 3, 3, 1]}, {}),
    ("VEPrecond", "ncsnpp", {"decoder_type": "skip", "resample_filter": [1, 5, 10, 10, 5, 1]}, {"sigma_min": 0.01}),
    ("VPPrecond", "ddpmpp", {"channel_mult_emb": 2, "num_blocks": 2, "label_dropout": 0.1, "classes": 2},
     {"beta_d": 10.0, "beta_min": 0.2, "M": 500, "epsilon_t": 1e-3}),
    ("iDDPMPrecond", "adm", {}, {"M": 50, "C_1": 0.01, "C_2": 0.02}),
]  # fmt: skip


@pytest.mark.parametrize(("title", "kind", "choices", "own"), CASES)
def test_the_denoiser_in_a_file_is_that_of_the_table(tmp_path, title, kind, choices, own):
    config, network = tiny(kind, title=title, **choices)
    classes = choices.get("classes", 0)
    path = write_snapshot(tmp_path / "m.pkl", saved_model(title, network, config, labels=classes, **own))
    label = classes - 1 if classes else None
    check(path, title, network, label, **own)
    found = open_checkpoint(path)
    assert found.family == "edm" and not found.questions and found.plan.classes == classes
    assert found.parameters == sum(p.numel() for p in network.parameters()) and found.dtype == torch.float32


@pytest.mark.parametrize(
    ("title", "own", "bounds"),
    [
        ("EDMPrecond", {}, (0.002, 80)),
        ("EDMPrecond", {"sigma_min": 0, "sigma_max": math.inf}, (0.002, 80)),
        ("EDMPrecond", {"sigma_min": 0.01, "sigma_max": 50}, (0.01, 50)),
        ("VEPrecond", {}, (0.02, 100)),
        ("VEPrecond", {"sigma_min": 0.01, "sigma_max": 348}, (0.01, 348)),
        ("VPPrecond", {}, (math.expm1(19.9e-10 / 2 + 1e-6) ** 0.5, math.expm1(19.9 / 2 + 0.1) ** 0.5)),
        ("VPPrecond", {"epsilon_t": 1e-2, "beta_d": 4}, (math.expm1(4e-4 / 2 + 1e-3) ** 0.5, math.expm1(2.1) ** 0.5)),
        ("iDDPMPrecond", {"M": 40}, (float(levels(40)[39]), float(levels(40)[0]))),
    ],
)
def test_the_levels_are_those_of_its_arguments(tmp_path, title, own, bounds):
    config, network = tiny(title=title)
    path = write_snapshot(tmp_path / "m.pkl", saved_model(title, network, config, **own))
    schedule = load_denoiser(str(path)).schedule
    assert (schedule.sigma_min, schedule.sigma_max) == pytest.approx(bounds, rel=1e-9)


def test_which_network_of_a_file(tmp_path):
    config, network = tiny()
    _, other = tiny(seed=1)
    ema, net = (saved_model("EDMPrecond", each, config) for each in (network, other))
    both = write_snapshot(tmp_path / "both.pkl", ema, net=net)
    check(both, "EDMPrecond", network)
    check(both, "EDMPrecond", other, name=f"{both}@net")
    check(write_training_state(tmp_path / "state.pt", net), "EDMPrecond", other)
    for name, root in (("bare.pkl", ema), ("easy.pkl", EasyDict(ema=ema))):  # which says nothing of a training
        keep_answers(tmp_path / name, {"kind": "denoiser"})
        check(write_pickle(tmp_path / name, root), "EDMPrecond", network)
    with pytest.raises(FarfieldError, match=r"no network 'raw'; it holds ema \(EDMPrecond\), loss_fn \(EDMLoss\), net"):
        open_checkpoint(both, part="raw")
    with pytest.raises(FarfieldError, match="found class EDMLoss, expected one of EDMPrecond"):
        open_checkpoint(both, part="loss_fn")


def test_arguments_by_their_places(tmp_path):
    config, network = tiny(classes=3)
    model = saved_model("VPPrecond", network, config, labels=3)
    inner = model.state["_modules"]["model"].state
    names = [name for name in config if name != "kind"]
    inner["_init_args"], inner["_init_kwargs"] = tuple(config[n] for n in names[:5]), {n: config[n] for n in names[5:]}
    for name in ("img_resolution", "img_channels", "label_dim", "use_fp16"):  # only its arguments are left to say them
        del model.state[name]
    model.state["_init_args"] = (8, 3, 3, True, 10.0)
    model.state["_init_kwargs"] = {"M": 500, "model_type": "SongUNet"}
    path = write_snapshot(tmp_path / "m.pkl", model)
    check(path, "VPPrecond", network, 1, beta_d=10.0, M=500)
    assert {f.what: f.value for f in open_checkpoint(path).findings}["half precision"] is True


def test_an_attribute_that_was_changed_later_is_what_counts(tmp_path):
    config, network = tiny()
    model = saved_model("EDMPrecond", network, config, sigma_data=0.5)
    model.state["sigma_data"] = 0.25
    check(write_snapshot(tmp_path / "m.pkl", model), "EDMPrecond", network, sigma_data=0.25)


def test_half_precision_is_widened(tmp_path):
    config, network = tiny()
    path = write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", network.half(), config))
    assert open_checkpoint(path).dtype == torch.float16
    check(path, "EDMPrecond", network)


def test_a_narrow_adm_has_no_attention(tmp_path):
    """Where the published code has fewer channels than a head, its blocks have none at all."""
    config = network_config("adm", (3, 8, 8), width=32, multipliers=(1, 2), blocks=1, attention=(8, 4))
    network = from_config(config).eval()
    for block in network.modules():
        if isinstance(block, Block) and block.norm1.weight.numel() < 64 and block.heads:
            del block.norm2, block.qkv, block.proj
            block.heads = 0
    for p in network.parameters():
        p.data.normal_(0, 0.1)
    path = write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", network, config))
    check(path, "EDMPrecond", network)
    assert open_checkpoint(path).parameters == sum(p.numel() for p in network.parameters())


def test_what_is_found_is_said(tmp_path):
    config, network = tiny(augment=9, dropout=0.13)
    found = open_checkpoint(write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", network, config))).findings
    said = {f.what: f.value for f in found}
    assert said == {"class": "EDMPrecond", "part": "ema", "network": "SongUNet", "dropout": 0.13, "augmentation": 9}


def test_the_source_in_a_file_is_not_run(tmp_path):
    config, network = tiny()
    model = saved_model("EDMPrecond", network, config)
    model.source = model.state["_modules"]["model"].source = f"open({str(tmp_path / 'ran')!r}, 'w')"
    check(write_snapshot(tmp_path / "m.pkl", model), "EDMPrecond", network)
    assert not (tmp_path / "ran").exists()


def outer(name, value):
    def change(model):
        model.state["_init_kwargs"].pop(name, None)
        model.state[name] = value

    return change


def inner(name, value):
    return lambda model: model.state["_modules"]["model"].state["_init_kwargs"].update({name: value})


def weight(place, name, value):
    def change(model):
        state = model.state["_modules"]["model"].state
        for part in place:
            found = state["_modules"][part]
            state = found.state if isinstance(found, Saved) else found.__dict__
        state["_parameters"][name] = value

    return change


def twice(model):
    parts = model.state["_modules"]["model"].state["_modules"]
    parts["map_layer1"] = parts["map_layer0"]


def deep(model):
    state = model.state["_modules"]["model"].state
    for _ in range(4):
        inside = Saved("Linear", module_state())
        state["_modules"]["inner" * 12] = inside
        state = inside.state


def many(model):
    one = nn.Parameter(torch.ones(1))
    model.state["_modules"]["model"].state["_parameters"].update({f"p{i}": one for i in range(10_001)})


def titled(title):
    return lambda model: setattr(model, "title", title)


def network_titled(title):
    return lambda model: setattr(model.state["_modules"]["model"], "title", title)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (titled("Precond"), "Precond was made with augment_dim"),
        (titled("Generator"), "of a GAN, which denoises nothing"),
        (network_titled("UNet"), "found a network of class UNet, expected SongUNet or DhariwalUNet"),
        (network_titled("DhariwalUNet"), "tensors are not those of the network"),
        (outer("img_resolution", -8), "img_resolution: expected a whole number from 1 to 16384, found -8"),
        (outer("img_resolution", 16), r"expected \[16, 3, 3, 0\] to fit what is around it"),
        (outer("img_channels", 4), r"\[8, 3, 3, 0\], expected \[8, 4, 4, 0\]"),
        (outer("label_dim", True), "label_dim: expected a whole number from 0 to 1e.06, found True"),
        (outer("sigma_data", "0.5"), "sigma_data: expected a number from 1e-06 to 1e.06, found '0.5'"),
        (outer("sigma_data", math.nan), "sigma_data: expected a number .* found nan"),
        (outer("sigma_min", 200), "levels from 200 to 80: expected 0 < sigma_min < sigma_max"),
        (lambda model: model.state["_init_kwargs"].update(pfgmpp=True), "made with pfgmpp, which the published class"),
        (lambda model: model.state.update(_init_args=(8,)), "made with other arguments"),
        (lambda model: model.state.update(_modules={}), "model: expected a module, found NoneType"),
        (lambda model: model.state.clear(), "ema: a module .EDMPrecond. without state"),
        (inner("model_channels", 2**40), "model_channels: expected a whole number from 4 to 8192, found 1099511627776"),
        (inner("model_channels", 9), "model_channels 9: expected an even number"),
        (inner("channel_mult", [2] * 40), "channel_mult: expected a list of 1 to 12 numbers"),
        (inner("channel_mult", [1, 1.5]), "channel_mult: expected a whole number .* found 1.5"),
        (inner("num_blocks", 16), r"tensors; expected more in 16 blocks at each level of 8, 16 channels"),
        (inner("attn_resolutions", 4), "attn_resolutions: expected a list of 0 to 64 numbers, found 4"),
        (inner("attn_resolutions", [8]), "tensors are not those of the network that it says it is"),
        (inner("resample_filter", [1, 2, 1]), "an even number of taps"),
        (inner("embedding_type", {"a": 1}), "embedding_type: expected a name, found a value of type dict"),
        (inner("embedding_type", "sine"), "embedding type 'sine'"),
        (inner("dropout", 2), "dropout: expected a number from 0 to 1, found 2"),
        (inner("depth", 3), "SongUNet was made with depth"),
        (weight((), "more", nn.Parameter(torch.ones(2))), r"more is \(2,\), expected none of that name"),
        (weight(("map_layer0",), "bias", None), r"map_layer0.bias is missing, expected \(32,\)"),
        (
            weight(("map_layer0",), "bias", nn.Parameter(torch.ones(31))),
            r"map_layer0.bias is \(31,\), expected \(32,\)",
        ),
        (weight(("enc", "8x8_conv"), "bias", torch.ones(8, dtype=torch.int64)), "expected a tensor of floating-point"),
        (weight(("enc", "8x8_conv"), "bias", "weights"), "enc.8x8_conv.bias: expected a tensor"),
        (twice, "a module that is there twice, or too deep"),
        (deep, "innerinner.*: a module that is there twice, or too deep"),
        (many, "more than 10000 tensors or modules"),
    ],
)
def test_what_is_not_an_edm_network_is_refused(tmp_path, change, said):
    config, network = tiny()
    model = saved_model("EDMPrecond", network, config)
    change(model)
    path = write_snapshot(tmp_path / "m.pkl", model)
    with pytest.raises(FarfieldError, match=said) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 500 + len(str(path))


def test_levels_of_another_schedule_are_refused(tmp_path):
    config, network = tiny(title="iDDPMPrecond")
    for u, said in ((levels(1000, c2=0.016).float(), "of a step away"), (None, "expected the 1001 levels u")):
        model = saved_model("iDDPMPrecond", network, config)
        model.state["_buffers"]["u"] = u
        with pytest.raises(FarfieldError, match=said):
            open_checkpoint(write_snapshot(tmp_path / "m.pkl", model))


def test_one_tensor_cannot_be_all_the_weights_of_a_large_network(tmp_path):
    """Every name of it refers to the same numbers: the file stays small, but loading it would not."""
    config, network = tiny(shape=(3, 8, 8), model_channels=64)
    shared = {}
    for module in network.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = shared.setdefault(p.shape, p)
    path = write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", network, config))
    assert path.stat().st_size < 4 * sum(p.numel() for p in network.state_dict().values())
    with pytest.raises(FarfieldError, match="larger than the file"):
        open_checkpoint(path)


DDPMPP = {"model_type": "SongUNet", "embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard",
          "channel_mult_noise": 1, "resample_filter": [1, 1], "model_channels": 128, "channel_mult": [2, 2, 2],
          "augment_dim": 9, "dropout": 0.13}  # fmt: skip
NCSNPP = {**DDPMPP, "embedding_type": "fourier", "encoder_type": "residual", "channel_mult_noise": 2,
          "resample_filter": [1, 3, 3, 1]}  # fmt: skip
IMAGENET = {"model_type": "DhariwalUNet", "model_channels": 192, "channel_mult": [1, 2, 3, 4], "dropout": 0.1}
FACES = {"channel_mult": [1, 2, 2, 2], "dropout": 0.05}


@pytest.mark.parametrize(
    ("title", "side", "classes", "given", "count"),
    [
        ("EDMPrecond", 32, 0, DDPMPP, 55_733_891),  # CIFAR-10, unconditional, vp
        ("EDMPrecond", 32, 0, NCSNPP, 56_397_827),
        ("EDMPrecond", 32, 10, DDPMPP, 55_735_299),
        ("EDMPrecond", 32, 10, NCSNPP, 56_400_643),
        ("EDMPrecond", 64, 0, {**DDPMPP, **FACES}, 61_805_571),  # FFHQ and AFHQv2
        ("EDMPrecond", 64, 0, {**NCSNPP, **FACES}, 62_761_091),
        ("EDMPrecond", 64, 1000, IMAGENET, 295_899_267),
        ("VPPrecond", 32, 0, {**DDPMPP, "augment_dim": 0}, 55_732_739),  # the baselines
        ("VEPrecond", 32, 0, {**NCSNPP, "augment_dim": 0}, 56_395_523),
        ("iDDPMPrecond", 64, 1000, IMAGENET, 295_904_454),
    ],
)
def test_the_published_networks_have_the_published_counts(title, side, classes, given, count):
    """From the arguments that the published recipes give; the counts are those that the published code makes of them."""
    around = {"img_resolution": side, "img_channels": 3, "label_dim": classes, "use_fp16": False}
    told = preconditioning(Module(title, {"_init_args": (), "_init_kwargs": {**around, **given}}))
    out = 6 if title == "iDDPMPrecond" else 3
    network_given = {"img_resolution": side, "in_channels": 3, "out_channels": out, "label_dim": classes}
    network_given |= {name: value for name, value in given.items() if name != "model_type"}
    config = configuration(Module(given["model_type"], {"_init_args": (), "_init_kwargs": network_given}), told)
    with torch.device("meta"):
        network = from_config(config)
    assert sum(p.numel() for p in network.parameters()) == count


def test_a_label_is_a_row_of_the_published_map(tmp_path):
    """One-hot rows times √classes through ``map_label``: another label, another answer, and -1 none of them."""
    config, network = tiny(classes=3)
    path = write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", network, config, labels=3))
    denoiser = load_denoiser(str(path), label=2)
    x, sigma = torch.randn(1, 3, 8, 8), torch.tensor(0.7)
    told = []
    network.map_layer0.register_forward_pre_hook(lambda _, given: told.append(given[0]))
    network(x, sigma[None], torch.tensor([2])), network(x, sigma[None], torch.tensor([-1]))
    want = functional.one_hot(torch.tensor([2]), 3).float() @ network.map_label.weight.T * 3**0.5
    torch.testing.assert_close(told[0] - told[1], want, rtol=1e-4, atol=1e-5)
    assert not torch.equal(denoiser(x, sigma), load_denoiser(str(path), label=1)(x, sigma))
    with pytest.raises(FarfieldError, match="expected a label from 0 to 2, found None"):
        load_denoiser(str(path))
    with pytest.raises(FarfieldError, match="from 0 to 2, found -1; it was trained without label dropout"):
        load_denoiser(str(path), label=-1)


def test_a_model_trained_with_label_dropout_is_read_without_a_class_too(tmp_path):
    """Label -1 is the answer to a row of zeros: the unconditional reading of the same network, by option too."""
    config, network = tiny(classes=3, label_dropout=0.1)
    path = write_snapshot(tmp_path / "m.pkl", saved_model("EDMPrecond", network, config, labels=3))
    check(path, "EDMPrecond", network, -1)
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor(0.7)
    none = load_denoiser(str(path), label=-1)
    zeros = network.eval()(x / (0.7**2 + 0.25) ** 0.5, torch.tensor([0.7]).log() / 4, None)
    torch.testing.assert_close(none.network(x / (0.7**2 + 0.25) ** 0.5, torch.tensor([0.7]).log() / 4), zeros)
    assert not torch.equal(none(x, sigma), load_denoiser(str(path), label=0)(x, sigma))
    with pytest.raises(FarfieldError, match="from 0 to 2, or -1 for none of them, found -2"):
        load_denoiser(str(path), label=-2)
    made = farfield("generate", path, "--seeds", "0", "--steps", "2", "--label", "-1", "-o", tmp_path / "run")
    assert made.code == 0, made.err
    assert "label -1" in farfield("inspect", path).out
