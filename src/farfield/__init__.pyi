"""Made by `make docs` from `farfield.command`; change it there. The types of what `farfield` gives when it is asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from farfield.api.found import Found
from farfield.api.model import decode as decode
from farfield.api.model import load as load
from farfield.api.model import models as models
from farfield.api.model import open_images as open_images
from farfield.api.model import wrap as wrap
from farfield.command.analyse import AnalyseResult
from farfield.command.audit import AuditResult
from farfield.command.blind import BlindResult
from farfield.command.compare import CompareResult
from farfield.command.describe import DescribeResult
from farfield.command.describe import TrainDescriptorResult
from farfield.command.dimension import DimensionResult
from farfield.command.distances import DistancesResult
from farfield.command.edit import EditResult
from farfield.command.expand import ExpandResult
from farfield.command.gain import GainResult
from farfield.command.generate import GenerateResult
from farfield.command.molrg import MolrgResult
from farfield.command.prompt import PromptResult
from farfield.command.rank import RankResult
from farfield.command.reconstruct import ReconstructResult
from farfield.command.reproduce import ReproduceResult
from farfield.command.restore import RestoreResult
from farfield.command.score import ScoreGlResult
from farfield.command.score import ScoreMatrixResult
from farfield.command.score import ScoreRpResult
from farfield.command.train import TrainResult
from farfield.command.transfer import TransferResult
from farfield.command.transition import TransitionResult

__version__: str

Given = Any
"""A path, a domain or a model's name; an array, a denoiser, or what another function returned."""

def expand(
    model: Given,
    examples: Given,
    heldout: Given = ...,
    *,
    n: int = ...,
    count: int | None = ...,
    descriptors: Given = ...,
    trust: Given = ...,
    seed: int = ...,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    mask: Given = ...,
    fill: Literal["median", "drawn"] = ...,
    sampler: Literal["auto", "sdedit", "noise", "patchwork", "interpolation", "gaussian", "perturbation", "geometric"] = ...,
    prior: Literal["isotropic", "diagonal", "lowrank"] = ...,
    t: Sequence[float] | float | str = ...,
    centre: bool = ...,
    partner: Literal["example", "prior"] = ...,
    candidates: int = ...,
    reach: float = ...,
    calibrate: bool = ...,
    network: bool = ...,
    patches: bool = ...,
    symmetry: Given = ...,
    fresh_noise: bool = ...,
    ivar: Given = ...,
    parents: int | None = ...,
    sigma: float | Literal["usual", "last", "auto"] = ...,
    steps: int = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
    control: bool = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ExpandResult]: ...

def gain(
    examples: Given,
    models: Given,
    *,
    count: int | None = ...,
    seed: int = ...,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    mask: Given = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[GainResult]: ...

def compare(
    model: Given,
    examples: Given,
    heldout: Given = ...,
    *,
    counts: Sequence[int] | int | str | None = ...,
    methods: Given = ...,
    samples: Given = ...,
    tuning_budget: float = ...,
    epochs: int = ...,
    learning_rate: float | None = ...,
    rank: int = ...,
    n: int = ...,
    descriptors: Given = ...,
    trust: Given = ...,
    seed: int = ...,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    mask: Given = ...,
    steps: int = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[CompareResult]: ...

def reconstruct(
    model: Given,
    images: Given,
    *,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    mask: Given = ...,
    sigma: float | None = ...,
    steps: int | None = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] | None = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    method: Literal["explicit", "fixed-point", "reversible-heun", "bdia", "belm", "edit-friendly", "auto"] = ...,
    round_trip: float = ...,
    latent: float = ...,
    eta: float = ...,
    seed: int = ...,
    limit: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ReconstructResult]: ...

def invert(
    model: Given,
    images: Given,
    *,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    mask: Given = ...,
    sigma: float | None = ...,
    steps: int | None = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] | None = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    method: Literal["explicit", "fixed-point", "reversible-heun", "bdia", "belm", "edit-friendly", "auto"] = ...,
    round_trip: float = ...,
    latent: float = ...,
    eta: float = ...,
    seed: int = ...,
    limit: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ReconstructResult]: ...

