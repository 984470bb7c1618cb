"""Image → feature vector: whitened pixels, the denoiser's own features, or a network from a file.

A descriptor's ``name`` says everything that its numbers depend on, the content of a file or of a fit by its hash, so
that features of two descriptors never meet. Images are ``[n, C, H, W]`` in [-1, 1]; row i of the features depends on
image i alone. No file is unpickled: state dicts are read with ``weights_only=True``, TorchScript by torch's own reader.
"""

from __future__ import annotations

import hashlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from farfield.core.artifact import Features, Images, file_digest
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.networks import resnet

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
HALF: Final = (0.5, 0.5, 0.5)

T = TypeVar("T")


class Descriptor(ABC):
    """Abstract: ``descriptor(images)`` with ``[n, C, H, W]`` in [-1, 1] gives features ``[n, d]``."""

    name: str

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Features ``[n, d]``, float32 or float64."""


class DenoiserLike(Protocol):
    """What `DenoiserFeatures` needs of a denoiser: ``denoiser(x, sigma)``, ``shape`` and the ``network`` inside."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...


@final
class Pixels(Descriptor):
    """Small pixels in the whitened principal axes of reference images: ``(pixels - mean) @ basis``.

    It sees brightness, colour and coarse shape only, but needs no weights and is defined for any image.
    """

    def __init__(self, mean: Tensor, basis: Tensor, shape: tuple[int, ...], fitted_on: str):
        self.mean, self.basis, self.shape = mean, basis, shape
        self.name = f"pixels-{'x'.join(map(str, shape))}-{basis.shape[1]}-{fitted_on[:12]}"

    @staticmethod
    def fit(references: Tensor, side: int = 16, explained: float = 0.99, most: int = 64, ridge: float = 0.1) -> Pixels:
        """Find the axes on references, float64.

        Images are shrunk (antialiased) to at most ``side`` pixels along the longer edge. Kept are the leading axes that
        explain the share ``explained`` of the variance, at most ``most`` and a third of the number of references; each
        is divided by ``sqrt(variance + ridge * largest variance)``, so that an axis of little variance, known badly
        from few references, counts for less than a leading one. Neighbours share the class most often with a ridge of
        0.1 and more on MNIST and CIFAR-10 (5 nearest, 200 references: 0.79 and 0.23; without a ridge 0.71 and 0.20).

        Args:
            references: ``[n, C, H, W]``, at least 4.

        Raises:
            FarfieldError: too few references, or all of them alike.
        """
        _check_images(references)
        if len(references) < 4:
            raise FarfieldError(f"pixels: expected at least 4 reference images, found {len(references)}; give more")
        longer = max(references.shape[2:])
        height, width = (max(1, round(s * min(1.0, side / longer))) for s in references.shape[2:])
        shape = (references.shape[1], height, width)
        x = _resized(references.cpu().double(), shape[1:]).flatten(1)
        mean = x.mean(0)
        centred = (x - mean) / (len(x) - 1) ** 0.5
        if len(centred) > centred.shape[1]:
            centred = torch.linalg.qr(centred, mode="r").R
        _, values, vectors = torch.linalg.svd(centred, full_matrices=False)
        variances = values.square()
        if float(variances[0]) <= 1e-12:
            raise FarfieldError(f"pixels: the {len(x)} reference images are all alike; give images that differ")
        wanted = int((variances.cumsum(0) < explained * variances.sum()).sum()) + 1
        count = max(1, min(wanted, most, len(x) // 3))
        axes = vectors[:count]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))  # an axis has no sign of its own
        axes = axes * largest.sign()
        scale = (variances[:count] + ridge * variances[0]).rsqrt()
        content = hashlib.sha256(f"{explained} {ridge}".encode())
        for one in sorted(hashlib.sha256(image.numpy().tobytes()).digest() for image in x):
            content.update(one)
        return Pixels(mean, axes.T * scale, shape, content.hexdigest())

    def __call__(self, images: Tensor) -> Tensor:
        _check_images(images)
        if images.shape[1] != self.shape[0]:
            raise FarfieldError(
                f"pixels: expected {self.shape[0]} channels as in the references, found {images.shape[1]}; "
                "give both sets the same channels"
            )
        x = _resized(images.double(), self.shape[1:]).flatten(1)
        return (x - self.mean.to(x.device)) @ self.basis.to(x.device)


