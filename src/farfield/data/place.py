"""What the name of a source means: a bundled domain, or a path that is there. Looked at before anything heavy is imported."""

from __future__ import annotations

import re
from pathlib import Path

from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.held import held, is_array_name

DOMAINS: dict[str, str] = {
    "hubble": "galaxies cut from the Hubble eXtreme Deep Field (NASA, ESA; public domain; scikit-image)",
    "retina": "patches of a human retina, fundus photograph (Mikael Häggström; CC0; scikit-image)",
    "ihc": "patches of stained colonic glands, FHL2 (CMMI; no known copyright restrictions; scikit-image)",
    "brick": "patches of a brick wall, grey (CC0Textures; CC0; scikit-image)",
    "grass": "patches of grass, grey (linolafett; CC0; scikit-image)",
    "gravel": "patches of gravel, grey (CC0Textures; CC0; scikit-image)",
    "faces": "faces of 25×25, grey (Labeled Faces in the Wild, Huang et al.; for research; scikit-image)",
    "digits": "handwritten digits of 8×8, grey (Alpaydin and Kaynak, UCI; CC BY 4.0; scikit-learn)",
}

FIELD_DOMAINS: dict[str, str] = {
    "clouds": "column densities of simulated turbulent molecular clouds, cm^-2, 64×64, periodic (farfield itself)",
}
"""Domains of physical numbers rather than pictures."""

PREFIX = "bundled:"
"""Before a domain's name where a path of that name is there too."""

HUB = "hf:"
"""Before the name of a data set of Hugging Face."""

SKETCH = "sketch:"
"""Before a source whose pictures are turned into pencil drawings."""


def look(source: str) -> None:
    """Refuse a source that is nowhere; what is in it is read later.

    Raises:
        FarfieldError: neither a bundled domain nor a path that is there.
    """
    if source.startswith(SKETCH):
        return look(source.removeprefix(SKETCH))
    if source.startswith(HUB):
        return
    if not Path(source).expanduser().exists() and (match := re.fullmatch(r"(.+)\[[^\[\]]+\]", source)):
        source = match[1]  # what stands in brackets is inside
    if domain_of(source) is None:
        existing(source)


def is_domain(name: str | Path) -> bool:
    return str(name) in DOMAINS or str(name) in FIELD_DOMAINS


def domain_of(source: str | Path) -> str | None:
    """The bundled domain that a source names; None for a path.

    ``bundled:NAME`` always is one. A bare name is one unless a file or folder of that name is there: that wins, with a
    line that says so.

    Raises:
        FarfieldError: a bare name that is neither.
    """
    if isinstance(source, str) and source.startswith((SKETCH, HUB)):
        return None
    known = ", ".join([*DOMAINS, *FIELD_DOMAINS])
    if isinstance(source, str) and source.startswith(PREFIX):
        if not is_domain(name := source.removeprefix(PREFIX)):
            raise FarfieldError(f"{source}: expected one of the bundled domains {known}; check the name")
        return name
    if is_domain(source):
        if not Path(source).exists():
            return str(source)
        if isinstance(source, str):
            kind = "folder" if Path(source).is_dir() else "file"
            say(f"{source}: the {kind} here is read; the bundled domain is {PREFIX}{source}")
        return None
    bare = Path(source).name == str(source) and not Path(source).exists()
    if bare and not Path(source).suffix and not any(c in str(source) for c in "*?"):
        raise FarfieldError(
            f"{source}: expected a path or one of the bundled domains {known}, found neither; check the name"
        )
    return None


def existing(source: str | Path) -> Path:
    """The path of a source, which must be there; of a pattern (``folder/**/*.png``) the path as it is."""
    if (given := held(source)) is not None:
        return given
    path = Path(source).expanduser()
    if not path.exists() and is_array_name(source):
        raise FarfieldError(f"{source}: an array that was given from Python; give it there again, with the same call")
    if not path.exists() and pattern_of(path) is None:
        kinds = "an image file, a folder of images, a zip of images or an npz"
        raise FarfieldError(f"{source}: expected {kinds}, found nothing there; check the path")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FarfieldError(f"{source}: expected a file or a folder, found a device or a pipe; check the path")
    return path


def pattern_of(path: Path) -> tuple[Path, str] | None:
    """A folder that is there and a pattern below it, where a path has ``*`` or ``?`` in it."""
    parts = path.parts
    wild = next((i for i, part in enumerate(parts) if "*" in part or "?" in part), None)
    if wild is None:
        return None
    folder = Path(*parts[:wild])
    return (folder, "/".join(parts[wild:])) if folder.is_dir() else None
