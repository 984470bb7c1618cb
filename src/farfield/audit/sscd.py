"""SSCD, the copy-detection descriptor of the field, from its published TorchScript files.

Pizzi, Roy, Ravindra, Goyal, Douze 2022, arXiv 2202.10261. Its files are licensed for non-commercial use and are not part
of farfield: they are downloaded by the user, or given by path.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional

from farfield.audit.descriptor import IMAGENET_MEAN, IMAGENET_STD, Descriptor
from farfield.audit.network_file import TorchScript
from farfield.core.artifact import write_bytes
from farfield.core.error import FarfieldError
from farfield.core.runtime import progress

URL: Final = "https://dl.fbaipublicfiles.com/sscd-copy-detection/sscd_disc_mixup.torchscript.pt"
SIDE: Final = 320
THRESHOLD: Final = 0.6
"""The cosine of copies in Zhang et al. 2023, arXiv 2310.05264."""
WAIT: Final = 30  # seconds without an answer


@final
class SSCD(Descriptor):
    """Unit vectors of an SSCD network: images resized to 320×320 whatever their aspect ratio, ImageNet's normalisation.

    Raises:
        FarfieldError: no such file, or not TorchScript.
    """

    default_threshold = THRESHOLD

    def __init__(self, path: Path | str, device: torch.device | str = "cpu"):
        if not Path(path).is_file():
            raise FarfieldError(
                f"sscd: expected the published network at {path}, found no file; run `farfield fetch sscd` where there is "
                f"a network, or download {URL} and name the file as sscd:FILE"
            )
        self.network = TorchScript(path, SIDE, IMAGENET_MEAN, IMAGENET_STD, device)
        self.name = f"sscd-{self.network.name}"

    def __call__(self, images: Tensor) -> Tensor:
        return functional.normalize(self.network(images), dim=1)


def cached(url: str = URL) -> Path:
    """Where a downloaded file lies: in the folder of the environment variable FARFIELD_CACHE, or ``~/.cache/farfield``."""
    folder = os.environ.get("FARFIELD_CACHE") or Path.home() / ".cache" / "farfield"
    return Path(folder) / url.rpartition("/")[2]


def fetch(url: str = URL, sha256: str | None = None, quiet: bool = False) -> tuple[Path, str]:
    """Download a network to the cache, once; where it lies, and its sha256.

    It is put in place only when it is whole, has the stated hash and opens as TorchScript.

    Args:
        sha256: what the file must have.

    Raises:
        FarfieldError: no network, no such file, another hash, or not TorchScript.
    """
    path = cached(url)
    content = path.read_bytes() if path.is_file() else b"".join(_download(url, path.name, quiet))
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        where = path if path.is_file() else url
        raise FarfieldError(f"{where}: expected sha256 {sha256}, found {found}; delete it, or check the address")
    if not path.is_file():
        beside = path.with_name(f"unchecked-{found[:12]}-{path.name}")
        write_bytes(beside, content)
        try:
            SSCD(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return path, found


def _download(url: str, name: str, quiet: bool) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            done = 0
            with progress(f"downloading {name}", size, quiet=quiet) as advance:
                while block := answer.read(1 << 20):
                    done += len(block)
                    advance(len(block))
                    yield block
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise FarfieldError(
            f"{url}: cannot be downloaded ({error}); on a machine with a network download it there, copy it to "
            f"{cached(url)} or name the copy as sscd:FILE"
        ) from error
    if done < size:
        raise FarfieldError(f"{url}: expected {size} bytes, found {done}; the connection broke, try again")
