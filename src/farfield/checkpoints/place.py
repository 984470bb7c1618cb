"""Where the model of a name is: the bundled one, a folder on disk, a hub id. Looked at before anything heavy is imported."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from farfield.checkpoints.card import find_card
from farfield.checkpoints.mistaken import EXPECTED, refuse_other
from farfield.checkpoints.own_name import WAYS, is_given
from farfield.core.cache import cache_folder
from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.place import PREFIX, is_domain
from farfield.data.place import look as look_at_source

BUNDLED = ("cifar10-32", "galaxies-64", "digits-memorizing", "digits-generalizing")
"""Models that ship inside the package."""

EMPIRICAL = "empirical:"
"""Before a data set, whose optimal denoiser is the model."""
GALAXYGRAD = "galaxygrad:"
"""Before a model of that package."""

MODEL_PARTS = ("model_index.json", "unet", "model.json", "snapshots")
"""What lies in a folder that holds a model."""


def look(name: str) -> None:
    """Refuse a model that is nowhere; what is in it is read later. A hub id is downloaded, unless the cache holds it.

    Raises:
        FarfieldError: as of `locate`; or no data of ``empirical:DATA``.
    """
    if is_given(name):
        return  # held, or known once its code is run
    if not is_empirical(name):
        refuse_other(locate(split_name(name)[0]))
    elif source := name.removeprefix(EMPIRICAL):
        numbered = re.fullmatch(r"(.+)@[0-9]+", source)
        look_at_source(numbered[1] if numbered and not Path(source).expanduser().exists() else source)


def locate(name: str) -> Path:
    """The folder or file of a model; a hub id, or a card's, is downloaded unless the cache holds it.

    A path that is there comes before a bundled model of that name, with a line that says so; ``bundled:NAME`` is the model.

    Raises:
        FarfieldError: neither bundled, nor on disk, nor the form of a hub id; or a model without a folder.
    """
    if is_empirical(name):
        raise FarfieldError(f"model {name!r}: the denoiser of a data set has no network; expected a model with weights")
    if is_given(name):
        raise FarfieldError(
            f"model {name!r}: a module of your own has no file, which this needs; expected a model that has one"
        )
    path = Path(name).expanduser()
    if is_bundled(name):
        return Path(str(files("farfield") / "models" / name.removeprefix(PREFIX)))
    if is_published(name):
        from farfield.checkpoints.mixer_published import installed

        return installed(name)
    if name in BUNDLED:
        say(f"{name}: the {'folder' if path.is_dir() else 'file'} here is read; the bundled model is {PREFIX}{name}")
    if (path / "snapshots").is_dir():
        return newest_snapshot(path)
    if path.is_dir() or path.is_file():
        return path
    if path.exists():
        raise FarfieldError(f"{name}: a device or a pipe; {EXPECTED}")
    card = find_card(name)
    if card is not None and not card.hub:
        if not (path := cache_folder() / card.file).is_file():
            raise FarfieldError(
                f"model {name!r}: not in the cache ({path}); bring it there with `farfield fetch {name}`"
            )
        return path
    name = card.source if card is not None else name
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) and not name.startswith((".", "/")):
        return hub_folder(name)
    if is_domain(name):
        raise FarfieldError(f"{name}: images, of a bundled domain; {EXPECTED}; check the order of the arguments")
    raise FarfieldError(
        f"model {name!r}: no such folder; expected {', '.join(BUNDLED)}, the folder of a training or of a diffusers pipeline, a "
        "hub id such as google/ddpm-cifar10-32, a checkpoint file, a name of `farfield fetch`, "
        f"galaxygrad:hsc-64, or empirical:DATA; or {WAYS}"
    )


def hub_folder(name: str) -> Path:
    """The folder of a hub id with all that is read of it, from the local cache or the network."""
    from farfield.checkpoints.hub_download import download

    folder = download(name, ("model_index.json",))
    from farfield.checkpoints.latent import fetch, is_latent

    return fetch(name, folder) if is_latent(folder) else download(name)


def is_bundled(name: str) -> bool:
    """Whether a name means a bundled model: with `PREFIX`, or where no path of that name is there."""
    bare = name.removeprefix(PREFIX)
    return bare in BUNDLED and (name != bare or not Path(name).expanduser().exists())


def bundled_models() -> dict[str, str]:
    """What each bundled model is, as the head of its card says."""
    cards = {name: files("farfield") / "models" / name / "README.md" for name in BUNDLED}
    return {name: _heading(card.read_text(encoding="utf-8")) for name, card in cards.items()}


def _heading(card: str) -> str:
    """The first sentence of a card that is no title."""
    lines = [line.strip() for line in card.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("# ")) + 1
    paragraph = " ".join(lines[start:]).strip().partition("  ")[0]
    return paragraph.partition(". ")[0].rstrip(".")


def split_name(name: str) -> tuple[str, str | None]:
    """``MODEL@CHOICE`` as the two: of EDM's files which network (``ema``, ``net``), of Stable Diffusion the prompt."""
    if Path(name).expanduser().exists() or "@" not in name:
        return name, None
    bare, _, choice = name.partition("@")
    return bare, choice


def newest_snapshot(run: Path) -> Path:
    """The model that a run of `farfield train` has come to: of its first average, after the most images.

    Raises:
        FarfieldError: it has none yet.
    """
    return snapshots_of(run)[-1]


def snapshots_of(run: Path) -> list[Path]:
    """All of them, of its first average, in the order of images seen; a folder each, named by these.

    Raises:
        FarfieldError: no run of `farfield train`, or none yet.
    """
    inside = run / "snapshots"
    found = [path for path in inside.iterdir() if path.name.isdigit() and path.is_dir()] if inside.is_dir() else []
    if not found:
        raise FarfieldError(
            f"{run}: expected a training with a snapshot, found none yet; give its `farfield train` command again"
        )
    return sorted(found, key=lambda path: int(path.name))


def is_empirical(name: str) -> bool:
    return name.startswith(EMPIRICAL)


def is_published(name: str) -> bool:
    """Whether a model's name is that of one in the package; a path of that name comes first."""
    return name.startswith(GALAXYGRAD) and not Path(name).expanduser().exists()


def is_model(name: str) -> bool:
    """Whether a name is that of a model, and not of a set of images; what is not there may be a hub id."""
    absent = not Path(name).expanduser().exists() and not is_domain(name)
    return holds_model(name) or (absent and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None)


def holds_model(name: str) -> bool:
    folder = Path(name).expanduser()
    return (
        is_bundled(name)
        or is_empirical(name)
        or is_given(name)
        or is_published(name)
        or any((folder / part).exists() for part in MODEL_PARTS)
    )
