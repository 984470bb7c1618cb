"""``farfield reconstruct`` and ``farfield invert``."""

from __future__ import annotations

from pathlib import Path

from farfield.cli.options import (
    AsJson,
    Batch,
    Device,
    Dtype,
    Label,
    Limit,
    Model,
    Out,
    Quiet,
    Sigma,
    SolverName,
    Source,
    Steps,
    Strict,
    app,
    finish,
)


@app.command()
def reconstruct(
    model: Model,
    images: Source,
    out: Out = Path("runs/reconstruct"),
    sigma: Sigma = None,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    limit: Limit = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Invert images and decode them again: do they come back, and can their latents be believed?"""
    from farfield.present.report import write_report
    from farfield.study.reconstruct import Numerics, reconstruct

    numerics = Numerics(sigma, steps, solver, batch_size, device, dtype, label)
    reconstruct(model, images, out, numerics, limit=limit, strict=strict, quiet=quiet)
    finish(out, as_json, write_report)


@app.command()
def invert(
    model: Model,
    images: Source,
    out: Out = Path("runs/invert"),
    sigma: Sigma = None,
    steps: Steps = 24,
    solver: SolverName = "multistep",
    limit: Limit = None,
    batch_size: Batch = 64,
    device: Device = "auto",
    dtype: Dtype = "float32",
    label: Label = None,
    strict: Strict = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Images to unit-variance latents (safetensors shards), with the certificate of k against 2k steps."""
    from farfield.study.reconstruct import Numerics, reconstruct

    numerics = Numerics(sigma, steps, solver, batch_size, device, dtype, label)
    reconstruct(model, images, out, numerics, limit=limit, strict=strict, quiet=quiet, back=False)
    finish(out, as_json)
