"""Copy detection: ``python -m benchmarks.copy_detection IMAGES --descriptor copy pixels FILE``.

Each of some images is copied in every way of `COPIES`; with them are searched copies of images that are not among the
references. Micro average precision over all pairs, its 95 % bootstrap interval over originals. The copies are made by
Pillow and share no code with those of the training.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks.average_precision import micro_average_precision
from benchmarks.table import format_table
from farfield.audit.descriptor import describe
from farfield.audit.named import open_descriptor
from farfield.core.artifact import Features, Images, Score, write_json
from farfield.data.dataset import open_dataset
from farfield.data.subset import shuffled

Random = np.random.Generator
Copy = Callable[[Image.Image, Random], Image.Image]


def crop(image: Image.Image, random: Random, smallest: float = 0.6, largest: float = 0.8) -> Image.Image:
    """A square window of 0.6 to 0.8 of the side, brought back to size."""
    side = round(image.width * random.uniform(smallest, largest))
    left, top = random.integers(0, image.width - side + 1, 2).tolist()
    return image.resize(image.size, Image.Resampling.BICUBIC, (left, top, left + side, top + side))


def flip(image: Image.Image, random: Random) -> Image.Image:
    return ImageOps.mirror(image)


def blur(image: Image.Image, random: Random) -> Image.Image:
    """A Gaussian of 0.8 to 1.5 pixels."""
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.8, 1.5)))


def colour(image: Image.Image, random: Random) -> Image.Image:
    """Brightness, contrast and saturation times 0.6 to 1.5."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(random.uniform(0.6, 1.5))
    return image


def grey(image: Image.Image, random: Random) -> Image.Image:
    return image.convert("L").convert("RGB")


def jpeg(image: Image.Image, random: Random) -> Image.Image:
    """Quality 10 to 30."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(random.integers(10, 31)))
    return Image.open(file).convert("RGB")


def noise(image: Image.Image, random: Random) -> Image.Image:
    """Gaussian, with a standard deviation of 10 to 25 grey levels."""
    values = np.asarray(image) + random.uniform(10, 25) * random.standard_normal((image.height, image.width, 3))
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def rotate(image: Image.Image, random: Random) -> Image.Image:
    """By 10° to 30° either way, with black corners."""
    angle = random.choice([-1, 1]) * random.uniform(10, 30)
    return image.rotate(angle, Image.Resampling.BICUBIC)


def overlay(image: Image.Image, random: Random) -> Image.Image:
    """A box of 0.3 to 0.5 of the sides in one colour."""
    image = image.copy()
    width, height = (round(image.width * random.uniform(0.3, 0.5)) for _ in range(2))
    left, top = int(random.integers(0, image.width - width + 1)), int(random.integers(0, image.height - height + 1))
    image.paste(tuple(random.integers(0, 256, 3).tolist()), (left, top, left + width, top + height))
    return image


def shrink(image: Image.Image, random: Random) -> Image.Image:
    """The whole at 0.6 to 0.8 of its side, on one colour."""
    side = round(image.width * random.uniform(0.6, 0.8))
    page = Image.new("RGB", image.size, tuple(random.integers(0, 256, 3).tolist()))
    left, top = random.integers(0, image.width - side + 1, 2).tolist()
    page.paste(image.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return page


def several(image: Image.Image, random: Random) -> Image.Image:
    """Crop, flip, colour and JPEG in one."""
    for change in (crop, flip, colour, jpeg):
        image = change(image, random)
    return image


COPIES: dict[str, Copy] = {
    f.__name__: f for f in (crop, flip, blur, colour, grey, jpeg, noise, rotate, overlay, shrink, several)
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copy_detection", description=__doc__)
    parser.add_argument("images", help="images that no descriptor was trained on")
    parser.add_argument("--descriptor", nargs="+", default=["copy", "pixels"])
    parser.add_argument("--model", help="whose features the descriptor `model` takes")
    parser.add_argument("--originals", type=int, default=400, help="that are copied (%(default)s)")
    parser.add_argument("--distractors", type=int, default=4600, help="other references (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    queries, references, match, unit_of = build(options.images, options.originals, options.distractors, options.seed)
    denoiser = None
    if options.model:
        from farfield.checkpoints.load import load_denoiser

        denoiser = load_denoiser(options.model)
    figures: dict[str, dict[str, Score]] = {}
    for spec in options.descriptor:
        sys.stderr.write(f"{spec}\n")
        descriptor = open_descriptor(spec, references=references, denoiser=denoiser)
        figures[Path(spec).stem] = score(
            describe(descriptor, queries), describe(descriptor, references), match, unit_of
        )
    print(show(figures, options))
    if options.json:
        write_json(options.json, figures)


def build(
    source: str, originals: int, distractors: int, seed: int
) -> tuple[Images, Images, torch.Tensor, torch.Tensor]:
    """Queries, references, each query's row among these (-1 for none), and its unit of the bootstrap."""
    data = open_dataset(source, shape=(3, 32, 32), labels=False)
    keys = shuffled(data.keys, seed)
    row = {key: i for i, key in enumerate(data.keys)}
    if len(keys) < 2 * originals + distractors:
        sys.exit(f"{source}: expected at least {2 * originals + distractors} images, found {len(keys)}")
    held, strangers, others = keys[:originals], keys[originals : 2 * originals], keys[2 * originals :][:distractors]
    place = torch.tensor([row[key] for key in (*held, *others)])
    references = Images((*held, *others), data.values(place))
    made: dict[str, np.ndarray[Any, Any]] = {}
    for i in range(originals):
        for j, (name, copy) in enumerate(COPIES.items()):
            for kind, key in (("copy", held[i]), ("stranger", strangers[i])):
                random = np.random.default_rng([seed, i, j, kind == "copy"])
                picture = Image.fromarray(data.images[row[key]].permute(1, 2, 0).numpy())
                made[f"{kind}/{name}/{i}"] = np.asarray(copy(picture, random))
    values = torch.from_numpy(np.stack(list(made.values()))).permute(0, 3, 1, 2) / 127.5 - 1
    unit_of = torch.tensor([int(key.rpartition("/")[2]) for key in made])
    match = torch.where(torch.tensor([key.startswith("copy") for key in made]), unit_of, -1)
    return Images(tuple(made), values), references, match, unit_of


def score(queries: Features, references: Features, match: torch.Tensor, unit_of: torch.Tensor) -> dict[str, Score]:
    """Over all copies, and over each kind with the strangers copied in the same way."""
    found = {"all": micro_average_precision(queries, references, match, unit_of)}
    for name in COPIES:
        rows = torch.tensor([i for i, key in enumerate(queries.keys) if key.split("/")[1] == name])
        part = queries.select([queries.keys[i] for i in rows.tolist()])
        found[name] = micro_average_precision(part, references, match[rows], unit_of[rows])
    return found


def show(figures: dict[str, dict[str, Score]], options: argparse.Namespace) -> str:
    rows = [
        [name, *(f"{s[name].value:.3f} [{s[name].low:.3f}, {s[name].high:.3f}]" for s in figures.values())]
        for name in ("all", *COPIES)
    ]
    title = (
        f"Copy detection: micro average precision, {options.originals} originals × {len(COPIES)} copies, as many of "
        f"strangers, {options.originals + options.distractors} references"
    )
    return format_table(title, ["copies", *figures], rows)


if __name__ == "__main__":
    main()
