"""The networks: published counts and names, closed forms of their parts, invariances of the whole."""

import json

import pytest
import torch
from torch.func import jvp, vjp
from torch.nn import functional

from farfield.core.error import FarfieldError
from farfield.networks.adm_unet import ADMUNet
from farfield.networks.build import KINDS, build_network, from_config, network_config
from farfield.networks.layers import Block, BlockStyle, Conv2d, Init, PositionalEmbedding, one_hot
from farfield.networks.mixer import Mixer
from farfield.networks.song_unet import SongUNet

SMALL = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
UNETS = tuple(kind for kind in KINDS if kind not in ("mixer", "dit"))
TOLD = ("ddpmpp", "ncsnpp", "adm")
"""Kinds that can be told of augmentation."""


def small(kind: str, shape=(3, 8, 8), **choices) -> torch.nn.Module:
    """A small network with random weights everywhere: a new one answers zero."""
    torch.manual_seed(0)
    network = build_network(kind, shape, **{**SMALL, **choices}).eval()
    for p in network.parameters():
        p.data.normal_(0, 0.2)
    return network


@pytest.mark.parametrize(
    ("kind", "side", "choices", "count"),
    [
        ("ddpmpp", 32, {"augment": 9}, 55_733_891),
        ("ncsnpp", 32, {"augment": 9}, 56_397_827),
        ("ddpmpp", 64, {"augment": 9}, 61_805_571),
        ("adm", 64, {"width": 192, "classes": 1000}, 295_899_267),
        ("unet2d", 32, {}, 35_746_307),
        ("unet2d", 256, {}, 113_673_219),
    ],
)
def test_the_defaults_are_the_published_networks(kind, side, choices, count):
    with torch.device("meta"):
        network = build_network(kind, (3, side, side), **choices)
    assert sum(p.numel() for p in network.parameters()) == count


def block(width, *, before=None, taps=False, project=False, attention=False, adaptive=False, told=32):
    """Names and shapes of a published residual block."""
    before = before or width
    shapes = {
        "norm0.weight": (before,),
        "norm0.bias": (before,),
        "conv0.weight": (width, before, 3, 3),
        "conv0.bias": (width,),
        "affine.weight": (width * (1 + adaptive), told),
        "affine.bias": (width * (1 + adaptive),),
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "conv1.weight": (width, width, 3, 3),
        "conv1.bias": (width,),
    }
    if taps:
        shapes |= {"conv0.resample_filter": (1, 1, taps, taps), "skip.resample_filter": (1, 1, taps, taps)}
    if project or before != width:
        shapes |= {"skip.weight": (width, before, 1, 1), "skip.bias": (width,)}
    if attention:
        shapes |= {"norm2.weight": (width,), "norm2.bias": (width,), "qkv.weight": (3 * width, width, 1, 1)}
        shapes |= {"qkv.bias": (3 * width,), "proj.weight": (width, width, 1, 1), "proj.bias": (width,)}
    return shapes


def published(blocks, others):
    found = {f"{name}.{part}": shape for name, parts in blocks.items() for part, shape in parts.items()}
    return found | others


def test_names_and_shapes_of_song_networks_are_the_published_ones():
    network = small("ncsnpp", classes=5, augment=9)
    want = published(
        {
            "enc.8x8_block0": block(8),
            "enc.4x4_down": block(8, taps=4, project=True),
            "enc.4x4_block0": block(16, before=8, attention=True),
            "dec.4x4_in0": block(16, attention=True),
            "dec.4x4_in1": block(16),
            "dec.4x4_block0": block(16, before=32),
            "dec.4x4_block1": block(16, before=24, attention=True),
            "dec.8x8_up": block(16, taps=4, project=True),
            "dec.8x8_block0": block(8, before=24),
            "dec.8x8_block1": block(8, before=16),
        },
        {
            "map_noise.freqs": (8,),
            "map_label.weight": (16, 5),
            "map_label.bias": (16,),
            "map_augment.weight": (16, 9),
            "map_layer0.weight": (32, 16),
            "map_layer0.bias": (32,),
            "map_layer1.weight": (32, 32),
            "map_layer1.bias": (32,),
            "enc.8x8_conv.weight": (8, 3, 3, 3),
            "enc.8x8_conv.bias": (8,),
            "enc.4x4_aux_residual.weight": (8, 3, 3, 3),
            "enc.4x4_aux_residual.bias": (8,),
            "enc.4x4_aux_residual.resample_filter": (1, 1, 4, 4),
            "dec.8x8_aux_norm.weight": (8,),
            "dec.8x8_aux_norm.bias": (8,),
            "dec.8x8_aux_conv.weight": (3, 8, 3, 3),
            "dec.8x8_aux_conv.bias": (3,),
        },
    )
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == want


