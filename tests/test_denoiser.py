"""One net under every parameterization is one denoiser."""

import pytest
import torch
from torch import nn

from farfield.core.error import FarfieldError
from farfield.diffusion.denoiser import NetworkDenoiser
from farfield.diffusion.schedule import ContinuousSchedule, DiscreteSchedule, linear_betas
from farfield.diffusion.solver import integrate

SCHEDULE = DiscreteSchedule(linear_betas())


class Noise(nn.Module):
    """A smooth nonlinear stand-in for an eps-network of any channel count and size."""

    def __init__(self, extra=0):
        super().__init__()
        self.extra = extra
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, x, time, label=None):
        t = (time / 1000).reshape(-1, 1, 1, 1)
        shift = 0 if label is None else label.reshape(-1, 1, 1, 1) / 10
        eps = torch.tanh(self.weight * x + x.roll(1, -1) * t + shift)
        return torch.cat([eps, 100 * torch.ones_like(eps)], 1) if self.extra else eps


class As(nn.Module):
    """The same knowledge, told as another prediction: x0 or v from eps, at the network's own input x_t = a x."""

    def __init__(self, eps, kind):
        super().__init__()
        self.eps, self.kind = eps, kind

    def forward(self, x_t, time):
        e = self.eps(x_t, time)
        sigma = (
            SCHEDULE.levels.log()[time.floor().long()] * (1 - time % 1)
            + SCHEDULE.levels.log()[(time.floor().long() + 1).clamp(max=999)] * (time % 1)
        ).exp()
        s = sigma.reshape(-1, 1, 1, 1)
        a = (1 + s**2).rsqrt()
        x0 = (x_t - s * a * e) / a
        return x0 if self.kind == "sample" else a * e - s * a * x0


class FromEps(nn.Module):
    """The raw output F that makes EDM's preconditioning give the eps-model's denoiser."""

    def __init__(self, eps, d=0.5):
        super().__init__()
        self.eps, self.d = eps, d

    def forward(self, x_in, time):
        s = (4 * time).exp().reshape(-1, 1, 1, 1)
        v = s**2 + self.d**2
        x = x_in * v.sqrt()
        denoised = x - s * self.eps(x * (1 + s**2).rsqrt(), SCHEDULE.time(s.flatten()))
        return (denoised - self.d**2 / v * x) / (s * self.d * v.rsqrt())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12), (7, 5, 9)])
def test_every_parameterization_gives_the_same_trajectory(shape):
    eps = Noise()
    models = [
        NetworkDenoiser(eps, SCHEDULE, shape),
        NetworkDenoiser(As(eps, "sample"), SCHEDULE, shape, "sample"),
        NetworkDenoiser(As(eps, "v"), SCHEDULE, shape, "v"),
        NetworkDenoiser(FromEps(eps), ContinuousSchedule(0.01, 157), shape, "edm"),
    ]
    x = 20 * torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigmas = SCHEDULE.sigmas(12, 20.0)
    ends = [integrate(m, x, sigmas, "midpoint") for m in models]
    for other in ends[1:]:
        assert (other - ends[0]).abs().max() < 1e-10


def test_learned_variance_is_left_out():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    plain, learned = (NetworkDenoiser(Noise(extra), SCHEDULE, (3, 4, 4)) for extra in (0, 1))
    assert torch.equal(plain(x, torch.tensor(2.0)), learned(x, torch.tensor(2.0)))


def test_labels_reach_the_network_and_levels_may_differ_by_image():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    one, two = (NetworkDenoiser(Noise(), SCHEDULE, (3, 4, 4), label=k) for k in (1, 2))
    assert not torch.allclose(one(x, torch.tensor(2.0)), two(x, torch.tensor(2.0)))
    both = one(x, torch.tensor([2.0, 7.0]))
    assert torch.allclose(both[1:], one(x[1:], torch.tensor(7.0)), atol=1e-14)


def test_answers_in_the_callers_precision():
    network = Noise().float()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    assert NetworkDenoiser(network, SCHEDULE, (1, 4, 4))(x, torch.tensor(1.0)).dtype == torch.float64
    assert NetworkDenoiser(network, SCHEDULE, (1, 4, 4))(x.float(), torch.tensor(1.0)).dtype == torch.float32


def test_wrong_channels_and_unknown_predictions_are_refused():
    class Thrice(nn.Module):
        def forward(self, x, time):
            return torch.cat([x, x, x], 1)

    with pytest.raises(FarfieldError, match="expected the same shape"):
        NetworkDenoiser(Thrice(), SCHEDULE, (1, 4, 4))(torch.zeros(1, 1, 4, 4), torch.tensor(1.0))
    with pytest.raises(FarfieldError, match="prediction 'wave'"):
        NetworkDenoiser(Noise(), SCHEDULE, (1, 4, 4), "wave")
    with pytest.raises(FarfieldError, match="expected a FlowSchedule"):
        NetworkDenoiser(Noise(), SCHEDULE, (1, 4, 4), "flow")


@pytest.mark.parametrize("named", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("classes", [None, 4])
def test_a_diffusers_folder_is_read_as_diffusers_means_it(tmp_path, named, classes):
    """Our denoiser against the x0 that diffusers' own scheduler derives from the same network output."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    from farfield.checkpoints.load import load_denoiser

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=(8, 16),
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        num_class_embeds=classes,
    )
    scheduler = DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", prediction_type=named, clip_sample=False)
    DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    label = None if classes is None else 3
    model = load_denoiser(str(tmp_path), label=label)
    assert model.shape == (1, 8, 16)
    for t in (0, 40, 98):
        a = scheduler.alphas_cumprod[t].sqrt()
        x_t = torch.randn(2, 1, 8, 16)
        with torch.no_grad():
            output = unet(x_t, t, class_labels=None if label is None else torch.full((2,), label)).sample
        expected = scheduler.step(output, t, x_t).pred_original_sample
        found = model(x_t.double() / a, model.schedule.levels[t])
        assert (found - expected).abs().max() < 2e-4 * max(1, expected.abs().max())