def restore(
    model: Given,
    images: Given,
    *,
    mask: Given = ...,
    blur: Given = ...,
    scale: int | None = ...,
    noise: float = ...,
    measured: bool = ...,
    n: int = ...,
    limit: int | None = ...,
    against: Given = ...,
    descriptor: Given = ...,
    trust: Given = ...,
    threshold: float | None = ...,
    rate: float = ...,
    iterations: int = ...,
    eta: float = ...,
    seed: int = ...,
    steps: int = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    field_mask: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[RestoreResult]: ...

def analyse(
    model: Given,
    examples: Given,
    *,
    count: int | None = ...,
    in_domain: Given = ...,
    limit: int | None = ...,
    seed: int = ...,
    levels: Sequence[float] | float | str | None = ...,
    eta: Sequence[float] | float | str = ...,
    noise: Sequence[float] | float | str = ...,
    symmetry: Given = ...,
    decoded: int = ...,
    down_steps: int = ...,
    descriptor: Given = ...,
    trust: Given = ...,
    brief: bool = ...,
    strict: bool = ...,
    stretch: Given = ...,
    patch: int | None = ...,
    hdu: Given = ...,
    mask: Given = ...,
    fill: Literal["median", "drawn"] = ...,
    steps: int = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[AnalyseResult]: ...

def transfer(
    model: Given,
    content: Given,
    style: Given,
    heldout: Given = ...,
    *,
    n: int | None = ...,
    count: int | None = ...,
    kind: Literal["mean", "isotropic", "diagonal", "channels", "spectrum", "lowrank"] = ...,
    strength: Sequence[float] | float | str = ...,
    descriptors: Given = ...,
    trust: Given = ...,
    seed: int = ...,
    steps: int = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    sigma: float | None = ...,
    strict: bool = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[TransferResult]: ...

def prompt(
    model: Given,
    heldout: Given = ...,
    *,
    prompts: Given = ...,
    published: bool = ...,
    n: int = ...,
    steps: int = ...,
    guidance: float = ...,
    size: int | None = ...,
    count: int | None = ...,
    judge: Given = ...,
    descriptors: Given = ...,
    trust: Given = ...,
    seed: int = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    strict: bool = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[PromptResult]: ...

def blind(
    run: Given,
    *,
    n: int | None = ...,
    seed: int = ...,
    answers: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[BlindResult]: ...

class _Audit:
    def __call__(
        self,
        subject: Given,
        train: Given,
        heldout: Given = ...,
        *,
        other: Given = ...,
        theory: bool = ...,
        seeds: Sequence[int] | int | str | None = ...,
        n: int | None = ...,
        solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
        steps: int = ...,
        batch_size: int = ...,
        dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
        labels: Sequence[int] | int | str = ...,
        descriptor: Given = ...,
        trust: Given = ...,
        threshold: float | None = ...,
        rate: float = ...,
        seed: int = ...,
        device: Given = ...,
        out: str | Path | None = ...,
        quiet: bool = ...,
    ) -> Found[AuditResult]: ...
    def copies(
        self,
        samples: Given,
        training: Given,
        heldout: Given = ...,
        *,
        descriptor: Given = ...,
        trust: Given = ...,
        threshold: float | None = ...,
        rate: float = ...,
        search: Literal["exact", "ivf", "hnsw"] = ...,
        limit: int | None = ...,
        seed: int = ...,
        batch_size: int = ...,
        device: Given = ...,
        out: str | Path | None = ...,
        quiet: bool = ...,
    ) -> Found[ScoreGlResult]: ...

audit: _Audit

def score_rp(
    first: Given,
    second: Given,
    *,
    calibrate: Given = ...,
    descriptor: Given = ...,
    trust: Given = ...,
    threshold: float | None = ...,
    rate: float = ...,
    mae_limit: float = ...,
    common: bool = ...,
    pairing: Literal["name", "order"] = ...,
    limit: int | None = ...,
    seed: int = ...,
    batch_size: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ScoreRpResult]: ...

def score_gl(
    samples: Given,
    training: Given,
    heldout: Given = ...,
    *,
    descriptor: Given = ...,
    trust: Given = ...,
    threshold: float | None = ...,
    rate: float = ...,
    search: Literal["exact", "ivf", "hnsw"] = ...,
    limit: int | None = ...,
    seed: int = ...,
    batch_size: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ScoreGlResult]: ...

def score_matrix(
    sources: Given,
    *,
    descriptor: Given = ...,
    trust: Given = ...,
    threshold: float | None = ...,
    rate: float = ...,
    mae_limit: float = ...,
    common: bool = ...,
    pairing: Literal["name", "order"] = ...,
    limit: int | None = ...,
    seed: int = ...,
    batch_size: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ScoreMatrixResult]: ...

def distances(
    real: Given,
    generated: Given,
    *,
    descriptors: Given = ...,
    trust: Given = ...,
    limit: int | None = ...,
    seed: int = ...,
    batch_size: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[DistancesResult]: ...

def transition(
    *,
    data: Given = ...,
    sizes: Sequence[int] | int | str | None = ...,
    widths: Sequence[int] | int | str | None = ...,
    seeds: Sequence[int] | int | str = ...,
    times: int | None = ...,
    halves: bool = ...,
    labels: bool = ...,
    teacher: Given = ...,
    train: Given = ...,
    samples: int = ...,
    heldout_images: int | None = ...,
    descriptor: Given = ...,
    trust: Given = ...,
    threshold: float | None = ...,
    rate: float = ...,
    mae_limit: float = ...,
    jobs: int | None = ...,
    commands: bool = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[TransitionResult]: ...

def reproduce(
    names: Given = ...,
    *,
    every: bool = ...,
    small: bool = ...,
    data: Given = ...,
    commands: bool = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[ReproduceResult]: ...

def describe(
    source: Given,
    *,
    descriptor: Given = ...,
    trust: Given = ...,
    references: Given = ...,
    model: Given = ...,
    limit: int | None = ...,
    batch_size: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[DescribeResult]: ...

def train_descriptor(
    data: Given,
    *,
    images: int,
    max_images: int | None = ...,
    batch_size: int = ...,
    width: int = ...,
    features: int = ...,
    learning_rate: float = ...,
    entropy: float = ...,
    mixed: float = ...,
    half: bool = ...,
    minutes: float = ...,
    seed: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[TrainDescriptorResult]: ...

def rank(
    model: Given,
    *,
    along: Literal["noised", "trajectory", "clean"] = ...,
    images: Given = ...,
    points: int = ...,
    sigmas: Sequence[float] | float | str | None = ...,
    seed: int = ...,
    method: Literal["auto", "exact", "matrix-free"] = ...,
    share: float = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[RankResult]: ...

def dimension(
    model: Given,
    images: Given,
    *,
    sigmas: Sequence[float] | float | str | None = ...,
    probes: int = ...,
    copies: int | None = ...,
    limit: int | None = ...,
    seed: int = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    strict: bool = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[DimensionResult]: ...

def edit(
    model: Given,
    images: Given,
    *,
    mask: Given = ...,
    direction: Sequence[int] | int | str = ...,
    strength: Sequence[float] | float | str = ...,
    compose: Given = ...,
    keep: int | None = ...,
    load: Given = ...,
    each: bool = ...,
    rival: Given = ...,
    labels: Given = ...,
    attribute: Given = ...,
    seed: int = ...,
    limit: int | None = ...,
    steps: int = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    label: int | None = ...,
    sigma: float | None = ...,
    strict: bool = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[EditResult]: ...

def molrg(
    *,
    n: int = ...,
    classes: int = ...,
    dimension: Sequence[int] | int | str = ...,
    per_class: int = ...,
    noise: float = ...,
    orthogonal: bool = ...,
    ratios: Sequence[float] | float | str = ...,
    seeds: int = ...,
    starts: int = ...,
    sigmas: Sequence[float] | float | str = ...,
    points: int = ...,
    share: float = ...,
    network: Literal["mlp", "unet", "none"] = ...,
    precond: Literal["sample", "edm"] = ...,
    network_counts: Sequence[int] | int | str = ...,
    network_seeds: int = ...,
    length: int = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[MolrgResult]: ...

def generate(
    model: Given,
    *,
    seeds: Sequence[int] | int | str | None = ...,
    solver: Literal["euler", "ddim", "heun", "midpoint", "multistep"] | None = ...,
    steps: int = ...,
    sigma_max: float | None = ...,
    sigma_min: float | None = ...,
    rho: float | None = ...,
    eta: float = ...,
    form: Literal["png", "shards", "npz"] = ...,
    batch_size: int = ...,
    device: Given = ...,
    dtype: Literal["float32", "bfloat16", "float16", "float64", "auto"] = ...,
    churn: float = ...,
    churn_min: float = ...,
    churn_max: float = ...,
    churn_noise: float = ...,
    labels: Sequence[int] | int | str = ...,
    each: Literal["snapshot", "label"] | None = ...,
    noise: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[GenerateResult]: ...

def train(
    *,
    data: Given,
    length: int,
    batch_size: int = ...,
    accumulate: int = ...,
    learning_rate: float = ...,
    warmup: int = ...,
    decay: Literal["constant", "cosine", "linear", "rsqrt"] = ...,
    weight_decay: float = ...,
    ema: Given = ...,
    clip: float = ...,
    flips: bool = ...,
    turns: bool = ...,
    level_law: Sequence[float] | float | str | None = ...,
    precision: Literal["float32", "bfloat16", "float16"] = ...,
    seed: int = ...,
    start: Given = ...,
    layers: Given = ...,
    max_images: int | None = ...,
    heldout: Given = ...,
    heldout_images: int = ...,
    network: Literal["ddpmpp", "ncsnpp", "adm", "unet2d", "mixer", "dit"] = ...,
    precond: Literal["edm", "ddpm", "v", "iddpm", "vp", "ve", "flow"] | None = ...,
    width: int = ...,
    multipliers: Sequence[int] | int | str | None = ...,
    blocks: int | None = ...,
    attention: Sequence[int] | int | str | None = ...,
    dropout: float = ...,
    sigma_data: float | None = ...,
    labels: bool = ...,
    augment: float = ...,
    every: int | None = ...,
    snapshots: int | None = ...,
    at: Sequence[int] | int | str = ...,
    samples: int = ...,
    log: Literal["tensorboard"] | None = ...,
    minutes: float = ...,
    float16: bool = ...,
    compiled: bool = ...,
    device: Given = ...,
    out: str | Path | None = ...,
    quiet: bool = ...,
) -> Found[TrainResult]: ...

def inspect(
    model: Given,
    *,
    answers: Given = ...,
    hashed: bool | None = ...,
    checked: bool = ...,
    data: Given = ...,
    limit: int | None = ...,
    label: int | None = ...,
    device: Given = ...,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def convert(
    model: Given,
    out: Given,
    *,
    float16: bool = ...,
    answers: Given = ...,
    format: Literal["auto", "farfield", "diffusers"] = ...,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def fetch(
    name: Given = ...,
    *,
    url: Given = ...,
    sha256: Given = ...,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def domains() -> Any: ...

def dataset_convert(
    source: Given,
    out: Given,
    *,
    max_images: int | None = ...,
    seed: int | None = ...,
    resize: Sequence[int] | int | str | None = ...,
    resize_mode: Literal["center-crop", "stretch", "pad"] = ...,
    channels: int | None = ...,
    format: Literal["folder", "zip", "npz"] | None = ...,
    labels: bool = ...,
    strict: bool = ...,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def dataset_scan(
    source: Given,
    *,
    near: float = ...,
    search: Literal["exact", "ivf", "hnsw"] | None = ...,
    show: int = ...,
    max_images: int | None = ...,
    seed: int | None = ...,
    strict: bool = ...,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def demo(
    *,
    out: Given = ...,
    galaxies: bool = ...,
    n: int = ...,
    show: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def ui(
    *,
    folder: Given = ...,
    port: int = ...,
    most: int = ...,
    show: bool = ...,
) -> Any: ...

def runs(
    folder: Given = ...,
    *,
    show: bool = ...,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...

def again(
    run: Given,
    *,
    options: Given = ...,
    out: Given = ...,
    quiet: bool = ...,
) -> Any: ...

def report(
    run: Given,
    *,
    pdf: bool = ...,
    show: bool = ...,
) -> Any: ...

def doctor(
    *,
    as_json: bool = ...,
    quiet: bool = ...,
) -> Any: ...
