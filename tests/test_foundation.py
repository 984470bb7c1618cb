"""DINOv2, CLIP and the trunk of SSCD against transformers, from small random models of its own classes."""

import json

import pytest
import torch
from test_network_file import shaken

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD
from farfield.audit.named import open_descriptor
from farfield.core.error import FarfieldError
from farfield.networks import sscd_net


def pictures(n=3, channels=3, side=20):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, channels, side, side, generator=g) * 2 - 1


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@pytest.fixture
def folders(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    dino = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL))
    dino.save_pretrained(tmp_path / "dinov2")
    clip = transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**SMALL, intermediate_size=32, projection_dim=8)
    )
    clip.save_pretrained(tmp_path / "clip")
    return tmp_path, {"dinov2": dino.eval(), "clip": clip.eval()}


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("family", ["dinov2", "clip"])
def test_foundation_models_see_what_their_processors_make(family, folders):
    folder, networks = folders
    descriptor = open_descriptor(f"{family}:{folder / family}")
    x = pictures(side=28)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if family == "dinov2" else (CLIP_MEAN, CLIP_STD)
    pixels = ((x + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        found = networks[family](pixel_values=pixels)
    expected = found.last_hidden_state[:, 0] if family == "dinov2" else found.image_embeds
    assert torch.allclose(descriptor(x), expected, atol=1e-4)
    assert descriptor.name.startswith(family) and descriptor.name.endswith("-28")
    assert descriptor(pictures(channels=1, side=40)).shape == (3, expected.shape[1])


def test_clip_takes_the_published_model_of_text_and_images(folders):
    import transformers

    folder, _ = folders
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.CLIPConfig(
        text_config={**text, "vocab_size": 50},
        vision_config={**SMALL, "intermediate_size": 32, "projection_dim": 8},
        projection_dim=8,
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(folder / "both")
    descriptor = open_descriptor(f"clip:{folder / 'both'}")
    weights = dict(descriptor.network.named_parameters())
    assert torch.equal(weights["visual_projection.weight"], model.visual_projection.weight)


def test_foundation_models_of_another_family_are_refused(folders, tmp_path):
    folder, _ = folders
    with pytest.raises(FarfieldError, match=r"of clip, found another.*dinov2"):
        open_descriptor(f"clip:{folder / 'dinov2'}")
    (folder / "clip" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(FarfieldError, match="found another or damage"):
        open_descriptor(f"clip:{folder / 'clip'}")
    with pytest.raises(FarfieldError, match=r"expected config\.json"):
        open_descriptor(f"dinov2:{tmp_path}")


@pytest.mark.parametrize("what", ["code", "kernel"])
def test_folders_that_bring_code_are_refused(what, folders):
    folder = folders[0] / "dinov2"
    if what == "code":
        (folder / "modeling.py").write_text("raise SystemExit")
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "attn_implementation": "somebody/kernel"}))
    with pytest.raises(FarfieldError, match="is not run; remove"):
        open_descriptor(f"dinov2:{folder}")


def test_the_trunk_of_sscd_is_a_resnet_50_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[16, 32, 64, 128],
        depths=[2, 1, 1, 2],
        layer_type="bottleneck",
        hidden_act="relu",
    )
    theirs = shaken(transformers.ResNetModel(config))
    state = {"fc.weight": torch.eye(128), "fc.bias": torch.zeros(128)}
    for name, value in theirs.state_dict().items():
        kind, end = ("conv" if ".convolution." in name else "bn"), name.rpartition(".")[2]
        part = name.split(".")
        if part[0] == "embedder":
            state[f"{kind}1.{end}"] = value
        elif "shortcut" in name:
            state[f"layer{int(part[2]) + 1}.{part[4]}.downsample.{0 if kind == 'conv' else 1}.{end}"] = value
        else:
            state[f"layer{int(part[2]) + 1}.{part[4]}.{kind}{int(part[6]) + 1}.{end}"] = value
    x = pictures(side=64)
    with torch.no_grad():
        last = theirs(pixel_values=x).last_hidden_state
        pooled = last.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
        found = sscd_net.from_state_dict(state)(x)
    assert torch.allclose(found, pooled / pooled.norm(dim=1, keepdim=True), atol=1e-5)
