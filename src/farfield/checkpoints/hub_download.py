"""The folder of a hub id, by the hub's own client; nothing else is imported for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farfield.core.error import FarfieldError

WANTED = (
    "model_index.json",
    "unet/*.json",
    "unet/*.safetensors",
    "unet/*.bin",
    "scheduler/*.json",
    "*.json",
    "*.safetensors",
    "*.bin",
)
"""The files of a hub id that make a denoiser."""


def download(name: str, wanted: Sequence[str] = WANTED) -> Path:
    """The folder of a hub id (``google/ddpm-cifar10-32``), from the local cache or the network; only ``wanted`` files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except (LocalEntryNotFoundError, OSError) as error:
        if not isinstance(error, HfHubHTTPError):
            raise FarfieldError(
                f"{name}: not in the local cache and the hub cannot be reached; on a machine with a network run `hf "
                f"download {name}`, copy the folder here and give its path"
            ) from error
        raise FarfieldError(
            f"{name}: the hub has no such model, or it is not public ({error}); check the id"
        ) from error
    except (HFValidationError, HfHubHTTPError) as error:
        raise FarfieldError(f"{name}: not a model on the hub ({error})") from error
