"""The autoencoder in whose latents a file's network was trained: no part of the file, so its folder is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from farfield.checkpoints.checkpoint import Finding, Question
from farfield.checkpoints.inquiry import Inquiry
from farfield.core.error import FarfieldError

ANSWER: Final = "codec"


def coder_folder(inquiry: Inquiry, channels: int, published: str, of: str) -> Path | None:
    """The folder that was answered; None where there are 1 to 3 channels and none was, or where it was answered to be none.

    Args:
        published: the autoencoder's id on the hub.
        of: of whose networks that is the one.

    Raises:
        FarfieldError: no such folder.
    """
    if channels <= 3 and ANSWER not in inquiry.answers:
        return None
    ask = f"the autoencoder in whose latents of {channels} channels it was trained: a folder of diffusers, or none"
    why = f"`hf download {published}` brings that of {of} and prints its folder"
    if inquiry.settle(Question(ANSWER, ask, "none", (), why)) == "none":
        return None
    given = str(inquiry.answers[ANSWER])  # an answer is taken in small letters otherwise
    folder = Path(given).expanduser()
    folder = folder / "vae" if (folder / "vae" / "config.json").is_file() else folder
    if not (folder / "config.json").is_file():
        raise FarfieldError(f"{inquiry.path}: codec={given}: no folder with a config.json; {why}")
    inquiry.findings[-1] = Finding(ANSWER, str(folder), "as answered")
    return folder
