import subprocess
import sys

import pytest
import torch

from farfield.core.error import FarfieldError
from farfield.core.runtime import exact_matmul, generator, resolve_device, resolve_dtype, seeded_noise


def test_noise_of_a_seed_is_its_own():
    whole = seeded_noise(range(64), (3, 4, 4))
    assert torch.equal(seeded_noise([17], (3, 4, 4))[0], whole[17])
    assert torch.equal(whole[5], torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(5)))


def test_streams_of_one_seed_are_independent():
    a, b, c = (seeded_noise([1], (100000,), s)[0] for s in ("", "eta", "sampler"))
    for x, y in ((a, b), (a, c), (b, c)):
        assert abs(float((x * y).mean())) < 0.015
    assert torch.equal(b, seeded_noise([1], (100000,), "eta")[0])
    assert not torch.equal(seeded_noise([2], (10,), "eta")[0], b[:10])


def test_names_of_devices_and_precisions():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_dtype("bfloat16") == torch.bfloat16
    for bad in ("tpu", "cuda:99", "gpu0"):
        with pytest.raises(FarfieldError, match=f"device '{bad}'"):
            resolve_device(bad)
    with pytest.raises(FarfieldError, match="dtype 'half'"):
        resolve_dtype("half")
    with pytest.raises(FarfieldError, match="seed -1"):
        generator(-1)


def test_tf32_is_off_inside_and_put_back():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with exact_matmul():
            assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("code", ["import farfield", "import farfield.cli"])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    """What makes `import farfield` and `farfield --help` instant; the seconds themselves are for the benchmark."""
    heavy = ("torch", "numpy", "scipy", "diffusers", "matplotlib", "sklearn", "skimage", "PIL", "faiss", "torchmetrics")
    script = f"import sys; {code}; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
        == "[]"
    )
