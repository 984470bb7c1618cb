"""`farfield prompt`: the images that a text-to-image model makes of a domain's description, for comparison.

It needs no example and makes what the words mean to it; how far that is from the domain is measured on the same held-out
images, cut out by the same seed, as those of `farfield expand`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import farfield
from farfield.audit.standing import standing
from farfield.checkpoints.load import model_digest
from farfield.checkpoints.text_to_image import digest, load_text_to_image
from farfield.command.shared import Loading, Reading
from farfield.core import note
from farfield.core.artifact import Images, save
from farfield.core.error import FarfieldError
from farfield.core.runtime import Advance, exact_matmul, resolve_device, resolve_dtype
from farfield.data.picture import as_shown, fit, save_pngs, to_uint8
from farfield.study.bench.domain import Domain, open_domain
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


@note.kept()
def prompt(
    model: str,
    out: Path,
    prompts: Sequence[str] = (),
    reading: Reading = Reading(),
    loading: Loading = Loading(batch_size=8),
    *,
    n: int = 64,
    steps: int = 50,
    guidance: float = 7.5,
    size: int | None = None,
    heldout: str | None = None,
    examples: int | None = None,
    judge: str | None = None,
    descriptors: Sequence[str] = (),
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make ``n`` images from prompts and measure them; the summary, as written to ``summary.json``.

    Args:
        model: a Stable Diffusion folder or hub id.
        prompts: image k has the prompt of its seed modulo their number; those of `PROMPTS` for a bundled ``heldout``.
        size: pixels of a side to which images are reduced (antialiased); as the model makes them if not given.
        heldout: real images of the domain, a path or bundled. Of these ``examples`` are set aside, the same as `expand`
            draws with this seed, and the others are measured against.
        judge: a diffusion model in whose features to measure as well.
        descriptors: ``pixels``, ``model`` (with ``judge``) or files; pixels, and the judge's, if not given.
    """
    prompts = tuple(prompts) or PROMPTS.get(heldout or "", ())
    _check(prompts, n, steps, guidance, size, seed)
    batch_size, device = loading.batch_size, resolve_device(loading.device)
    painter = load_text_to_image(model, device=device, dtype=resolve_dtype(loading.dtype))
    side = size or painter.side
    domain = open_domain(heldout, (3, side, side), reading, examples=examples, n=n, seed=seed) if heldout else None
    specs = list(descriptors) or ["pixels", *(["model"] if judge else [])]
    if "model" in specs and not judge:
        raise FarfieldError("descriptor model: expected a model whose features to take; name one with --judge")
    named = identities(specs)
    request = {
        "model": model,
        "prompts": list(prompts),
        "n": n,
        "steps": steps,
        "guidance": guidance,
        "size": size,
        "heldout": heldout,
        "count": len(domain.examples) if domain else None,
        "judge": judge,
        "descriptors": named,
        "seed": seed,
        "batch_size": batch_size,
        "dtype": loading.dtype,
    }
    inputs = {
        "model": digest(model),
        "judge": model_digest(judge) if judge else None,
        **(domain.inputs("heldout") if domain else {}),
    }
    run = Run(out, "prompt", request, inputs, quiet)
    keys = [f"{s:06d}" for s in range(seed, seed + n)]

    def work(part: tuple[str, ...], advance: Advance) -> Images:
        seeds = [int(k) for k in part]
        with exact_matmul():
            made = painter([prompts[s % len(prompts)] for s in seeds], seeds, steps, guidance)
        advance(len(part))
        return Images(part, reduced(made, side))

    samples = run.compute("samples", Images, keys, batch_size, work, "painting")
    summary: dict[str, Any] = {
        "command": "prompt",
        "farfield": farfield.__version__,
        "model": {
            "name": model,
            "digest": run.request["model_digest"],
            "shape": [3, painter.side, painter.side],
            "parameters": painter.parameters,
        },
        "prompts": list(prompts),
        "n": n,
        "guidance": guidance,
        "scheduler_steps": steps,
        "size": side,
        **(_measured(run, domain, heldout, samples, specs, judge, device, batch_size) if domain else {}),
    }
    notes = [f"The prompts, in turns: {'; '.join(f'“{p}”' for p in prompts)}."]
    if cut := {text: rest for text in prompts if (rest := painter.unread(text))}:
        notes.append(f"Too long for the text encoder, left unread: {'; '.join(f'“{rest}”' for rest in cut.values())}.")
    if domain is None:
        notes.append("No held-out images were given (--heldout): nothing is measured.")
    elif "references" not in domain.held:
        notes.append("Too few held-out images: the measures compare with the examples, and there is no floor.")
    if run.ranks.main:
        save_pngs(samples, out / "png", run.provenance)
        if domain and "references" in domain.held:
            held = domain.held["references"]
            save(held.select(held.keys[:SHOWN]), out / "references")
    return run.conclude({**summary, "notes": notes})


def reduced(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images ``[n, 3, H, W]`` in [-1, 1] at ``side`` × ``side`` pixels, by the rule that real images are read by."""
    pixels = to_uint8(images).permute(0, 2, 3, 1).contiguous().numpy()
    return torch.stack([fit(picture, (3, side, side), "samples") for picture in pixels])


def _measured(
    run: Run,
    domain: Domain,
    heldout: str | None,
    samples: Images,
    specs: Sequence[str],
    judge: str | None,
    device: torch.device,
    size: int,
) -> dict[str, Any]:
    """The distances that `expand` measures, to the same references. Copies are not counted: no example was shown."""
    against = domain.held.get("references", domain.examples)
    sets = {"samples": Images(samples.keys, as_shown(samples.values)), "references": against}
    sets |= {"real": domain.held["real"]} if "real" in domain.held else {}
    denoiser = load_model(judge, Loading(device=str(device))) if judge else None
    measures: dict[str, Any] = {}
    for label, describe in descriptions(specs, against, size, denoiser, device):
        known = describe(run, sets=sets)
        measures[label] = compare(known.pop("references"), known)
    return {
        "examples": {"source": heldout},
        "references": {"source": heldout, "n": len(against)} if domain.held else None,
        "measures": measures,
        "standing": standing(measures, same_size=len(samples) == len(sets.get("real", ()))),
    }


def _check(
    prompts: Sequence[str],
    n: int,
    steps: int,
    guidance: float,
    size: int | None,
    seed: int,
) -> None:
    if not prompts or not all(p.strip() for p in prompts):
        raise FarfieldError(
            f"prompt: expected at least one, none empty; give --prompt, or --heldout with one of {', '.join(PROMPTS)}"
            if not prompts
            else "prompt: expected words, found an empty text"
        )
    least = {"n": (n, 1), "steps": (steps, 1), "seed": (seed, 0), "size": (size or 8, 8)}
    for name, (value, lowest) in least.items():
        if value < lowest:
            raise FarfieldError(f"{name} {value}: expected at least {lowest}")
    if not 0 <= guidance < float("inf"):
        raise FarfieldError(f"guidance {guidance}: expected a number of at least 0; 1 leaves guidance out")
