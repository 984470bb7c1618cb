"""Descriptors: named by content, blind to the batch, and no file is ever unpickled or run."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farfield.audit.activation import DenoiserFeatures
from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, describe
from farfield.audit.named import open_descriptor
from farfield.audit.network_file import CifarResNet
from farfield.audit.pixels import Pixels
from farfield.audit.script import TorchScript
from farfield.core.artifact import Images
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import Denoiser
from farfield.networks.resnet import ResNet, from_state_dict

# torch announces the end of TorchScript; scripted extractors will be around for as long as it reads them.
pytestmark = [pytest.mark.filterwarnings("ignore:.*torch.jit"), pytest.mark.filterwarnings("ignore:Detected pickle")]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def images(n=12, channels=3, side=32, seed=0, width=None):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, 4, 4, generator=g)
    values = nn.functional.interpolate(coarse, (side, width or side), mode="bilinear").clamp(-1, 1)
    return Images(tuple(f"image-{i}" for i in range(n)), values)


class Net(nn.Module):
    """A small U-Net with a normalisation over the batch, a pooled embedding and a middle that is named."""

    def __init__(self, middle="mid_block"):
        super().__init__()
        torch.manual_seed(0)
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1))
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.SiLU())
        self.middle = middle
        self.add_module(middle, nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.SiLU()))
        self.up_in = nn.Conv2d(16, 8, 1)
        self.leave = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x, time):
        h = self.norm(self.enter(x))
        h = h * self.gate(h).sigmoid()
        deep = self.up_in(self.get_submodule(self.middle)(self.down(h)))
        return self.leave(nn.functional.interpolate(deep, scale_factor=2) + h)


class Model(Denoiser):
    def __init__(self, network, shape=(3, 16, 16)):
        super().__init__()
        self.network, self.shape = network, shape

    def forward(self, x, sigma):
        return self.network(x, sigma.log())


@pytest.fixture
def script(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = tmp_path / "network.pt"
    torch.jit.save(torch.jit.script(network.eval()), str(path))
    return path, network


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    network = ResNet(20).eval()
    path = tmp_path / "resnet.th"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}, "best": 1.0}, path)
    return path, network


@pytest.mark.parametrize("kind", ["pixels", "model", "script", "resnet"])
def test_a_row_depends_on_its_image_alone(kind, script, weights):
    data = images()
    spec = {"script": f"trust:{script[0]}", "resnet": str(weights[0])}.get(kind, kind)
    descriptor = open_descriptor(spec, references=data, denoiser=Model(Net()), size=24)
    whole = describe(descriptor, data)
    parts = describe(descriptor, data, batch_size=5)
    assert whole.descriptor == descriptor.name and whole.keys == data.keys
    assert whole.values.ndim == 2 and len(whole) == 12
    assert torch.allclose(whole.values, parts.values, rtol=1e-4, atol=1e-5)
    back = describe(descriptor, data.select(data.keys[::-1]))
    assert torch.allclose(back.values.flip(0), whole.values, rtol=1e-4, atol=1e-5)


def test_pixels_are_white_on_their_references():
    g = torch.Generator().manual_seed(0)
    references = torch.randn(600, 1, 4, 5, generator=g) * torch.linspace(0.5, 1, 5)
    pixels = Pixels.fit(references, ridge=0.0, explained=1.0)
    features = pixels(references)
    assert features.shape == (600, 20)
    assert torch.allclose(torch.cov(features.T), torch.eye(20, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(features.mean(0), torch.zeros(20, dtype=torch.float64), atol=1e-9)
    ridged = Pixels.fit(references)(references)
    assert (torch.cov(ridged.T).diagonal() < 1).all()


def test_pixels_do_not_depend_on_the_order_of_references():
    data = images(40, side=40, width=60).values
    first, second = Pixels.fit(data), Pixels.fit(data.flip(0))
    assert first.name == second.name and first.shape == (3, 11, 16)
    assert torch.allclose(first(data), second(data), atol=1e-8)
    assert first.basis.shape[1] <= 40 // 3
    assert Pixels.fit(data[1:]).name != first.name


def test_pixels_refuse_what_they_cannot_whiten():
    with pytest.raises(FarfieldError, match="at least 4"):
        Pixels.fit(images(3).values)
    with pytest.raises(FarfieldError, match="all alike"):
        Pixels.fit(torch.zeros(10, 3, 8, 8))
    with pytest.raises(FarfieldError, match="3 channels"):
        Pixels.fit(images().values)(images(channels=1).values)
    with pytest.raises(FarfieldError, match=r"n, C, H, W"):
        Pixels.fit(torch.zeros(10, 8, 8))
    with pytest.raises(FarfieldError, match="give references"):
        open_descriptor("pixels")


def test_model_features_come_from_the_middle():
    network = Net()
    descriptor = DenoiserFeatures(Model(network))
    assert descriptor.layer == "mid_block"
    data = images(side=16).values
    found = {}
    hook = network.mid_block.register_forward_hook(lambda m, i, o: found.update(a=o))
    with torch.no_grad():
        network(data, torch.tensor(0.0))
    hook.remove()
    assert torch.allclose(descriptor(data)[:, :16], found["a"].mean((2, 3)), atol=1e-6)
    assert torch.allclose(descriptor(data)[:, 16:], found["a"].std((2, 3), correction=0), atol=1e-6)
    assert not any(m._forward_hooks for m in network.modules())
    assert not network.training


def test_model_features_without_a_named_middle():
    """Blocks with the smallest map in order: down, waist, up_in; the middle one is taken, and not what lies inside."""
    assert DenoiserFeatures(Model(Net(middle="waist"))).layer == "waist"


def test_model_features_leave_no_hook_when_the_network_fails():
    network = Net()
    model = Model(network)
    descriptor = DenoiserFeatures(model)
    model.forward = None
    with pytest.raises(TypeError):
        descriptor(images(side=16).values)
    assert not any(m._forward_hooks for m in network.modules())


def test_model_features_are_named_by_the_weights():
    names = {DenoiserFeatures(Model(Net())).name, DenoiserFeatures(Model(Net())).name}
    other = Net()
    with torch.no_grad():
        other.leave.bias += 1
    names |= {DenoiserFeatures(Model(other)).name, DenoiserFeatures(Model(Net()), sigma=0.1).name}
    assert len(names) == 3


def test_model_features_need_a_network_with_maps():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x, time):
            return self.inner(x)

    with pytest.raises(FarfieldError, match="network inside"):
        DenoiserFeatures(type("Exact", (), {"shape": (3, 4, 4), "__call__": lambda s, x, t: x})())
    with pytest.raises(FarfieldError, match="found none"):
        DenoiserFeatures(Model(Flat(), shape=(4,)))
    with pytest.raises(FarfieldError, match="nowhere"):
        DenoiserFeatures(Model(Net()), layer="nowhere")
    with pytest.raises(FarfieldError, match="3 channels or grey"):
        DenoiserFeatures(Model(Net()))(images(channels=4).values)
    with pytest.raises(FarfieldError, match="expected a denoiser"):
        open_descriptor("model")


def test_bundled_model_describes_by_its_middle():
    load = pytest.importorskip("farfield.checkpoints.load")
    descriptor = DenoiserFeatures(load.load_denoiser("cifar10-32"))
    assert descriptor.layer.endswith("mid_block")
    grey = images(2, channels=1, side=40).values
    assert descriptor(grey).shape == (2, 256)


def test_torchscript_sees_what_is_stated(script):
    path, network = script
    data = images(side=24).values
    assert torch.allclose(TorchScript(path, size=24)(data), network(data), atol=1e-6)
    seen = TorchScript(path, size=24, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    assert torch.allclose(seen(data), network(((data + 1) / 2 - mean) / std), atol=1e-5)
    assert seen.name != TorchScript(path, size=24).name != TorchScript(path, size=25).name
    assert TorchScript(path, size=24)(data[:, :1]).shape == (12, 5)


def test_torchscript_must_answer_vectors(tmp_path):
    for name, network, fits in (("map", nn.Conv2d(3, 4, 3), True), ("line", nn.Flatten(2), False)):
        path = tmp_path / f"{name}.pt"
        torch.jit.save(torch.jit.script(network), str(path))
        descriptor = open_descriptor(f"trust:{path}", size=8)
        if fits:
            assert descriptor(images(2).values).shape == (2, 4)
        else:
            with pytest.raises(FarfieldError, match="expected features"):
                descriptor(images(2).values)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_resnet_sizes_are_the_papers(depth, millions):
    """He et al. 2015, table 6."""
    assert sum(p.numel() for p in ResNet(depth).parameters()) / 1e6 == pytest.approx(millions, abs=0.035)


def test_resnet_state_dict_round_trip(weights):
    path, network = weights
    descriptor = CifarResNet(path)
    assert descriptor.network.depth == 20
    for mine, theirs in zip(descriptor.network.parameters(), network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    x = images().values
    assert torch.allclose(network.linear(network.features(x)), network(x))
    assert descriptor(x).shape == (12, 64)
    assert open_descriptor(str(path)).name == descriptor.name
    with pytest.raises(FarfieldError, match="found others"):
        state = dict(network.state_dict())
        state.pop("bn1.weight")
        from_state_dict(state)
    with pytest.raises(FarfieldError, match="6n"):
        ResNet(21)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data")
def test_resnet56_classifies_cifar():
    from PIL import Image

    with zipfile.ZipFile(SHARED / "cifar10-32x32-test.zip") as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"][:250]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name, _ in labels])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    descriptor = open_descriptor(str(next((SHARED / "features").glob("resnet56*.th"))))
    with torch.no_grad():
        found = descriptor.network.linear(descriptor(x)).argmax(1)
    assert (found == torch.tensor([label for _, label in labels])).float().mean() > 0.9


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("how", ["pickle", "torch", "legacy", "script", "export"])
def test_malicious_files_do_nothing(how, tmp_path):
    path, effect = tmp_path / "file.pt", tmp_path / "effect"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil(effect)}))
    elif how in ("torch", "legacy"):
        torch.save({"state_dict": Evil(effect)}, path, _use_new_zipfile_serialization=how == "torch")
    else:
        marker = "constants.pkl" if how == "script" else "archive_format"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("data.pkl", marker, "data/constants/model.pt"):
                archive.writestr(f"file/{name}", pickle.dumps(Evil(effect)))
    with pytest.raises(FarfieldError, match=r"file\.pt: (refused|this is)"):
        open_descriptor(str(path))
    assert not effect.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x89PNG\r\n\x1a\n"])
def test_foreign_files_are_named(content, tmp_path):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(FarfieldError, match=r"file\.png: .*expected"):
        open_descriptor(str(path))


def test_unknown_words_and_other_state_dicts(tmp_path):
    with pytest.raises(FarfieldError, match="no such file"):
        open_descriptor("squeezenet")
    path = tmp_path / "other.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(FarfieldError, match=r"other\.pt.*CIFAR ResNet"):
        open_descriptor(str(path))
    torch.save([1, 2], path)
    with pytest.raises(FarfieldError, match=r"expected the weights of a network.*no tensors"):
        open_descriptor(str(path))


def test_describe_refuses_nothing_and_nonsense():
    data = images(6)
    pixels = Pixels.fit(data.values)
    with pytest.raises(FarfieldError, match="0 images"):
        describe(pixels, Images((), torch.zeros(0, 3, 32, 32)))
    broken = data.values.clone()
    broken[4, 0, 0, 0] = torch.nan
    with pytest.raises(FarfieldError, match="image-4"):
        describe(pixels, Images(data.keys, broken))
