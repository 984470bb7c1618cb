"""Files of networks as descriptors: weights are data, programs run on trust alone, and a run knows its files by content."""

import hashlib
import json
import shutil
import zipfile
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import farfield, make_images, make_model
from torch import nn
from torch.nn import functional

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD
from farfield.audit.named import identity, open_descriptor
from farfield.audit.sscd import SSCD
from farfield.checkpoints.card import SSCD as SSCD_CARD
from farfield.checkpoints.file.script_file import is_script, read_script
from farfield.core import note
from farfield.core.error import FarfieldError
from farfield.networks import inception, sscd_net
from farfield.networks.resnet import ResNet
from farfield.study.bench.run import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit"),
    pytest.mark.usefixtures("without_the_page", "few_views"),
]


def pictures(n=3, channels=3, side=20, width=None):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, channels, side, width or side, generator=g) * 2 - 1


def shaken(network, seed=0):
    """Weights and statistics of norms drawn at random, in evaluation mode: as if it had been trained."""
    g = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=g)
            module.running_var.uniform_(0.5, 2, generator=g)
            module.weight.data.uniform_(0.5, 1.5, generator=g)
            module.bias.data.normal_(0, 0.2, generator=g)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=g)
    return network.eval()


# SSCD, written here as its authors publish it: Classy Vision's names, pooling with a parameter, in a TorchScript archive


class Residual(nn.Module):
    def __init__(self, before, middle, after, stride, groups):
        super().__init__()
        layers = [
            *(nn.Conv2d(before, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()),
            nn.Conv2d(middle, middle, 3, stride=stride, padding=1, groups=groups, bias=False),
            *(nn.BatchNorm2d(middle), nn.ReLU(), nn.Conv2d(middle, after, 1, bias=False)),
        ]
        self.convolutional_block = nn.Sequential(*layers)
        self.bn, self.relu = nn.BatchNorm2d(after), nn.ReLU()
        self.downsample = nn.Identity()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        return self.relu(self.bn(self.convolutional_block(x)) + self.downsample(x))


class Stem(nn.Module):
    def __init__(self, width):
        super().__init__()
        self._module = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )

    def forward(self, x):
        return self._module(x)


