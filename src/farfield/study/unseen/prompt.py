"""`farfield prompt`: the images that a text-to-image model makes of a domain's description, for comparison.

It needs no example and makes what the words mean to it; how far that is from the domain is measured on the same held-out
images, cut out by the same seed, as those of `farfield expand`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from farfield.audit.standing import standing
from farfield.checkpoints.load import model_digest
from farfield.checkpoints.text_to_image import digest, load_text_to_image
from farfield.command.facts import ModelFacts, SourceFacts
from farfield.command.measures import BySet
from farfield.command.prompt import PaintedDomain, Prompt, PromptResult
from farfield.command.shared import Loading, Reading
from farfield.core.artifact import Images, save
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, resolve_device, resolve_dtype
from farfield.data.picture import as_shown, fit, save_pngs, to_uint8
from farfield.study.bench.domain import Domain, Split, open_domain
from farfield.study.bench.measure import SHOWN, compare, descriptions, identities
from farfield.study.bench.numerics import load_model
from farfield.study.bench.run import Run

PROMPTS: dict[str, tuple[str, ...]] = {
    "hubble": (
        "a telescope image of a distant galaxy on a black sky",
        "a small faint galaxy, deep field astronomy photograph",
        "a spiral galaxy in the centre of an astronomical image",
    ),
    "clouds": (
        "an astronomical map of a turbulent interstellar dust cloud",
        "filaments of a molecular cloud, false-colour column density",
    ),
    "retina": ("a close-up of a retinal fundus photograph with blood vessels", "a patch of the human retina, ophthalmology"),
    "ihc": ("a microscope image of stained tissue, immunohistochemistry", "histology of colon glands, brown and blue stain"),
    "brick": ("a grey close-up photograph of a brick wall", "brick texture, black and white"),
    "grass": ("a grey close-up photograph of grass", "grass texture, black and white"),
    "gravel": ("a grey close-up photograph of gravel", "gravel texture, black and white"),
    "faces": ("a black and white portrait photograph of a face", "a small grey photograph of a person's face"),
    "digits": ("a handwritten digit, white on black", "a single handwritten number in low resolution"),
}  # fmt: skip
"""What the bundled domains are called in words, where no prompt is given; the images take turns."""


def prompt(settings: Prompt, out: Path, *, quiet: bool = False) -> PromptResult:
    """Make images from prompts, which take turns by their seeds, and measure them.

    Of the held-out images as many are set aside as `expand` draws as examples with this seed: the same.
    """
    prompts, heldout = settings.asked or PROMPTS.get(settings.heldout or "", ()), settings.heldout
    if not prompts:
        raise FarfieldError(
            f"prompt: expected at least one, none empty; give --prompt, or --heldout with one of {', '.join(PROMPTS)}"
        )
    loading, n, seed = settings.loading, settings.n, settings.seed
    device, dtype = resolve_device(loading.device), resolve_dtype(loading.dtype)
    painter = load_text_to_image(settings.model, device=device, dtype=dtype)
    side = settings.size or painter.side
    reading, domain = Reading(strict=settings.strict), None
    if heldout:
        domain = open_domain(heldout, (3, side, side), reading, Split(settings.count, n, seed=seed))
    run = Run.of(
        out,
        settings,
        {
            "model": digest(settings.model),
            "judge": model_digest(settings.judge) if settings.judge else None,
            **(domain.inputs("heldout") if domain else {}),
        },
        quiet,
        prompts=prompts,
        count=len(domain.examples) if domain else None,
        descriptors=identities(settings.specs),
    )
    keys = [f"{s:06d}" for s in range(seed, seed + n)]

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        seeds = [int(k) for k in part]
        with exact_matmul():
            made = painter([prompts[s % len(prompts)] for s in seeds], seeds, settings.steps, settings.guidance)
        advance(len(part))
        return Images(part, reduced(made, side))

    samples = run.compute("samples", Images, keys, loading.batch_size, work, "painting").read()
    result = PromptResult(
        model=ModelFacts(
            name=settings.model,
            digest=run.request["model_digest"],
            shape=[3, painter.side, painter.side],
            parameters=painter.parameters,
        ),
        prompts=list(prompts),
        n=n,
        guidance=settings.guidance,
        scheduler_steps=settings.steps,
        size=side,
        notes=[f"The prompts, in turns: {'; '.join(f'“{p}”' for p in prompts)}."],
    )
    if cut := {text: rest for text in prompts if (rest := painter.unread(text))}:
        unread = "; ".join(f"“{rest}”" for rest in cut.values())
        result.notes.append(f"Too long for the text encoder, left unread: {unread}.")
    if domain is None or heldout is None:
        result.notes.append("No held-out images were given (--heldout): nothing is measured.")
    else:
        result = _measured(run, domain, samples, settings, result)
    if run.ranks.main:
        save_pngs(samples, out / "png", run.provenance)
        if domain and "references" in domain.held:
            held = domain.held["references"]
            save(held.select(held.keys[:SHOWN]), out / "references")
    return run.finish(result)


def reduced(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images ``[n, 3, H, W]`` in [-1, 1] at ``side`` × ``side`` pixels, by the rule that real images are read by."""
    pixels = to_uint8(images).permute(0, 2, 3, 1).contiguous().numpy()
    return torch.stack([fit(picture, (3, side, side), "samples") for picture in pixels])


def _measured(run: Run, domain: Domain, samples: Images, settings: Prompt, result: PromptResult) -> PromptResult:
    """With the distances that `expand` measures, to the same references. Copies are not counted: no example was shown."""
    held, source = domain.held, settings.heldout or ""
    against = held.get("references", domain.examples)
    sets = {"samples": Images(samples.keys, as_shown(samples.values)), "references": against}
    sets |= {"real": held["real"]} if "real" in held else {}
    device = settings.loading.device
    denoiser = load_model(settings.judge, Loading(device=device)) if settings.judge else None
    measures: dict[str, BySet] = {}
    described = descriptions(settings.specs, against, settings.loading.batch_size, denoiser, resolve_device(device))
    for label, describe in described:
        known = describe(run, sets=sets)
        measures[label] = compare(known.pop("references"), known)
    if "references" not in held:
        result.notes.append("Too few held-out images: the measures compare with the examples, and there is no floor.")
    return result.but(
        examples=PaintedDomain(source=source),
        references=SourceFacts(source=source, n=len(against)) if held else None,
        measures=measures,
        standing=standing(measures, same_size=len(samples) == len(sets.get("real", ()))),
    )
