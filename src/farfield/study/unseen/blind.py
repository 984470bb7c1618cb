"""`farfield blind`: can a reader tell a run's new images from real ones that were held out?

Both kinds leave by one way: put together as float tensors, brought to the domain's channel law, rounded to 8 bits by one call,
and written by one PNG encoder without a word beside the pixels. Examples are never shown as real: the sampler saw them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from farfield.audit.discrimination import discriminate
from farfield.command.blind import LEAST, USUAL, Blind, BlindResult, Kind
from farfield.command.compare import CompareResult
from farfield.command.expand import ExpandResult
from farfield.command.result import from_json
from farfield.core.artifact import Images, read_json, read_kept, save, write_bytes, write_json, write_kept
from farfield.core.error import FarfieldError
from farfield.data.picture import as_shown, channel_law
from farfield.data.subset import choose, shuffled
from farfield.present.blind import page
from farfield.present.gallery import kept
from farfield.present.report import finished
from farfield.present.sheet import channels_shown
from farfield.study.bench.run import Run

FAMILY = "farfield blind"
"""How a file of answers says whose it is."""


def blind(settings: Blind, out: Path, *, quiet: bool = False) -> BlindResult:
    """Draw pictures of both kinds and write the page that asks; score the answers, where there are any."""
    origin = _origin(settings.run)
    real, made = _sets(settings.run, origin)
    half = _half(settings, len(real), len(made))
    truth, pictures = draw(real, made, half, settings.seed)
    given = _read(settings.answers, pictures) if settings.answers else None
    run = Run.of(out, settings, {"real": real, "made": made}, quiet, n=2 * half)
    if run.ranks.main:
        save(pictures, out / "pictures")
        write_json(out / "truth.json", {number: {"kind": kind, "key": key} for number, (kind, key) in truth.items()})
        write_bytes(out / "blind.html", page(pictures, pictures.digest(), origin.domain).encode(errors="replace"))
    answers = _keep(run, given)
    return run.finish(
        BlindResult(
            run=str(settings.run),
            model=origin.model,
            domain=origin.domain,
            n=2 * half,
            pictures=pictures.digest(),
            answered=discriminate({number: kind for number, (kind, _) in truth.items()}, answers) if answers else None,
            notes=_notes(origin, pictures.shape[0]),
        )
    )


def draw(real: Images, made: Images, half: int, seed: int) -> tuple[dict[str, tuple[Kind, str]], Images]:
    """``half`` pictures of each kind without replacement, in an order drawn at random: what each is, and what is shown.

    Returns:
        by number, from "1" on: the kind and the key in its set; the pictures under the same numbers, as a viewer of 8 bits
        sees them.
    """
    chosen: dict[str, tuple[Kind, str]] = {}
    chosen |= {f"real/{key}": ("real", key) for key in choose(real.keys, half, seed)[0]}
    chosen |= {f"made/{key}": ("made", key) for key in choose(made.keys, half, seed + 1)[0]}
    truth = {str(i): chosen[name] for i, name in enumerate(shuffled(chosen, seed + 2), 1)}
    sets = {"real": real, "made": made}
    values = torch.cat([sets[kind].select([key]).values for kind, key in truth.values()]).double()
    # a tint of one level in files of grey pictures would tell them from samples, which have none
    law = channel_law(real.values)
    return truth, Images(tuple(truth), as_shown(law(values) if law else values))


@dataclass(frozen=True)
class Origin:
    """What made the pictures: the model and its domain, and where the images of both kinds are kept."""

    model: str
    domain: str
    masked: bool
    real: Path
    made: Path


def _origin(folder: Path) -> Origin:
    """Of a finished run of `farfield expand`, or of a method's folder in one of `farfield compare`."""
    method = not (folder / "summary.json").is_file() and (folder.parent.parent / "summary.json").is_file()
    if not method and not (folder / "summary.json").is_file() and (folder.parent / "summary.json").is_file():
        folder = folder.parent  # a domain of a compare
    path = finished(folder.parent.parent if method else folder)
    summary = read_json(path)
    command = summary.get("command") if isinstance(summary, dict) else None
    if command == "compare":
        contest: CompareResult = from_json(CompareResult, summary, str(path))
        domains = {domain.folder: domain for domain in contest.domains}
        if method and folder.parent.name in domains:
            real, made = folder.parent / "references", folder / "samples"
            domain = domains[folder.parent.name]
            return Origin(contest.model.name, domain.source, domain.fields is not None, real, made)
        first = (
            path.parent / contest.domains[0].folder / f"{contest.domains[0].counts[-1].count:04d}-{contest.methods[0]}"
        )
        raise FarfieldError(
            f"{folder}: a run of `farfield compare`, of several methods; give the folder of one, as {first}"
        )
    if command != "expand":
        raise FarfieldError(
            f"{folder}: a run of `farfield {command}`, which does not keep held-out images beside new ones; expected one of "
            "`farfield expand`, or a method's folder in one of `farfield compare`"
        )
    result: ExpandResult = from_json(ExpandResult, summary, str(path))
    masked = bool(result.physical and result.physical.masked)
    return Origin(result.model.name, result.examples.source, masked, folder / "references", folder / "samples")