def test_names_and_shapes_of_adm_are_the_published_ones():
    network = small("adm", classes=5, augment=9)
    want = published(
        {
            "enc.8x8_block0": block(8, adaptive=True),
            "enc.4x4_down": block(8, taps=2, adaptive=True),
            "enc.4x4_block0": block(16, before=8, attention=True, adaptive=True),
            "dec.4x4_in0": block(16, attention=True, adaptive=True),
            "dec.4x4_in1": block(16, adaptive=True),
            "dec.4x4_block0": block(16, before=32, attention=True, adaptive=True),
            "dec.4x4_block1": block(16, before=24, attention=True, adaptive=True),
            "dec.8x8_up": block(16, taps=2, adaptive=True),
            "dec.8x8_block0": block(8, before=24, adaptive=True),
            "dec.8x8_block1": block(8, before=16, adaptive=True),
        },
        {
            "map_label.weight": (32, 5),
            "map_augment.weight": (8, 9),
            "map_layer0.weight": (32, 8),
            "map_layer0.bias": (32,),
            "map_layer1.weight": (32, 32),
            "map_layer1.bias": (32,),
            "enc.8x8_conv.weight": (8, 3, 3, 3),
            "enc.8x8_conv.bias": (8,),
            "out_norm.weight": (8,),
            "out_norm.bias": (8,),
            "out_conv.weight": (3, 8, 3, 3),
            "out_conv.bias": (3,),
        },
    )
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == want


def test_skip_decoders_and_encoders_have_the_published_extra_parts():
    network = SongUNet(8, 3, 3, 0, 0, 8, (1, 1), encoder_type="skip", decoder_type="skip", num_blocks=1)
    extra = {name for name in network.state_dict() if "aux" in name}
    assert extra == {
        "enc.4x4_aux_down.resample_filter",
        "enc.4x4_aux_skip.weight",
        "enc.4x4_aux_skip.bias",
        "dec.8x8_aux_up.resample_filter",
        *(f"dec.{r}x{r}_aux_{p}.{w}" for r in (4, 8) for p in ("norm", "conv") for w in ("weight", "bias")),
    }
    x = torch.randn(2, 3, 8, 8)
    assert network(x, torch.zeros(2)).shape == x.shape


def test_new_networks_answer_nothing_and_learn():
    x, time = torch.randn(2, 3, 8, 8), torch.tensor([0.1, 0.9])
    for kind in KINDS:
        torch.manual_seed(0)
        network = build_network(kind, (3, 8, 8), **(SMALL if kind in UNETS else {"width": 8, "blocks": 1}))
        y = network(x, time)
        assert y.abs().max() < 1e-3, kind
        (y - x).square().mean().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        assert all(g is not None and g.isfinite().all() for g in gradients.values()), kind
        assert any(g.abs().max() > 1e-3 for g in gradients.values()), kind


def test_new_weights_have_the_published_spread():
    torch.manual_seed(0)
    song = SongUNet(32, 3, 3, model_channels=64, channel_mult=(1, 2), num_blocks=1).state_dict()
    fan = (64 + 128) / 2 * 9
    assert float(song["enc.16x16_block0.conv0.weight"].std()) == pytest.approx(fan**-0.5, rel=0.02)
    assert float(song["enc.16x16_block0.qkv.weight"].std()) == pytest.approx((0.2 / (2 * 128)) ** 0.5, rel=0.02)
    assert float(song["dec.32x32_aux_conv.weight"].std()) == pytest.approx(1e-5 * (67 / 2 * 9) ** -0.5, rel=0.05)
    adm = ADMUNet(32, 3, 3, label_dim=1000, model_channels=64, channel_mult=(1, 2), num_blocks=1).state_dict()
    assert float(adm["enc.16x16_block0.conv0.weight"].std()) == pytest.approx((3 * 64 * 9) ** -0.5, rel=0.02)
    assert float(adm["map_label.weight"].std()) == pytest.approx(1, rel=0.02)
    assert not adm["enc.16x16_block0.conv1.weight"].any() and not adm["out_conv.weight"].any()


