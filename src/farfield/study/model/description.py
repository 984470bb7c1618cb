"""What a model is, as far as its file or folder says it, and why; its weights are not read."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from farfield.checkpoints import foreign, hub, latent, parts
from farfield.checkpoints.card import Card, card_of_file, find_card
from farfield.checkpoints.checkpoint import Answers, Checkpoint, Finding, Question
from farfield.checkpoints.file.stored import State, Stored
from farfield.checkpoints.given import given_model
from farfield.checkpoints.load import model_digest
from farfield.checkpoints.native import WEIGHTS, is_native, read_blueprint
from farfield.checkpoints.own_name import is_given
from farfield.checkpoints.place import is_bundled, is_empirical, locate, split_name
from farfield.checkpoints.recognised import UnreadError
from farfield.checkpoints.wrapped import alone
from farfield.core.download import file_sha256, recorded_sha256
from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.schedule import DiscreteSchedule
from farfield.networks.words import in_words
from farfield.study.model.read_as import prediction_of, read_as

HASHED: Final = 1 << 28
"""Files up to so many bytes are hashed unasked: a second at most."""


@dataclass(frozen=True)
class Description:
    """What a model is.

    Attributes:
        model: its name, as given.
        path: of its file or folder.
        family: whose format it is: ``edm``, ``guided-diffusion``, ``ddpm``, ``diffusers``, ``latent diffusion``, ``farfield``.
        architecture: of its network, in words.
        network: its configuration.
        parameters: how many weights.
        dtype: of most of them, as stored.
        size: bytes of the file, or of the weights in a folder.
        prediction: what the network answers.
        schedule: ``levels`` in words, ``sigma_min``, ``sigma_max``, ``steps``, None of a continuous one, and ``open_end``:
            whether it was trained on pure noise too, which is no level.
        shape: (C, H, W) of what the network sees.
        image_shape: (C, H, W) of the pictures; another only with latent diffusion.
        classes: how many, 0 if unconditional.
        sha256: of the file, or over the files of a folder; None if not computed.
        licence: as its card or its README states it; None where neither does.
        findings: what was read and concluded, and why.
        questions: what is still to be answered.
    """

    model: str
    path: Path
    family: str
    architecture: str
    network: dict[str, Any]
    parameters: int
    dtype: str
    size: int
    prediction: str
    schedule: dict[str, Any]
    shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    classes: int
    sha256: str | None
    licence: str | None
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def describe(
    model: str, answers: Answers | None = None, *, hashed: bool | None = None, quiet: bool = False
) -> Description:
    """What a model is.

    Args:
        model: a name as `checkpoints.load` knows it.
        answers: to what a file does not say; for this once.
        hashed: compute the sha256; if not given, where that takes a second at most.

    Raises:
        FarfieldError: no such model, or it cannot be read.
    """
    if is_empirical(model):
        raise FarfieldError(
            f"{model}: the denoiser of a data set has no file and no network; expected a model with weights"
        )
    if is_given(model):
        return _of_own(model)
    bare, part = split_name(model)
    path = locate(bare)
    if path.is_file():
        try:
            checkpoint = _answered(path, answers, part) if answers else foreign.open_checkpoint(path, part=part)
            description = _of_file(model, checkpoint)
        except UnreadError as error:
            description = _unread(model, path, error)
        digest, changed = _file_hash(path, hashed, quiet)
        return replace(description, sha256=digest, findings=(*description.findings, *changed))
    description = _of_folder(model, path, part, answers or {})
    wanted = description.size <= HASHED if hashed is None else hashed
    return replace(description, sha256=model_digest(model) if wanted else None)


def _answered(path: Path, answers: Answers, part: str | None) -> Checkpoint:
    """A file, when it is sure that each answer can be and answers something."""
    kept = foreign.kept_answers(path)
    try:
        before, after = foreign.open_checkpoint(path, {}, part), foreign.open_checkpoint(path, answers, part)
    except FarfieldError as error:
        hint = f"; {path.name}{foreign.SIDECAR} keeps {kept}, delete it to begin anew" if kept else ""
        raise FarfieldError(f"{error}{hint}") from error
    asked = {q.name for q in before.questions} | {f.what for f in after.findings}
    silent = [name for name in answers if name not in asked]
    if silent and before.plan == after.plan:
        open_ones = ", ".join(q.name for q in before.questions) or "none"
        raise FarfieldError(
            f"{path}: {', '.join(silent)}: no question of this file, or what it says already; open questions: {open_ones}"
        )
    return after


def licence_of(name: str, path: Path) -> str | None:
    """What a card states of a file's name or a hub id, or a folder's README in its head."""
    card: Card | None = card_of_file(path) if path.is_file() else find_card(name)
    if card is not None:
        by_name = f" (of the published {card.file}, by the name)" if path.is_file() else ""
        return f"{card.licence}{by_name}"
    if path.is_dir() and (path / "README.md").is_file():
        lines = (path / "README.md").read_text(encoding="utf-8", errors="replace").splitlines()[:40]
        if lines[:1] == ["---"]:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), None)
    return None


def _of_file(model: str, checkpoint: Checkpoint) -> Description:
    plan = checkpoint.plan
    return Description(
        model=model,
        path=checkpoint.path,
        family=checkpoint.family,
        architecture=in_words(plan.network),
        network=plan.network,
        parameters=checkpoint.parameters,
        dtype=str(checkpoint.dtype).removeprefix("torch."),
        size=checkpoint.path.stat().st_size,
        **read_as(plan),
        shape=plan.shape,
        image_shape=checkpoint.image_shape,
        classes=plan.classes,
        sha256=None,
        licence=licence_of(model, checkpoint.path),
        findings=checkpoint.findings,
        questions=checkpoint.questions,
    )


def _of_own(model: str) -> Description:
    """A module of the user's own, as farfield.wrap was told to read it."""
    denoiser = given_model(model)
    inner = next((m for m in denoiser.modules() if isinstance(m, NetworkDenoiser)), None)
    schedule, weights = denoiser.schedule, list(denoiser.parameters())
    steps = len(inner.schedule.levels) if inner and isinstance(inner.schedule, DiscreteSchedule) else None
    return Description(
        model=model,
        path=Path(model),
        family="your own network",
        architecture=model,
        network={"out_channels": 2 * denoiser.shape[0]}
        if any(getattr(m, "doubled", False) for m in denoiser.modules())
        else {},
        parameters=sum(p.numel() for p in weights),
        dtype=str(weights[0].dtype if weights else torch.float32).removeprefix("torch."),
        size=sum(p.numel() * p.element_size() for p in weights),
        prediction=prediction_of(inner) if inner else "the image",
        schedule={
            "levels": f"{steps} time steps" if steps else "continuous",
            "sigma_min": schedule.sigma_min,
            "sigma_max": schedule.sigma_max,
            "steps": steps,
            "open_end": schedule.open_end,
        },
        shape=denoiser.shape,
        image_shape=denoiser.image_shape,
        classes=0,
        sha256=model_digest(model),
        licence=None,
        findings=(Finding("reading", "as farfield.wrap was told", "--check runs it"),),
        questions=(),
    )


