"""What a function returns: the command's result, the arrays that it made, and how it shows itself."""

from __future__ import annotations

import functools
import io
import json
import shutil
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np

from farfield.command.commands import Command
from farfield.command.result import Result, to_json
from farfield.core.artifact import Artifact, Features, Images, Latents, Store, read_json, write_bytes
from farfield.core.error import FarfieldError
from farfield.core.json_file import parse_json
from farfield.core.provenance import Provenance
from farfield.core.tensor_file import open_tensors

R = TypeVar("R", bound=Result)

SHOWN: Final = ("samples", "edits", "decoded", "reconstructions", "images")
"""Sets of images of which the first that there is stands for a run."""


class Found(Generic[R]):
    """A run that is finished.

    The fields of its result are attributes, and so are its arrays that have no field's name: ``run.measures``, ``run.samples``.
    `arrays` has all of them by the names of their folders. An array is an artifact: ``values``, a tensor, and ``keys``, the names
    or seeds of its rows; ``numpy.asarray(run.samples)`` works. The run itself is a source of images to every function.

    Attributes:
        result: typed, as the command declares it.
        folder: where the run lies; a temporary one is deleted with this object.
    """

    def __init__(self, command: Command, result: R, folder: Path, temporary: Path | None = None):
        self.command, self.result, self.folder = command, result, folder
        self.arrays: Mapping[str, Artifact] = Arrays(folder)
        if temporary is not None:
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)

    def __getattr__(self, name: str) -> Any:
        held = vars(self)
        if name.startswith("_") or "result" not in held:  # as a copy or a pickle asks
            raise AttributeError(name)
        if name in vars(self.result):
            return getattr(self.result, name)
        if name in self.arrays:
            return self.arrays[name]
        known = ", ".join([*vars(self.result), *(a for a in self.arrays if a.isidentifier())])
        raise AttributeError(f"{type(self.result).__name__} has no {name!r}; it has {known}", name=name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *vars(self.result), *(a for a in self.arrays if a.isidentifier())]

    @property
    def pictures(self) -> Images | None:
        """The images that the run made; None of a run that made none."""
        name = next((name for name in SHOWN if name in self.arrays), None)
        found = self.arrays[name] if name else None
        return found if isinstance(found, Images) else None

    @property
    def says(self) -> list[str]:
        """What the run found, in sentences."""
        content = self._content
        return [] if content is None else list(content.verdict)

    def to_json(self) -> dict[str, Any]:
        """The result as ``summary.json`` has it."""
        told: dict[str, Any] = to_json(self.result)
        return told

    def save(self, path: str | Path) -> Path:
        """Keep the run: its images as one picture (``.png``) or as arrays with their keys (``.npz``), or all of it as a folder
        with its page.

        Raises:
            FarfieldError: no images for a picture, or a folder that is not empty.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() not in (".png", ".npz"):
            return self._keep(path)
        images = self.pictures
        if images is None:
            raise FarfieldError(f"{path}: {self.command.name} makes no images; give a folder's name to keep the run")
        record = Provenance.of(read_json(self.folder / "config.json")["request"]).record()
        if path.suffix.lower() == ".png":
            from farfield.data.picture import png
            from farfield.present.sheet import grid

            write_bytes(path, png(grid(images), record))
        else:
            write_bytes(path, _npz(images, record))
        return path

    def _keep(self, folder: Path) -> Path:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FarfieldError(f"{folder}: expected a new folder for the run, found something there; give another")
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        if self.command.page is not None:
            from farfield.present.report import draw

            draw(folder, self.command)
        return folder

    @functools.cached_property
    def _content(self) -> Any:
        page = self.command.load_page()
        return None if page is None else page(self.folder, self.result)

    def __repr__(self) -> str:
        made = {name: len(array) for name, array in ((n, self.arrays[n]) for n in SHOWN if n in self.arrays)}
        beside = f" ({', '.join(f'{n} {name}' for name, n in made.items())})" if made else ""
        return "\n".join(
            [f"farfield.{self.command.name.replace(' ', '_')}{beside}", *(f"  {line}" for line in self.says)]
        )

    def _repr_html_(self) -> str:
        from farfield.api.notebook import html

        return html(self._content, self.pictures, self.command.name)


class Arrays(Mapping[str, Artifact]):
    """The arrays in a run's folder, by the folder that each lies in; read when they are asked for."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __iter__(self) -> Iterator[str]:
        parents = {path.parent for path in self._folder.rglob("shard-*.safetensors")}
        names = {path.relative_to(self._folder).as_posix() for path in parents}
        if (samples := self._folder / "samples").is_dir() and any(samples.glob("*.png")):
            names.add("samples")
        return iter(sorted(names - {"."}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> Artifact:
        if name not in list(self):
            raise KeyError(f"{name}: no such array; there are {', '.join(self)}")
        folder = self._folder / name
        shards = sorted(folder.glob("shard-*.safetensors"))
        if not shards:
            from farfield.data.samples import open_samples

            return open_samples(self._folder)
        return Store(folder, _kind(shards[0])).read()


def _npz(images: Images, record: Mapping[str, str]) -> bytes:
    """Pictures as uint8 ``[n, H, W, C]`` under their keys."""
    from farfield.data.picture import to_uint8

    buffer = io.BytesIO()
    pixels = to_uint8(images.values).permute(0, 2, 3, 1).contiguous().numpy()
    np.savez(buffer, images=pixels, keys=np.array(images.keys), provenance=np.array(json.dumps(record)))
    return buffer.getvalue()


def _kind(shard: Path) -> type[Artifact]:
    """The class of what a shard holds; of a kind that belongs to one command the rows alone."""
    with open_tensors(shard) as f:
        named = parse_json((f.metadata() or {})["farfield"])["kind"]
    kinds: list[type[Artifact]] = [Images, Latents, Features, *Artifact.__subclasses__()]
    found = next((kind for kind in kinds if kind.kind == named), None)
    if found is None:
        raise FarfieldError(
            f"{shard.parent}: {named!r} belong to the command that made them; read their shards with safetensors"
        )
    return found
