"""Cards of published files: where they are, under which licence, and what their publisher says of their content.

None of these files is part of farfield. Their flags stand beside the family that needs them (`guided`), under the same file
names, so a download keeps its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_EDM: Final = "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained"
_ADM: Final = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021"
_IDDPM: Final = "https://openaipublic.blob.core.windows.net/diffusion/march-2021"
_EDM2: Final = "https://nvlabs-fi-cdn.nvidia.com/edm2/posthoc-reconstructions"
_TEACHERS: Final = "https://openaipublic.blob.core.windows.net/consistency"

NON_COMMERCIAL: Final = "CC BY-NC-SA 4.0: not for commercial use, and what is derived from it keeps this licence"


@dataclass(frozen=True)
class Card:
    """A published file or folder.

    Attributes:
        name: to ask for it by.
        source: its address, or its id on the Hugging Face hub.
        about: what it is.
        licence: as its publisher states it.
        sha256: as its publisher states it, or, where none does, as others who have the file published it; None where no one
            did. Those of the hub are checked by its own client.
    """

    name: str
    source: str
    about: str
    licence: str
    sha256: str | None = None

    @property
    def hub(self) -> bool:
        """Whether it is a folder on the hub rather than a file."""
        return "://" not in self.source

    @property
    def file(self) -> str:
        """The name of the file, as published."""
        return self.source.rpartition("/")[2]


SSCD: Final = Card(
    "sscd",
    "https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_disc_mixup.torchscript.pt",
    "copy-detection descriptor, ResNet-50 on DISC (arXiv 2202.10261)",
    "CC BY-NC 4.0: not for commercial use",
    "9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56",
)
SSCD_LARGE: Final = Card(
    "sscd-large",
    "https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_disc_large.torchscript.pt",
    "copy-detection descriptor, ResNeXt-101 on DISC (arXiv 2202.10261), with which arXiv 2310.05264 measures",
    "CC BY-NC 4.0: not for commercial use",
)
INCEPTION: Final = Card(
    "inception",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "Inception-v3 of Fréchet Inception distances (arXiv 1706.08500)",
    "Apache-2.0",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)

_SHA256: Final = {
    "edm-cifar10-32x32-uncond-vp": "4d5dcc1f1d0d41c8934ad21626eeddbdc0460182becf9fc059a0631b1eedb4da",
    "256x256_diffusion_uncond": "a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
}
"""Of files whose publishers state none."""


def _edm(name: str, about: str) -> Card:
    folder = f"{_EDM}/baseline" if name.startswith("baseline") else _EDM
    return Card(name, f"{folder}/{name}.pkl", f"{about} (arXiv 2206.00364)", NON_COMMERCIAL, _SHA256.get(name))


def _openai(name: str, folder: str, file: str, about: str) -> Card:
    paper = "2105.05233" if folder == _ADM else "2102.09672"
    return Card(name, f"{folder}/{file}.pt", f"{about} (arXiv {paper})", "MIT", _SHA256.get(file))


def _edm2(name: str, average: str, about: str) -> Card:
    """Of the averages that are published of each training, the one of the least Fréchet distance."""
    return Card(name, f"{_EDM2}/{name}-{average}.pkl", f"EDM2, ImageNet at {about} (arXiv 2312.02696)", NON_COMMERCIAL)


def _teacher(name: str, file: str, about: str) -> Card:
    return Card(name, f"{_TEACHERS}/{file}_ema.pt", f"EDM, ADM, {about} (arXiv 2303.01469)", "MIT")


def _dit(size: int) -> Card:
    about = f"DiT-XL/2, ImageNet at {size} pixels, 1000 classes, latent (arXiv 2212.09748)"
    return Card(f"dit-xl-2-{size}", f"facebook/DiT-XL-2-{size}", about, "CC BY-NC 4.0: not for commercial use")


def _google(name: str, about: str) -> Card:
    return Card(name, f"google/{name}", f"{about} (arXiv 2006.11239)", "Apache-2.0")


CARDS: Final[tuple[Card, ...]] = (
    SSCD,
    SSCD_LARGE,
    INCEPTION,
    _edm("edm-cifar10-32x32-uncond-vp", "EDM, DDPM++, CIFAR-10"),
    _edm("edm-cifar10-32x32-uncond-ve", "EDM, NCSN++, CIFAR-10"),
    _edm("edm-cifar10-32x32-cond-vp", "EDM, DDPM++, CIFAR-10, 10 classes"),
    _edm("edm-cifar10-32x32-cond-ve", "EDM, NCSN++, CIFAR-10, 10 classes"),
    _edm("edm-ffhq-64x64-uncond-vp", "EDM, DDPM++, faces of FFHQ"),
    _edm("edm-ffhq-64x64-uncond-ve", "EDM, NCSN++, faces of FFHQ"),
    _edm("edm-afhqv2-64x64-uncond-vp", "EDM, DDPM++, animal faces of AFHQv2"),
    _edm("edm-afhqv2-64x64-uncond-ve", "EDM, NCSN++, animal faces of AFHQv2"),
    _edm("edm-imagenet-64x64-cond-adm", "EDM, ADM, ImageNet, 1000 classes"),
    _edm("baseline-cifar10-32x32-uncond-vp", "the VP SDE's DDPM++ on CIFAR-10, converted"),
    _edm("baseline-cifar10-32x32-uncond-ve", "the VE SDE's NCSN++ on CIFAR-10, converted"),
    _edm("baseline-imagenet-64x64-cond-adm", "ADM on ImageNet, 1000 classes, converted"),
    *(
        _edm2(f"edm2-img512-{size}", average, "512 pixels, 1000 classes, latent")
        for size, average in (
            ("xs", "2147483-0.135"),
            ("s", "2147483-0.130"),
            ("m", "2147483-0.100"),
            ("l", "1879048-0.085"),
            ("xl", "1342177-0.085"),
            ("xxl", "0939524-0.070"),
        )
    ),
    _edm2("edm2-img512-xs-uncond", "2147483-0.045", "512 pixels, without classes, latent"),
    _edm2("edm2-img512-s-uncond", "2147483-0.070", "512 pixels, without classes, latent"),
    *(
        _edm2(f"edm2-img64-{size}", average, "64 pixels, 1000 classes")
        for size, average in (
            ("s", "1073741-0.075"),
            ("m", "2147483-0.060"),
            ("l", "1073741-0.040"),
            ("xl", "0671088-0.040"),
        )
    ),
    _teacher("edm-teacher-imagenet-64", "edm_imagenet64", "ImageNet, 1000 classes"),
    _teacher("edm-teacher-lsun-bedroom-256", "edm_bedroom256", "LSUN bedroom"),
    _teacher("edm-teacher-lsun-cat-256", "edm_cat256", "LSUN cat"),
    _dit(256),
    _dit(512),
    _openai("adm-imagenet-64", _ADM, "64x64_diffusion", "ADM, ImageNet, 1000 classes"),
    _openai("adm-imagenet-128", _ADM, "128x128_diffusion", "ADM, ImageNet, 1000 classes"),
    _openai("adm-imagenet-256", _ADM, "256x256_diffusion", "ADM, ImageNet, 1000 classes"),
    _openai("adm-imagenet-256-uncond", _ADM, "256x256_diffusion_uncond", "ADM, ImageNet, without classes"),
    _openai("adm-imagenet-512", _ADM, "512x512_diffusion", "ADM, ImageNet, 1000 classes"),
    _openai("adm-lsun-bedroom-256", _ADM, "lsun_bedroom", "ADM, LSUN bedroom"),
    _openai("adm-lsun-cat-256", _ADM, "lsun_cat", "ADM, LSUN cat"),
    _openai("adm-lsun-horse-256", _ADM, "lsun_horse", "ADM, LSUN horse"),
    _openai("adm-lsun-horse-256-nodropout", _ADM, "lsun_horse_nodropout", "ADM, LSUN horse, trained without dropout"),
    _openai("iddpm-cifar10", _IDDPM, "cifar10_uncond_50M_500K", "improved DDPM, CIFAR-10"),
    _openai("iddpm-imagenet-64", _IDDPM, "imagenet64_uncond_100M_1500K", "improved DDPM, ImageNet, without classes"),
    _openai("iddpm-imagenet-64-cond", _IDDPM, "imagenet64_cond_270M_250K", "improved DDPM, ImageNet, 1000 classes"),
    _openai("iddpm-lsun-bedroom", _IDDPM, "lsun_uncond_100M_2400K_bs64", "improved DDPM, LSUN bedroom"),
    _google("ddpm-cifar10-32", "DDPM, CIFAR-10"),
    _google("ddpm-celebahq-256", "DDPM, faces of CelebA-HQ"),
    _google("ddpm-ema-celebahq-256", "DDPM, faces of CelebA-HQ, averaged weights"),
    _google("ddpm-church-256", "DDPM, LSUN church"),
    _google("ddpm-ema-church-256", "DDPM, LSUN church, averaged weights"),
    _google("ddpm-bedroom-256", "DDPM, LSUN bedroom"),
    _google("ddpm-ema-bedroom-256", "DDPM, LSUN bedroom, averaged weights"),
    _google("ddpm-cat-256", "DDPM, LSUN cat"),
    _google("ddpm-ema-cat-256", "DDPM, LSUN cat, averaged weights"),
)


def find_card(name: str) -> Card | None:
    """The card of a name."""
    return next((card for card in CARDS if name in (card.name, card.source)), None)


def card_of_file(path: Path) -> Card | None:
    """The card of which a file has the name, as published; whether it is that file, only a hash could say."""
    return next((card for card in CARDS if not card.hub and card.file == path.name), None)