class Pool(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.pooling_param = p

    def forward(self, x):
        return x.flatten(2).clamp(min=1e-6).pow(self.pooling_param).mean(2).pow(1.0 / self.pooling_param)


class Unit(nn.Module):
    def forward(self, x):
        return x / (x * x).sum(1, keepdim=True).sqrt()


class Published(nn.Module):
    def __init__(self, p=3.0, blocks=(1, 2, 1, 1), groups=1, length=12):
        super().__init__()
        stages, before = [], 8
        for i, count in enumerate(blocks):
            middle, after = 8 * 2**i, 32 * 2**i
            named = OrderedDict()
            for j in range(count):
                named[f"block{i}-{j}"] = Residual(before, middle, after, 2 if i and not j else 1, groups)
                before = after
            stages.append(nn.Sequential(named))
        self.backbone = nn.Sequential(OrderedDict(initial_block=Stem(8), blocks=nn.Sequential(*stages)))
        self.embeddings = nn.Sequential(Pool(p), nn.Linear(before, length), Unit())

    def forward(self, x):
        return self.embeddings(self.backbone(x))


def archived(network, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.save(torch.jit.script(network), str(path))
    return path


def as_sscd_sees(images):
    x = functional.interpolate(images.expand(-1, 3, -1, -1), (320, 320), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((x + 1) / 2 - mean) / std


@pytest.mark.parametrize(("p", "groups"), [(3.0, 1), (2.0, 4)])
def test_sscd_is_rebuilt_from_its_archive(p, groups, tmp_path):
    network = shaken(Published(p, groups=groups))
    path = archived(network, tmp_path / ("sscd_disc_large.pt" if groups > 1 else "sscd.torchscript.pt"))
    with note.kept() as said:
        descriptor = open_descriptor(f"sscd:{path}")
    with torch.no_grad():
        expected = torch.jit.load(str(path))(as_sscd_sees(pictures()))
    assert torch.allclose(descriptor(pictures()), expected, atol=1e-5)
    assert expected.std(0).max() > 1e-3  # the images do not all give one vector
    assert descriptor.default_threshold == (
        0.6 if groups > 1 else None
    )  # published for the ResNeXt of disc_large alone
    assert descriptor.name == f"sscd-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}-320"
    assert said == [f"{path}: read as the weights of SSCD; the program beside them is not run"]
    assert open_descriptor(str(path)).name == identity(f"sscd:{path}") == descriptor.name


def test_the_published_threshold_is_of_the_file_that_it_was_published_for(tmp_path, monkeypatch):
    """0.75 of disc_mixup by its authors, 0.6 of disc_large in arXiv 2310.05264: neither of the other's cosines."""
    weights = shaken(Published(3.0)).state_dict()
    other, mixup = tmp_path / "sscd_disc_blur.pt", tmp_path / "sscd_disc_mixup.classy.pt"
    for path in (other, mixup):
        torch.save(weights, path)
    assert (SSCD(other).default_threshold, SSCD(mixup).default_threshold) == (None, 0.75)
    published = replace(SSCD_CARD, sha256=hashlib.sha256(other.read_bytes()).hexdigest())
    monkeypatch.setattr("farfield.checkpoints.card.SSCD", published)
    assert SSCD(other).default_threshold == 0.75


def test_sscd_under_all_its_published_names(tmp_path):
    """The weights as Classy Vision and as torchvision call them, in a file of torch.save and in safetensors."""
    from safetensors.torch import save_file

    network = shaken(Published())
    classy = network.state_dict()
    expected = open_descriptor(str(archived(network, tmp_path / "a.pt")))(pictures())
    torch.save(classy, tmp_path / "b.classy.pt")
    plain = sscd_net.from_state_dict(classy).state_dict()
    assert {"conv1.weight", "layer2.1.bn3.running_var", "layer4.0.downsample.1.bias", "fc.weight"} <= plain.keys()
    assert len(plain) == len(classy)
    save_file({f"backbone.{k}": v.contiguous() for k, v in plain.items()}, tmp_path / "c.safetensors")
    for name in ("b.classy.pt", "c.safetensors"):
        assert torch.equal(open_descriptor(str(tmp_path / name))(pictures()), expected)


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_what_is_nearly_sscd_is_refused(change, tmp_path):
    state = Published().state_dict()
    if change == "missing":
        del state["backbone.blocks.1.block1-1.bn.weight"]
    elif change == "more":
        state["backbone.gate"] = torch.ones(3)
    else:
        state["embeddings.1.weight"] = torch.zeros(12, 7)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(FarfieldError, match=r"x\.pt: state dict with \d+ entries: expected those of SSCD"):
        open_descriptor(str(tmp_path / "x.pt"))


# Inception, written here once more as a list of what each block does


def conv(state, name, x, stride=1, padding=0):
    w = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
    y = functional.conv2d(x, w["conv.weight"], None, stride, padding)
    norm = (w[f"bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(y, *norm, False, 0.0, 1e-3).relu()


def by_hand(s, x):
    """Szegedy et al. 2015, with the poolings of the graph of 2015."""

    def side(name, x, *steps):
        for step, padding in steps:
            x = conv(s, f"{name}{step}", x, padding=padding)
        return x

    def mean(x):
        count = functional.avg_pool2d(torch.ones_like(x), 3, 1, 1)  # the share of pixels that are no padding
        return functional.avg_pool2d(x, 3, 1, 1) / count

    x = conv(s, "Conv2d_1a_3x3", x, stride=2)
    x = conv(s, "Conv2d_2b_3x3", conv(s, "Conv2d_2a_3x3", x), padding=1)
    x = conv(s, "Conv2d_4a_3x3", conv(s, "Conv2d_3b_1x1", functional.max_pool2d(x, 3, 2)))
    x = functional.max_pool2d(x, 3, 2)
    for m in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        five = side(f"{m}.branch5x5", x, ("_1", 0), ("_2", 2))
        three = side(f"{m}.branch3x3dbl", x, ("_1", 0), ("_2", 1), ("_3", 1))
        x = torch.cat([conv(s, f"{m}.branch1x1", x), five, three, conv(s, f"{m}.branch_pool", mean(x))], 1)
    m = "Mixed_6a"
    three = conv(s, f"{m}.branch3x3dbl_3", side(f"{m}.branch3x3dbl", x, ("_1", 0), ("_2", 1)), stride=2)
    x = torch.cat([conv(s, f"{m}.branch3x3", x, stride=2), three, functional.max_pool2d(x, 3, 2)], 1)
    row, column = (0, 3), (3, 0)
    for m in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        seven = side(f"{m}.branch7x7", x, ("_1", 0), ("_2", row), ("_3", column))
        twice = side(f"{m}.branch7x7dbl", x, ("_1", 0), ("_2", column), ("_3", row), ("_4", column), ("_5", row))
        x = torch.cat([conv(s, f"{m}.branch1x1", x), seven, twice, conv(s, f"{m}.branch_pool", mean(x))], 1)
    m = "Mixed_7a"
    three = conv(s, f"{m}.branch3x3_2", conv(s, f"{m}.branch3x3_1", x), stride=2)
    seven = side(f"{m}.branch7x7x3", x, ("_1", 0), ("_2", row), ("_3", column))
    x = torch.cat([three, conv(s, f"{m}.branch7x7x3_4", seven, stride=2), functional.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_7b", "Mixed_7c"):
        one, two = conv(s, f"{m}.branch3x3_1", x), side(f"{m}.branch3x3dbl", x, ("_1", 0), ("_2", 1))
        forks = [
            conv(s, f"{m}.{name}{end}", y, padding=padding)
            for name, y in (("branch3x3_2", one), ("branch3x3dbl_3", two))
            for end, padding in (("a", (0, 1)), ("b", (1, 0)))
        ]
        pooled = mean(x) if m == "Mixed_7b" else functional.max_pool2d(x, 3, 1, 1)
        x = torch.cat([conv(s, f"{m}.branch1x1", x), *forks, conv(s, f"{m}.branch_pool", pooled)], 1)
    return x.mean((2, 3))


def test_inception_sees_what_tensorflow_made_of_an_image(tmp_path):
    state = shaken(inception.InceptionV3()).half().state_dict()
    torch.save(state, tmp_path / "inception.pth")
    assert len(state) == 566  # as many as in the published file
    descriptor = open_descriptor(str(tmp_path / "inception.pth"))
    u = torch.randint(0, 256, (1, 1, 12, 15), generator=torch.Generator().manual_seed(0))
    rows = [np.interp(np.arange(299) * 15 / 299, np.arange(15), row) for row in u[0, 0].numpy()]
    seen = np.stack([np.interp(np.arange(299) * 12 / 299, np.arange(12), column) for column in np.stack(rows).T], 1)
    x = torch.from_numpy((seen - 128) / 128).float().expand(1, 3, 299, 299)
    expected = by_hand({k: v.float() for k, v in state.items()}, x)
    found = descriptor(u / 127.5 - 1)
    assert found.shape == (1, 2048) and expected.std() > 0.01
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))
    assert descriptor.name.startswith("inception-")


def test_another_inception_is_refused():
    """torchvision's own weights are of a network that pools otherwise."""
    with pytest.raises(FarfieldError, match=r"1000 classes: expected the 1008 .*6726825d"):
        inception.from_state_dict({"Mixed_7c.branch_pool.conv.weight": torch.ones(1), "fc.weight": torch.ones(1000, 2)})


# programs


class Free(nn.Module):
    """A network that leaves a file where it is called, and one that does so where it is loaded."""

    def __init__(self, path):
        super().__init__()
        self.w, self.path = nn.Parameter(torch.ones(1)), path

    def forward(self, x):
        torch.save(x.mean(), self.path)
        return x.mean((2, 3)) * self.w


class Loading(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    @torch.jit.export
    def __getstate__(self):
        return (self.w, self.training)

    @torch.jit.export
    def __setstate__(self, s: tuple[torch.Tensor, bool]):
        self.w, self.training = s[0], s[1]
        torch.save(torch.ones(3), "at_load")

    def forward(self, x):
        return x.mean((2, 3)) * self.w


@pytest.mark.parametrize("when", ["call", "load"])
def test_a_program_runs_on_trust_alone(when, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archived(Free(str(tmp_path / "at_call")) if when == "call" else Loading(), tmp_path / "net.pt")
    effect = tmp_path / f"at_{when}"
    effect.unlink(missing_ok=True)
    done = farfield("describe", "digits", "--limit", 4, "--descriptor", path, "-o", "out", "-q")
    assert done.code == 2 and f"give --trust {path}" in done.err and len(done.err.splitlines()) == 1
    assert not effect.exists() and not (tmp_path / "out").exists()
    with note.kept() as said:
        done = farfield("describe", "digits", "--limit", 4, "--descriptor", path, "--trust", path, "-o", "out", "-q")
    assert done.code == 0, done.err
    assert effect.exists()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert any(digest in line and "can do whatever you can" in line for line in said)
    assert digest in json.loads((tmp_path / "out/config.json").read_text())["request"]["descriptor"]
    effect.unlink()
    with zipfile.ZipFile(path, "a") as archive:  # another file, under the trusted name
        archive.writestr("net/extra", b"")
    done = farfield("describe", "digits", "--limit", 4, "--descriptor", path, "--trust", path, "-o", "out", "-q")
    assert done.code == 2 and "other settings (--descriptor was" in done.err and not effect.exists()
    done = farfield("describe", "digits", "--descriptor", "copy", "--trust", path, "-o", "other")
    assert done.code == 2 and "expected the file of a --descriptor" in done.err


@pytest.mark.parametrize(
    "command", ["describe", "expand", "compare", "analyse", "transfer", "prompt", "transition", "audit"]
)
def test_every_command_with_descriptors_can_be_told_to_trust(command):
    assert "--trust" in farfield(command, "--help").out


@pytest.mark.parametrize("command", ["rp", "gl", "matrix"])
def test_scores_can_be_told_to_trust(command):
    assert "--trust" in farfield("score", command, "--help").out


def test_a_program_around_known_weights_is_not_run(tmp_path):
    """A CIFAR ResNet that was scripted: its weights are taken, and its program, which writes a file, is left alone."""

    class Writing(ResNet):
        def forward(self, x):
            torch.save(x.mean(), self.path)
            return self.linear(x.mean((2, 3)).repeat(1, 22)[:, :64])

    network = shaken(Writing(8))
    network.path = str(tmp_path / "effect")
    with torch.no_grad():
        traced = torch.jit.trace_module(network, {"features": pictures(side=32)})
    torch.jit.save(traced, str(tmp_path / "net.pt"))
    found = open_descriptor(str(tmp_path / "net.pt"))(pictures(side=32))
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        assert torch.allclose(found, network.features(((pictures(side=32) + 1) / 2 - mean) / std), atol=1e-5)
    assert not (tmp_path / "effect").exists()


def test_a_script_is_read_as_its_state_dict(tmp_path):
    network = Published(2.5)
    network.lists, network.flag = [1, 2], True
    path = archived(network, tmp_path / "net.pt")
    script = read_script(path)
    assert is_script(path)
    expected = network.state_dict()
    assert script.state.keys() == expected.keys()
    assert all(torch.equal(v.load(), expected[k]) for k, v in script.state.items())
    assert script.numbers["embeddings.0.pooling_param"] == 2.5 and "flag" not in script.numbers
    cut = tmp_path / "cut.pt"
    cut.write_bytes(path.read_bytes()[:-2000])
    assert not is_script(cut)
    with zipfile.ZipFile(tmp_path / "two.pt", "w") as archive:
        for name in ("a/data.pkl", "b/data.pkl", "a/constants.pkl"):
            archive.writestr(name, b"\x80\x02N.")
    with pytest.raises(FarfieldError, match=r"two\.pt: damaged.*2 pickles"):
        open_descriptor(str(tmp_path / "two.pt"))


# what a run knows of its descriptors


class Claimed(Exception):
    """A run has taken its folder; what it would compute is of no interest."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("identity")
    for depth in (8, 14):
        torch.save(shaken(ResNet(depth)).state_dict(), root / f"resnet{depth}.th")
    return make_model(root / "model"), make_images(root / "images", 24), root


COMMANDS = {
    "describe": lambda m, x: ("describe", x),
    "rp": lambda m, x: ("score", "rp", x, x),
    "gl": lambda m, x: ("score", "gl", x, x),
    "matrix": lambda m, x: ("score", "matrix", x, x),
    "audit": lambda m, x: ("audit", x, x),
    "expand": lambda m, x: ("expand", m, x, "--examples", 4, "--steps", 2),
    "compare": lambda m, x: ("compare", m, x, "--counts", 4, "--steps", 2),
    "analyse": lambda m, x: ("analyse", m, x, "--steps", 4, "--levels", 2, "--down-steps", 4),
    "transfer": lambda m, x: ("transfer", m, x, x, "--steps", 2),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_another_file_of_the_same_name_is_another_run(command, world, tmp_path, monkeypatch):
    """The run folder is claimed as ever, and then the command ends: the second one must not get as far."""

    def claim(self):
        claimed(self)
        raise Claimed

    model, images, root = world
    claimed = Run._claim
    monkeypatch.setattr(Run, "_claim", claim)
    line = (*COMMANDS[command](model, images), "--descriptor", tmp_path / "net.th", "-o", tmp_path / "out", "-q")
    shutil.copy(root / "resnet8.th", tmp_path / "net.th")
    with pytest.raises(Claimed):
        farfield(*line)
    with pytest.raises(Claimed):  # the same file continues
        farfield(*line)
    shutil.copy(root / "resnet14.th", tmp_path / "net.th")
    done = farfield(*line)
    assert done.code == 2
    assert "holds a run with other settings (--descriptor" in done.err
    assert "resnet8-" in done.err and "resnet14-" in done.err


def test_kept_features_of_another_descriptor_are_not_taken(world, tmp_path):
    """Whatever the request says: the features name their descriptor, down to the images that pixels are whitened on."""
    from farfield.audit.descriptor import describe
    from farfield.audit.pixels import Pixels
    from farfield.core.artifact import Features
    from farfield.data.samples import open_samples
    from farfield.study.bench.measure import features

    images = open_samples(str(world[1]))
    run = Run(tmp_path / "run", "describe", {}, {})
    first = Pixels.fit(images.values)
    found = features(run, first, "pixels", {"real": images}, 4)["real"]
    assert torch.equal(found.values, describe(first, images).values)
    assert isinstance(features(run, first, "pixels", {"real": images}, 4)["real"], Features)
    with pytest.raises(FarfieldError, match=r"expected features of pixels.*found those of pixels.*delete that folder"):
        features(run, Pixels.fit(images.values[1:]), "pixels", {"real": images}, 4)
