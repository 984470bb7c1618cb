"""Published descriptors: SSCD's file and its download, DINOv2 and CLIP from small random models of their own classes."""

import hashlib

import pytest
import torch
from torch import nn

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD
from farfield.audit.named import open_descriptor
from farfield.audit.sscd import cached, fetch
from farfield.core.error import FarfieldError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


def pictures(n=3, channels=3, side=20):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, channels, side, side, generator=g) * 2 - 1


@pytest.fixture
def published(tmp_path):
    """A network in the published form: TorchScript that gives vectors."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    path = tmp_path / "published" / "small.torchscript.pt"
    path.parent.mkdir()
    torch.jit.save(torch.jit.script(network), str(path))
    return path, network


def test_sscd_sees_what_its_authors_state(published):
    path, network = published
    descriptor = open_descriptor(f"sscd:{path}")
    x = torch.nn.functional.interpolate(pictures(), (320, 320), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = nn.functional.normalize(network(((x + 1) / 2 - mean) / std), dim=1)
    assert torch.allclose(descriptor(pictures()), expected, atol=1e-5)
    assert descriptor.default_threshold == 0.6 and "320" in descriptor.name


def test_sscd_is_fetched_once(published, tmp_path, monkeypatch):
    path, _ = published
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FarfieldError, match="farfield fetch sscd"):
        open_descriptor("sscd")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FarfieldError, match="expected sha256 00"):
        fetch(path.as_uri(), "00", quiet=True)
    assert not cached(path.as_uri()).exists()
    there, found = fetch(path.as_uri(), digest.upper(), quiet=True)
    assert found == digest and there.read_bytes() == path.read_bytes()
    path.unlink()
    assert fetch(path.as_uri(), quiet=True) == (there, digest)
    with pytest.raises(FarfieldError, match="expected sha256"):
        fetch(path.as_uri(), "00", quiet=True)


def test_what_is_no_network_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    page = tmp_path / "page.pt"
    page.write_text("<html>not found</html>")
    with pytest.raises(FarfieldError, match="expected a TorchScript file"):
        fetch(page.as_uri(), quiet=True)
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(FarfieldError, match="cannot be downloaded"):
        fetch((tmp_path / "nothing.pt").as_uri(), quiet=True)
    with pytest.raises(FarfieldError, match="cannot be downloaded"):
        fetch("nonsense", quiet=True)


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