def _sets(folder: Path, origin: Origin) -> tuple[Images, Images]:
    """Held-out and new images of a run."""
    real, made = kept(origin.real), kept(origin.made)
    if real is None:
        raise FarfieldError(
            f"{folder}: a run without held-out images, and the examples cannot be shown as real, for the sampler saw them; "
            "give `farfield expand` at least 12 images more than --examples, or --heldout"
        )
    if made is None or made.shape != real.shape:
        found = "no samples" if made is None else f"samples of {list(made.shape)} beside images of {list(real.shape)}"
        raise FarfieldError(f"{folder}: holds {found}; give the command of the run again")
    return real, made


def _half(settings: Blind, real: int, made: int) -> int:
    """How many pictures of each kind."""
    most = min(real, made)
    if 2 * most < (settings.n or LEAST):
        advice = (
            f"; ask for at most -n {2 * most}" if 2 * most >= LEAST else ", and fewer than -n 6 cannot tell anything"
        )
        raise FarfieldError(f"{settings.run}: keeps {real} held-out images and {made} new ones{advice}")
    return (settings.n or min(USUAL, 2 * most)) // 2


def _read(path: Path, pictures: Images) -> dict[str, Kind]:
    """The answers in a file that this page left, by number."""
    told = read_json(path, "let the page save it again")
    if not isinstance(told, dict) or told.get("made_by") != FAMILY:
        raise FarfieldError(
            f'{path}: expected the answers that blind.html saves ({{"made_by": "{FAMILY}", …}}), found others'
        )
    if told.get("pictures") != pictures.digest():
        raise FarfieldError(
            f"{path}: answers to other pictures ({str(told.get('pictures'))[:12]}…, these are {pictures.digest()[:12]}…); give "
            "the run, -n and --seed that their page was made with"
        )
    answers = told.get("answers")
    if not isinstance(answers, dict) or not all(word in ("real", "made") for word in answers.values()):
        raise FarfieldError(f'{path}: expected "real" or "made" for each number; let the page save it again')
    if answers.keys() != set(pictures.keys):
        raise FarfieldError(
            f"{path}: {len(answers)} answers to {len(pictures)} pictures; expected one to each, and to no other: go to the "
            "page's end"
        )
    return {number: answers[number] for number in pictures.keys}


def _keep(run: Run, given: dict[str, Kind] | None) -> dict[str, Kind] | None:
    """The answers of the folder's one reader: those given now, or kept from before."""
    path = run.folder / "answers.json"
    before: dict[str, Kind] | None = read_kept(path)
    if given and before and given != before:
        raise FarfieldError(
            f"{run.folder}: holds the answers of another reader, and a folder is for one; choose another with -o (the same "
            f"--seed asks the same), or delete {path}"
        )
    if given and not before and run.ranks.main:
        write_kept(path, given)
    return given or before


def _notes(origin: Origin, channels: int) -> list[str]:
    """What may give a picture away, and what is not seen of it."""
    notes = []
    if origin.masked:
        notes.append(
            "Masked pixels of real fields are filled with the median: where one sees that, it may give them away."
        )
    if shown := channels_shown(channels):
        notes.append(f"The page shows {shown}.")
    return notes