@pytest.mark.parametrize("kind", TOLD)
def test_noise_level_class_and_augmentation_matter(kind):
    network = small(kind, classes=3, augment=9)
    x, time = torch.randn(1, 3, 8, 8), torch.tensor([0.3])
    plain = network(x, time)
    moved = torch.eye(9)[:1]
    others = [
        network(x, time + 1),
        network(x, time, torch.tensor([0])),
        network(x, time, torch.tensor([2])),
        network(x, time, augment=moved),
    ]
    assert all((y - plain).abs().max() > 1e-3 for y in others)  # rounding is a thousandth of that
    assert torch.equal(network(x, time, torch.tensor([-1])), plain)  # no class
    assert torch.equal(network(x, time, augment=torch.zeros(1, 9)), plain)  # not moved
    with pytest.raises(RuntimeError, match=r"[Cc]lass values"):
        network(x, time, torch.tensor([3]))


def test_labels_are_dropped_in_training_only():
    told = torch.zeros(1000, 4)
    label = torch.arange(1000) % 4
    assert torch.equal(one_hot(label, 4, told), functional.one_hot(label, 4).float())
    torch.manual_seed(0)
    kept = one_hot(label, 4, told, 0.3).sum(1)
    assert set(kept.tolist()) == {0.0, 1.0} and float(kept.mean()) == pytest.approx(0.7, abs=0.05)
    config = {**network_config("adm", (3, 8, 8), classes=4, **SMALL), "label_dropout": 1 - 1e-9}
    network = from_config(config)
    for p in network.parameters():
        p.data.normal_(0, 0.2)
    x, time = torch.randn(1, 3, 8, 8), torch.zeros(1)
    assert torch.equal(network.train()(x, time, label[:1]), network(x, time))
    assert not torch.equal(network.eval()(x, time, label[:1]), network(x, time))


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_derivatives_forward_and_backward(kind, layout):
    network = small(kind, (2, 8, 12), attention=(6,)).double().to(memory_format=layout)
    g = torch.Generator().manual_seed(0)
    x, u, w = (torch.randn(2, 2, 8, 12, generator=g, dtype=torch.float64) for _ in range(3))
    x = x.contiguous(memory_format=layout)
    time = torch.tensor([0.1, 0.7], dtype=torch.float64)

    def f(x):
        return network(x, time)

    j = jvp(f, (x,), (u,))[1]
    back = vjp(f, x)[1](w)[0]
    slope = (f(x + 1e-6 * u) - f(x - 1e-6 * u)) / 2e-6
    torch.testing.assert_close(j, slope, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close((w * j).sum(), (u * back).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", UNETS)
def test_rows_do_not_see_each_other(kind):
    network = small(kind, classes=0)
    x, time = torch.randn(3, 3, 8, 8), torch.tensor([0.1, 5.0, -1.0])
    together = network(x, time)
    alone = torch.cat([network(x[i : i + 1], time[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", UNETS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_close(kind, dtype):
    network = small(kind)
    x, time = torch.randn(2, 3, 8, 8), torch.tensor([0.25, 0.5])
    exact = network(x, time)
    low = network.to(dtype)(x.to(dtype), time)
    assert low.dtype == dtype
    assert float((low.float() - exact).detach().norm() / exact.detach().norm()) < (
        0.05 if dtype == torch.bfloat16 else 0.01
    )


@pytest.mark.parametrize("kind", TOLD)
def test_any_height_and_width(kind):
    network = small(kind, (1, 7, 13), multipliers=(1, 1, 2), attention=(3,))
    x, time = torch.randn(2, 1, 7, 13), torch.zeros(2)
    whole = functional.pad(x, (0, 3, 0, 1), mode="replicate")
    assert torch.equal(network(x, time), network(whole, time)[..., :7, :13])
    assert network(torch.randn(1, 1, 32, 5), time[:1]).shape == (1, 1, 32, 5)


@pytest.mark.parametrize("kind", UNETS)
def test_a_configuration_builds_the_same_network_again(kind):
    choices = {"classes": 3, "dropout": 0.1, **({"augment": 9} if kind in TOLD else {})}
    network = small(kind, (2, 8, 12), **{**choices, "attention": (6,)})
    config = json.loads(json.dumps(network_config(kind, (2, 8, 12), **{**SMALL, **choices, "attention": (6,)})))
    again = from_config(config).eval()
    again.load_state_dict(network.state_dict())
    x, time, label = torch.randn(2, 2, 8, 12), torch.zeros(2), torch.tensor([0, 2])
    assert torch.equal(again(x, time, label), network(x, time, label))


@pytest.mark.parametrize(
    ("kind", "shape", "multipliers", "attention"),
    [
        ("ddpmpp", (1, 8, 8), (2, 2), ()),
        ("ddpmpp", (1, 28, 28), (2, 2, 2), (14,)),
        ("ncsnpp", (3, 32, 32), (2, 2, 2), (16,)),
        ("ddpmpp", (3, 64, 64), (1, 2, 2, 2), (16,)),
        ("ddpmpp", (3, 40, 64), (2, 2, 2), (16,)),
        ("ddpmpp", (3, 256, 256), (1, 1, 2, 2, 2, 2), (16,)),
        ("adm", (3, 64, 64), (1, 2, 3, 4), (32, 16, 8)),
        ("adm", (3, 256, 256), (1, 1, 2, 2, 4, 4), (32, 16, 8)),
        ("adm", (3, 512, 512), (1, 1, 1, 2, 2, 4, 4), (32, 16, 8)),
        ("adm", (3, 5, 5), (1,), (5,)),
    ],
)
def test_levels_follow_the_size(kind, shape, multipliers, attention):
    config = network_config(kind, shape)
    assert (tuple(config["channel_mult"]), tuple(config["attn_resolutions"])) == (multipliers, attention)


def test_unet2d_is_the_published_configuration():
    config = network_config("unet2d", (3, 32, 32))
    assert config["block_out_channels"] == [128, 256, 256, 256]
    assert config["down_block_types"] == ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]
    assert config["up_block_types"] == ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    assert (config["norm_num_groups"], config["norm_eps"]) == (32, 1e-6)
    assert network_config("unet2d", (1, 28, 28))["block_out_channels"] == [128, 256, 256]
    for shape, width in (((1, 8, 8), 10), ((2, 12, 20), 6), ((1, 5, 5), 4)):
        x = torch.randn(1, *shape)
        assert build_network("unet2d", shape, width=width, blocks=1)(x, torch.zeros(1)).shape == x.shape


def test_positions_are_cosines_and_sines():
    time = torch.tensor([0.0, 1.0, 250.0], dtype=torch.float64)
    want = torch.stack([torch.cat([(t * f).cos() for f in ws] + [(t * f).sin() for f in ws]) for t in time[:, None]
                        for ws in [[1.0, 1e-2, 1e-4]]])  # fmt: skip
    torch.testing.assert_close(PositionalEmbedding(6, endpoint=True)(time), want)
    assert PositionalEmbedding(4)(time)[1, 1] == pytest.approx(torch.tensor(1e-2).cos().item())


def test_changes_of_size_keep_the_mean():
    x = torch.randn(2, 3, 6, 10)
    init = Init("mean")
    torch.testing.assert_close(Conv2d(3, 3, 0, init, resample="down")(x), functional.avg_pool2d(x, 2))
    torch.testing.assert_close(
        Conv2d(3, 3, 0, init, resample="up")(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    flat = torch.ones(1, 1, 8, 8)
    for way in ("up", "down"):
        smooth = Conv2d(1, 1, 0, init, resample=way, taps=(1, 3, 3, 1))
        torch.testing.assert_close(smooth(flat)[..., 1:-1, 1:-1], torch.ones_like(smooth(flat)[..., 1:-1, 1:-1]))
    # inside, filtering before or after a convolution of another channel mix is the same
    conv = Conv2d(1, 1, 3, init, resample="down", taps=(1, 3, 3, 1), filter_last=True)
    far = functional.conv2d(functional.pad(functional.conv2d(x[:, :1], conv.weight, conv.bias, padding=1), (1, 1, 1, 1)),
                            conv.resample_filter, stride=2)  # fmt: skip
    torch.testing.assert_close(conv(x[:, :1])[..., 1:-1, 1:-1], far[..., 1:-1, 1:-1])


def test_attention_is_the_one_of_torch():
    init = Init("mean")
    module = Block(128, 128, BlockStyle(16, init, init, init, head=64), attention=True)
    x = torch.randn(2, 128, 3, 5)
    q, k, v = module.qkv(module.norm2(x)).reshape(2, 2, 64, 3, 15).permute(3, 0, 1, 4, 2)
    mixed = functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(2, 128, 3, 5)
    torch.testing.assert_close(module._attention(x), module.proj(mixed))


@pytest.mark.parametrize(
    ("kind", "shape", "choices", "said"),
    [
        ("unet", (3, 8, 8), {}, "ddpmpp, ncsnpp, adm, unet2d"),
        ("adm", (8, 8), {}, r"\(channels, height, width\)"),
        ("adm", (3, 8, 8), {"width": 7}, "even width"),
        ("adm", (3, 8, 8), {"multipliers": ()}, "multipliers"),
        ("adm", (3, 8, 8), {"blocks": 0}, "at least 1"),
        ("adm", (3, 8, 8), {"dropout": 1.0}, "less than 1"),
        ("ddpmpp", (3, 28, 28), {"attention": (16,)}, "28, 14, 7"),
        ("ddpmpp", (3, 4, 4), {"multipliers": (1, 1, 1, 1)}, "fewer multipliers"),
        ("unet2d", (3, 10, 8), {"multipliers": (1, 1, 1)}, "multiples of 4"),
        ("unet2d", (3, 8, 8), {"augment": 9}, "augmentation"),
    ],
)
def test_choices_that_do_not_go_together(kind, shape, choices, said):
    with pytest.raises(FarfieldError, match=said):
        build_network(kind, shape, **choices)


def test_configurations_of_something_else():
    with pytest.raises(FarfieldError, match="kind 'vit'"):
        from_config({"kind": "vit"})
    with pytest.raises(FarfieldError, match="depth"):
        from_config({**network_config("adm", (3, 8, 8)), "depth": 3})
    with pytest.raises(FarfieldError, match="embedding type 'sine'"):
        from_config({**network_config("ddpmpp", (3, 8, 8)), "embedding_type": "sine"})


def test_a_mixer_has_the_published_number_of_weights_and_one_size():
    """That of the package galaxygrad's score network of 64 pixels; the patches of an image exchanged exchange the answer's."""
    assert sum(p.numel() for p in Mixer((64, 64), 1, 1).parameters()) == 1_614_145
    network = build_network("mixer", (3, 8, 12), width=8, blocks=2).double()
    for p in network.parameters():
        p.data.normal_(0, 0.3)
    x, time = torch.randn(2, 3, 8, 12, dtype=torch.float64), torch.tensor([0.1, 0.9], dtype=torch.float64)
    together = network(x, time)
    assert together.shape == x.shape
    torch.testing.assert_close(together[1:], network(x[1:], time[1:]))
    assert not torch.equal(together, network(x, time.flip(0)))
    with pytest.raises(FarfieldError, match="8×10 pixels in patches of 4: expected multiples"):
        build_network("mixer", (3, 8, 10))
    for choices in ({"classes": 3}, {"multipliers": (1, 2)}, {"attention": (12,)}, {"dropout": 0.1}, {"augment": 9}):
        with pytest.raises(FarfieldError, match="one level, no attention"):
            build_network("mixer", (3, 8, 12), **choices)
