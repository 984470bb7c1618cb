"""A TorchScript program as a descriptor, for those who trust it: it is run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from farfield.audit.descriptor import Descriptor, normalised
from farfield.checkpoints.file.script_file import is_script
from farfield.core import note
from farfield.core.error import FarfieldError

HALF: Final = (0.5, 0.5, 0.5)


@final
class TorchScript(Descriptor):
    """A scripted or traced network from a file: ``[n, 3, size, size]`` → ``[n, d]``, or ``[n, d, h, w]``, averaged.

    The network is given ``(v - mean) / std`` with v the RGB image in [0, 1], resized (antialiased). By default that is
    [-1, 1]; `IMAGENET_MEAN` and `IMAGENET_STD` are torchvision's and timm's habit; mean 0 and std 1/255 give 0 … 255.

    A TorchScript file is a program. It runs in torch's interpreter, which can read and write any file that the user can,
    while it is loaded and whenever it is called: to make a `TorchScript` is to trust the file. Its sha256 is said, and is
    part of the descriptor's name; the bytes that are hashed are those that are run.

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
        if not is_script(path):
            raise FarfieldError(
                f"{path}: expected a TorchScript file, found another or a damaged one; "
                "save it with torch.jit.save(torch.jit.script(network), path)"
            )
        self._program = path.read_bytes()
        digest = hashlib.sha256(self._program).hexdigest()
        note.say(f"{path}: trusted, its program runs and can do whatever you can (sha256 {digest})")
        self.path, self.size, self.device = path, size, torch.device(device)
        self.mean, self.std = tuple(mean), tuple(std)
        numbers = "/".join(f"{v:g}" for v in (*self.mean, *self.std))
        self.name = f"torchscript-{digest}-{size}-{numbers}"

    @cached_property
    def network(self) -> Any:
        """The program, loaded when it is first called: a run can tell that it is another one before it does anything."""
        try:
            return torch.jit.load(io.BytesIO(self._program), map_location=self.device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FarfieldError(
                f"{self.path}: its program cannot be loaded ({reason[:200]}); script it again"
            ) from error

    def __call__(self, images: Tensor) -> Tensor:
        x = normalised(images, (self.size, self.size), self.mean, self.std, self.name).to(self.device)
        network = self.network
        try:
            with torch.no_grad():
                features = network(x)
        except RuntimeError as error:  # what a program raises comes as this
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise FarfieldError(
                f"{self.path}: its program failed on images {list(x.shape)} ({reason[0][:200]}); script a network that "
                "takes them"
            ) from error
        features = features[0] if isinstance(features, list | tuple) and len(features) else features
        if isinstance(features, Tensor) and features.ndim == 4:
            features = features.mean((2, 3))
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(x):
            seen = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise FarfieldError(
                f"{self.path}: expected features [{len(x)}, d] or [{len(x)}, d, h, w], found {seen}; "
                "script a network that returns them"
            )
        return features.float()
