"""What a model's name means, and what is said when it means nothing."""

import json
import shutil

import pytest
import torch

from farfield.checkpoints.load import load_denoiser, locate, model_digest
from farfield.core.error import FarfieldError


def test_the_bundled_model_is_float16_on_disk_and_float32_in_use(cifar):
    from safetensors import safe_open

    with safe_open(locate("cifar10-32") / "unet/diffusion_pytorch_model.safetensors", framework="pt") as f:
        assert {f.get_slice(name).get_dtype() for name in f.keys()} == {"F16"}  # noqa: SIM118
    assert {p.dtype for p in cifar.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in cifar.parameters()) and not cifar.training
    assert sum(p.numel() for p in cifar.parameters()) == 2_736_099


def test_the_bundled_model_denoises(cifar):
    """At every level it beats the trivial denoisers, x itself and the mean image, on pictures it never saw."""
    from farfield.data.image import load_images

    x0 = torch.cat([load_images(d, cifar.shape, limit=16).values for d in ("ihc", "retina", "hubble")]).double()
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sigma in (0.1, 0.5, 2.0):
        error = (cifar(x0 + sigma * noise, torch.tensor(sigma)) - x0).square().mean()
        assert float(error) < 0.5 * min(sigma**2, float((x0 - x0.mean(0)).square().mean()))


def test_the_digest_is_of_the_content(tmp_path):
    shutil.copytree(locate("cifar10-32"), tmp_path / "copy")
    assert model_digest(str(tmp_path / "copy")) == model_digest("cifar10-32")
    config = tmp_path / "copy/scheduler/scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "beta_end": 0.03}))
    assert model_digest(str(tmp_path / "copy")) != model_digest("cifar10-32")


def test_clip_sample_of_the_scheduler_is_ignored(cifar):
    """A denoised value outside [-1, 1] stays there: inversion would not survive clipping."""
    x = torch.full((1, 3, 32, 32), 1.5, dtype=torch.float64)
    assert float(cifar(x, torch.tensor(0.02)).max()) > 1.2


LIES = [
    {"shape": []},
    {"shape": [1, -8, -8]},
    {"shape": [1, 10**6, 10**6]},
    {"shape": [1, 1e400, 8]},
    {"shape": [3, 8, 8]},
    {"shape": "abc"},
    {"shape": None},
    {"family": ["edm"]},
    {"family": None},
    {"classes": 10**10},
    {"classes": -1},
    {"sigma_data": 0},
    {"sigma_data": float("nan")},
    {"levels": {"sigma_min": -1}},
    {"levels": {"evil": 1}},
    {"levels": [1]},
    {"network": []},
    {"network": {"kind": "os.system"}},
    *(
        {"network": n}
        for n in ({"block_out_channels": [30_000, 60_000]}, {"layers_per_block": 10**6}, {"evil": 1}, {"dropout": 5})
    ),
    *(
        {"network": n}
        for n in ({"down_block_types": ["__import__('os')", {}]}, {"sample_size": 10**9}, {"act_fn": "x\x1b[2J"})
    ),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: str(lie)[:50])
def test_a_model_that_lies_about_itself_is_one_line(lie, tmp_path):
    source = locate("digits-generalizing")
    told = json.loads((source / "model.json").read_text())
    change = {k: {**told[k], **v} if k == "network" and v and "kind" not in v else v for k, v in lie.items()}
    (tmp_path / "model.json").write_text(json.dumps({**told, **change}))
    (tmp_path / "weights.safetensors").symlink_to(source / "weights.safetensors")
    with pytest.raises(FarfieldError) as caught:
        load_denoiser(str(tmp_path), label=1 if "classes" in lie else None)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule": "cubic"}, "beta_schedule 'cubic'"),
        ({"prediction_type": "flow"}, "prediction_type 'flow'"),
        ({"_class_name": "FlowMatchLCMScheduler"}, "consistency model"),
    ],
)
def test_unknown_configurations_are_refused(tmp_path, change, message):
    shutil.copytree(locate("cifar10-32"), tmp_path / "m")
    config = tmp_path / "m/scheduler/scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(FarfieldError, match=message):
        load_denoiser(str(tmp_path / "m"))


def test_zero_terminal_signal_is_read_and_ends_before_infinity(tmp_path):
    shutil.copytree(locate("cifar10-32"), tmp_path / "m")
    config = tmp_path / "m/scheduler/scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rescale_betas_zero_snr": True}))
    schedule = load_denoiser(str(tmp_path / "m")).schedule
    from diffusers import DDPMScheduler

    signal = DDPMScheduler.from_pretrained(tmp_path / "m/scheduler").alphas_cumprod.double()
    assert len(schedule.levels) == 999
    assert torch.allclose(schedule.levels[:990], ((1 - signal) / signal).sqrt()[:990], rtol=1e-3)


def test_a_hub_id_is_taken_from_the_cache_or_says_what_to_do(tmp_path):
    """The layout that huggingface_hub leaves on disk, filled with the bundled model.

    In a process of its own: the cache folder and the offline switch are read at import.
    """
    import os
    import subprocess
    import sys

    repository = tmp_path / "hub/models--someone--cifar"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0123456789abcdef0123456789abcdef01234567")
    folder = repository / "snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(locate("cifar10-32"), folder)
    script = "from farfield.checkpoints.load import locate; [print(locate(f'{name}/cifar')) for name in ('someone', 'no-one')]"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == str(folder), said.stderr
    assert "FarfieldError: no-one/cifar: not in the local cache" in said.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": {"block_out_channels": [30000, 60000]}}, "nothing in it is as large as 60000"),
        ({"network": {"layers_per_block": 10**6}}, "nothing in it is as large as 1000000"),
        ({"network": {"sample_size": 10**6}, "shape": [1, 10**6, 10**6]}, r"shape \(1, 1000000, 1000000\)"),
        ({"shape": [1, -8, -8]}, r"shape \(1, -8, -8\)"),
        ({"shape": []}, r"shape \(\)"),
        ({"shape": [float("inf"), 8, 8]}, "(?i)infinity"),
        ({"sigma_data": float("nan")}, "the number NaN"),
        ({"sigma_data": 0}, "sigma_data 0"),
        ({"classes": -1}, "-1 classes"),
    ],
)
def test_a_description_that_lies_about_sizes_takes_neither_memory_nor_time(tmp_path, changed, message):
    folder = shutil.copytree(locate("digits-generalizing"), tmp_path / "model")
    told = json.loads((folder / "model.json").read_text())
    network = {**told["network"], **changed.pop("network", {})}
    (folder / "model.json").write_text(json.dumps({**told, "network": network, **changed}))
    with pytest.raises(FarfieldError, match=message):
        load_denoiser(str(folder))


def test_a_model_s_digest_and_its_code_are_looked_for_through_links(tmp_path):
    from farfield.checkpoints.load import model_digest
    from farfield.checkpoints.no_code import refuse_code

    source = locate("digits-generalizing")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "part").symlink_to(source)
    (tmp_path / "model" / "back").symlink_to(tmp_path / "model")
    assert model_digest(str(tmp_path / "model")) == model_digest("digits-generalizing")
    refuse_code(tmp_path / "model")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "modeling.py").write_text("raise SystemExit")
    (tmp_path / "model" / "more").symlink_to(tmp_path / "code")
    with pytest.raises(FarfieldError, match=r"modeling\.py: code that comes with a model is not run"):
        refuse_code(tmp_path / "model")