def _unread(model: str, path: Path, error: UnreadError) -> Description:
    """A file that is known for what it is, though it is not read."""
    unknown = "not known here"
    return Description(
        model=model,
        path=path,
        family=error.kind.name,
        architecture="not rebuilt here",
        network={},
        parameters=error.parameters,
        dtype=str(error.dtype).removeprefix("torch.") if error.dtype else "no kind",
        size=path.stat().st_size,
        prediction=unknown,
        schedule={"levels": unknown, "sigma_min": None, "sigma_max": None, "steps": None, "open_end": False},
        shape=(),
        image_shape=(),
        classes=0,
        sha256=None,
        licence=licence_of(model, path),
        findings=(
            Finding("family", error.kind.name, "names in it, of weights, parts or classes"),
            Finding("to measure it", error.kind.advice, ""),
        ),
        questions=(),
    )


def _of_folder(model: str, folder: Path, part: str | None, answers: Answers) -> Description:
    image_shape: tuple[int, ...] | None = None
    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()
    ours = is_native(folder) or latent.is_latent(folder)
    if answers and (ours or parts.find_scheduler(folder) is not None):
        raise FarfieldError(f"{model}: a folder says everything; leave --set out, or change its .json files")
    if part is not None and is_native(folder):
        raise FarfieldError(f"{model}: it holds no parts to choose from; leave @{part} out")
    if is_native(folder):
        plan, family, stored = read_blueprint(folder), "farfield", _tensors(folder / WEIGHTS)
        findings = (Finding("network", plan.network.get("kind"), "model.json says so"),)
        if plan.units is not None:
            findings += (Finding("units", str(plan.units), "of a picture's -1 to 1; model.json says so"),)
    elif latent.is_latent(folder):
        plan, image_shape = latent.read_plan(folder)
        latent.check_parts(folder)
        family, (stored, told) = "latent diffusion", latent.stored_network(folder)
        findings = (Finding("pictures", image_shape, "an autoencoder stands between them and the network"), *told)
    else:
        family, levels = "diffusers", None
        if parts.find_scheduler(folder) is None:
            levels, questions, findings = parts.asked(folder, answers)
        plan = hub.read_plan(folder, part, levels)
        place = parts.network_folder(folder, part)
        stored = alone(hub.stored_weights(place))
        if levels is None:
            named, why = (plan.scheduler or {}).get("_class_name", "none"), "its configuration says so"
            findings = (Finding("scheduler", named, f"{why}; of it the levels and the prediction alone are used"),)
        if (average := parts.average_of(folder)) is not None:
            taken = part != "net"
            why = "the moving average comes first; MODEL@net takes the other" if taken else "asked for by @"
            findings = (Finding("part", average.name if taken else place.name, why), *findings)
    counts = Counter({t.dtype: 0 for t in stored.values()})
    for tensor in stored.values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    return Description(
        model=model,
        path=folder,
        family=family,
        architecture=in_words(plan.network),
        network=plan.network,
        parameters=counts.total(),
        dtype=str(counts.most_common(1)[0][0]).removeprefix("torch."),
        size=sum(dtype.itemsize * n for dtype, n in counts.items()),
        **read_as(plan),
        shape=plan.shape,
        image_shape=image_shape or plan.shape,
        classes=plan.classes,
        sha256=None,
        licence="Apache-2.0" if is_bundled(model) else licence_of(model, folder),
        findings=findings,
        questions=questions,
    )


def _tensors(path: Path) -> State:
    from farfield.checkpoints.file.tree import open_tree

    root = open_tree(path).root
    if not isinstance(root, dict) or not all(isinstance(t, Stored) for t in root.values()):
        raise FarfieldError(f"{path}: expected tensors by their names and nothing else; found something else")
    return root


def _file_hash(path: Path, hashed: bool | None, quiet: bool) -> tuple[str | None, tuple[Finding, ...]]:
    """The sha256 of a file, or that which it was downloaded with; and whether the two differ."""
    recorded = recorded_sha256(path)
    if not (path.stat().st_size <= HASHED if hashed is None else hashed):
        return recorded, ()
    digest = file_sha256(path, quiet=quiet)
    if recorded and recorded != digest:
        return digest, (Finding("sha256", digest, f"it had {recorded} when it was downloaded: the file was changed"),)
    return digest, ()