@final
class DenoiserFeatures(Descriptor):
    """What the frozen denoiser itself sees: mean and spread over the pixels of its innermost activation.

    The image is given as it is, told to be at a low noise level ``sigma``; adding noise made it no better. On the
    bundled model the levels 0.1 … 0.3, of 0.02 … 1, tell six real domains and the classes within them apart best, and
    of those 0.3 is the least disturbed by grain in the image. The spread adds a little to the mean at most levels.

    The layer, unless named, is found by a probe: among the submodules whose output has the smallest map, the one that
    stands at the turning point (``mid_block``, ``middle_block``), else the middle one in order of execution.

    Args:
        denoiser: has ``network``, ``shape`` and is called as ``denoiser(x, sigma)``; its network is put in evaluation
            mode.
        sigma: the noise level told to the network.
        layer: a submodule's name, as in ``network.named_modules()``.

    Raises:
        FarfieldError: the denoiser has no network, or the network no activations ``[B, C, H, W]``.
    """

    def __init__(self, denoiser: DenoiserLike, sigma: float = 0.3, layer: str | None = None):
        network = getattr(denoiser, "network", None)
        if not isinstance(network, nn.Module):
            raise FarfieldError(
                f"model: expected a denoiser with a network inside, found {type(denoiser).__name__}; "
                "describe with pixels or a network file"
            )
        self.denoiser, self.network, self.sigma = denoiser, network.eval(), sigma
        self.layer = self._innermost() if layer is None else layer
        if self.layer not in dict(network.named_modules()):
            raise FarfieldError(f"layer {self.layer!r}: expected a submodule's name of {type(network).__name__}")
        label = getattr(denoiser, "label", None)
        self.name = f"model-{_weights_digest(network)[:12]}-{self.layer}-sigma{sigma:g}"
        if label is not None:
            self.name += f"-label{label}"

    def __call__(self, images: Tensor) -> Tensor:
        _check_images(images)
        channels, *size = self.denoiser.shape
        x = _resized(_with_channels(images, channels, self.name), size)
        return self._run(x, [self.layer], _moments)[self.layer]

    def _run(self, images: Tensor, layers: Sequence[str], take: Callable[[Tensor], T]) -> dict[str, T]:
        """What ``take`` makes of these submodules' outputs, in order of execution; no hook outlives the call."""
        seen: dict[str, T] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                first = output[0] if isinstance(output, list | tuple) and output else output
                first = getattr(first, "sample", first)
                if isinstance(first, Tensor):
                    seen.pop(name, None)
                    seen[name] = take(first.detach())

            return hook

        modules = dict(self.network.named_modules())
        hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
        try:
            x = images.to(_device(self.network), torch.float32)
            with torch.no_grad():
                self.denoiser(x, torch.tensor(self.sigma, dtype=x.dtype, device=x.device))
        finally:
            for hook in hooks:
                hook.remove()
        if not seen:
            raise FarfieldError(f"{type(self.network).__name__}: layers {list(layers)[:3]} took no part; name others")
        return seen

    def _innermost(self) -> str:
        names = [name for name, _ in self.network.named_modules() if name]
        probe = torch.zeros((2, *self.denoiser.shape))
        shapes = self._run(probe, names, lambda output: tuple(output.shape))
        maps = {n: s[2] * s[3] for n, s in shapes.items() if len(s) == 4 and s[0] == len(probe)}
        # Maps of one pixel are pooled weights or embeddings, as a rule, and no picture.
        maps = {n: size for n, size in maps.items() if size > 1} or maps
        if not maps:
            raise FarfieldError(
                f"model: expected activations [B, C, H, W], found none in {type(self.network).__name__}; "
                "describe with pixels or a network file"
            )
        inner = [n for n, size in maps.items() if size == min(maps.values())]
        turning = [n for n in inner if n.split(".")[-1].startswith("mid")]
        # Whole blocks only: what lies inside another of them is left out.
        blocks = [n for n in inner if not any(n.startswith(f"{other}.") for other in inner)]
        return turning[0] if turning else blocks[(len(blocks) - 1) // 2]


@final
class TorchScript(Descriptor):
    """A scripted or traced network from a file: ``[n, 3, size, size]`` → ``[n, d]``, or ``[n, d, h, w]``, averaged.

    The network is given ``(v - mean) / std`` with v the RGB image in [0, 1], resized (antialiased). By default that is
    [-1, 1]; `IMAGENET_MEAN` and `IMAGENET_STD` are torchvision's and timm's habit; mean 0 and std 1/255 give 0 … 255.

    A TorchScript file is a program, though one that runs in torch's interpreter and not in Python.

    Args:
        path: the file.
        size: side of the square that the network expects.
        mean, std: per channel.
        device: where it runs.

    Raises:
        FarfieldError: not a TorchScript file.
    """

    def __init__(
        self,
        path: Path | str,
        size: int = 224,
        mean: Sequence[float] = HALF,
        std: Sequence[float] = HALF,
        device: torch.device | str = "cpu",
    ):
        path = Path(path)
        try:
            self.network = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise FarfieldError(
                f"{path}: expected a TorchScript file, found another or a damaged one ({str(error).splitlines()[0]}); "
                "save it with torch.jit.save(torch.jit.script(network), path)"
            ) from error
        self.path, self.size, self.device = path, size, torch.device(device)
        self.mean, self.std = tuple(mean), tuple(std)
        numbers = "/".join(f"{v:g}" for v in (*self.mean, *self.std))
        self.name = f"torchscript-{file_digest([path])[:12]}-{size}-{numbers}"

    def __call__(self, images: Tensor) -> Tensor:
        x = _normalised(images, (self.size, self.size), self.mean, self.std, self.name).to(self.device)
        with torch.no_grad():
            features = self.network(x)
        features = features[0] if isinstance(features, list | tuple) else features
        if isinstance(features, Tensor) and features.ndim == 4:
            features = features.mean((2, 3))
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(x):
            found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise FarfieldError(
                f"{self.path}: expected features [{len(x)}, d] or [{len(x)}, d, h, w], found {found}; "
                "script a network that returns them"
            )
        return features.float()


@final
class CifarResNet(Descriptor):
    """The 64 pooled activations of a CIFAR-10 ResNet (`farfield.networks.resnet`) whose state dict is in a file.

    Images are resized to 32×32, grey ones repeated to RGB, and normalised by ImageNet's mean and standard deviation on
    [0, 1], as in the training of the published weights.

    Raises:
        FarfieldError: the file holds no such state dict.
    """

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        path = Path(path)
        try:
            self.network = resnet.from_state_dict(_state_dict(path)).to(device)
        except FarfieldError as error:
            raise FarfieldError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        self.device = torch.device(device)
        self.name = f"resnet{self.network.depth}-{file_digest([path])[:12]}"

    def __call__(self, images: Tensor) -> Tensor:
        x = _normalised(images, (32, 32), IMAGENET_MEAN, IMAGENET_STD, self.name).to(self.device)
        with torch.no_grad():
            return self.network.features(x)


def describe(descriptor: Descriptor, images: Images, batch_size: int = 256) -> Features:
    """Features of all images, in their order and under their keys, on the CPU.

    Raises:
        FarfieldError: no images, or a batch size below 1.
        NonFiniteError: the descriptor answers NaN or infinity.
    """
    if batch_size < 1 or len(images) == 0:
        raise FarfieldError(f"{len(images)} images in batches of {batch_size}: expected at least one of each")
    values = torch.cat([descriptor(batch).cpu() for batch in images.values.split(batch_size)])
    if not bool(values.isfinite().all()):
        bad = next(k for k, row in zip(images.keys, values, strict=True) if not bool(row.isfinite().all()))
        raise NonFiniteError(f"{descriptor.name}: expected finite features, found none of image {bad!r}; look at it")
    return Features(images.keys, values, descriptor.name)


def open_descriptor(
    spec: str,
    *,
    references: Images | Tensor | None = None,
    denoiser: DenoiserLike | None = None,
    device: torch.device | str = "cpu",
    size: int = 224,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
) -> Descriptor:
    """The descriptor that a word or a path names.

    Args:
        spec: ``pixels`` (needs ``references``), ``model`` (needs ``denoiser``), or the path of a TorchScript file or of
            a CIFAR ResNet's state dict.
        references: images that pixels are whitened on.
        denoiser: the model whose features are taken.
        device: where a network from a file runs.
        size, mean, std: what a TorchScript network expects, see `TorchScript`.

    Raises:
        FarfieldError: an unknown word, a missing argument, or a file that is neither.
    """
    if spec == "pixels":
        if references is None:
            raise FarfieldError("pixels: expected reference images to whiten on, found none; give references")
        return Pixels.fit(references.values if isinstance(references, Images) else references)
    if spec == "model":
        if denoiser is None:
            raise FarfieldError("model: expected a denoiser, found none; name a model, or describe with pixels")
        return DenoiserFeatures(denoiser)
    path = Path(spec)
    if not path.is_file():
        raise FarfieldError(f"descriptor {spec!r}: expected pixels, model or the path of a file; no such file")
    parts = _archive(path)
    if "constants.pkl" in parts:
        return TorchScript(path, size, mean, std, device)
    if "archive_format" in parts or "model.json" in parts:
        raise FarfieldError(
            f"{path}: expected TorchScript or a state dict, found a torch.export archive, which torch opens by "
            "unpickling; save the network with torch.jit.save(torch.jit.script(network), path) instead"
        )
    return CifarResNet(path, device)


def _archive(path: Path) -> set[str]:
    """The last part of each name in a zip file; nothing for other files."""
    if not zipfile.is_zipfile(path):
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            return {Path(name).name for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file does to the reader, it is not what was asked for
        raise FarfieldError(
            f"{path}: expected a TorchScript file or a CIFAR ResNet's state dict (torch.save), found neither "
            f"({type(error).__name__}); give such a file, or describe with pixels or model"
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise FarfieldError(
            f"{path}: expected a state dict of tensors, found {type(content).__name__} of something else; "
            "save network.state_dict()"
        )
    return {str(name): value for name, value in content.items()}


def _weights_digest(network: nn.Module) -> str:
    h = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        h.update(f"{name} {list(value.shape)} {value.dtype} ".encode())
        h.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return h.hexdigest()


def _moments(activation: Tensor) -> Tensor:
    if activation.ndim != 4:
        raise FarfieldError(f"layer: expected one with activations [B, C, H, W], found {list(activation.shape)}")
    a = activation.float()
    return torch.cat([a.mean((2, 3)), a.std((2, 3), correction=0)], 1)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise FarfieldError(
            f"images: expected floats [n, C, H, W] in [-1, 1], found {images.dtype} {list(images.shape)}; convert them"
        )


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    if list(images.shape[2:]) == list(size):
        return images
    return functional.interpolate(images, tuple(size), mode="bilinear", antialias=True, align_corners=False)


def _with_channels(images: Tensor, channels: int, name: str) -> Tensor:
    if images.shape[1] == channels:
        return images
    if images.shape[1] != 1:
        raise FarfieldError(f"{name}: expected images of {channels} channels or grey ones, found {images.shape[1]}")
    return images.expand(-1, channels, -1, -1)


def _normalised(images: Tensor, size: Sequence[int], mean: Sequence[float], std: Sequence[float], name: str) -> Tensor:
    """RGB in [-1, 1] as ``(v - mean) / std`` with v in [0, 1]."""
    _check_images(images)
    x = (_resized(_with_channels(images.float(), 3, name), size) + 1) / 2
    return (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]
