"""Configurations of diffusers' schedulers: levels, times and answers against the schedulers' own arithmetic."""

import json

import diffusers
import pytest
import torch
from torch import nn

from farfield.checkpoints.scheduler import DISCRETE, scheduled
from farfield.core.error import FarfieldError
from farfield.diffusion.schedule import DiscreteSchedule
from farfield.networks.unet2d import SampleOnly

# of diffusers' own use of numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SHAPE = (2, 3, 3)
PLACES = (0, 5, 10, 18)


class Wave(nn.Module):
    """A network that knows its time: half a turn a thousand steps."""

    def forward(self, x, time, label=None):
        return 0.3 * x.flip(1) + torch.cos(time.double() * torch.pi / 1000)[:, None, None, None]


def told(scheduler, **ours):
    """The configuration as a folder keeps it."""
    return {**json.loads(scheduler.to_json_string()), **ours}


def noisy(sigma):
    g = torch.Generator().manual_seed(0)
    return torch.randn(1, *SHAPE, generator=g, dtype=torch.float64) * (1 + sigma)


def x0_of_steps(scheduler, place):
    """x0 as a scheduler that walks in x_t says it; and the x and sigma it is of."""
    scheduler.set_timesteps(20)
    t = int(scheduler.timesteps[place])
    signal = scheduler.alphas_cumprod[t].double()
    sigma = ((1 - signal) / signal).sqrt()
    x = noisy(sigma)
    sample = x * signal.sqrt()
    output = Wave()(sample, torch.tensor([t]))
    if hasattr(scheduler, "convert_model_output"):
        scheduler._step_index = place
        return scheduler.convert_model_output(output, sample=sample), x, sigma
    return scheduler.step(output, t, sample).pred_original_sample, x, sigma


def x0_of_sigmas(scheduler, place):
    """x0 as a scheduler that walks in x says it; and the x and sigma it is of."""
    scheduler.set_timesteps(20)
    time, sigma = scheduler.timesteps[place], scheduler.sigmas[place].double()
    x = noisy(sigma)
    output = Wave()(scheduler.scale_model_input(x, time), time.reshape(1))
    if hasattr(scheduler, "convert_model_output"):
        return scheduler.convert_model_output(output, sample=x), x, sigma
    answer = scheduler.step(output, time, x)
    found = answer.get("pred_original_sample")
    if found is None:  # a first step of Euler's: prev = x + (x - x0) / sigma * (next - sigma)
        found = x - sigma * (answer.prev_sample - x) / (scheduler.sigmas[place + 1] - sigma)
    return found, x, sigma


def compare(scheduler, of, place, **ours):
    want, x, sigma = of(scheduler, place)
    got = scheduled(Wave(), told(scheduler, **ours), SHAPE)(x, sigma)
    assert float(((got - want) / (1 + sigma)).abs().max()) < 2e-6  # theirs are float32


BETAS = [
    {},
    {"num_train_timesteps": 250, "beta_start": 0.001, "beta_end": 0.08},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
    {"beta_schedule": "sigmoid"},
    {"beta_schedule": "laplace"},
    {"trained_betas": [0.01 * (k + 1) for k in range(20)]},
    {"rescale_betas_zero_snr": True},
    {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
]


@pytest.mark.parametrize("config", BETAS, ids=str)
def test_levels_are_those_of_the_scheduler(config):
    scheduler = diffusers.DDPMScheduler(**config)
    schedule = scheduled(Wave(), told(scheduler), SHAPE).schedule
    assert isinstance(schedule, DiscreteSchedule)
    signal = 1 / (1 + schedule.levels**2)
    want = scheduler.alphas_cumprod.double()
    ends = config.get("rescale_betas_zero_snr", False)  # a level without signal is none of ours
    assert len(signal) == len(want) - ends
    torch.testing.assert_close(signal, want[: len(signal)], rtol=0, atol=1e-5)
    # without the rounding of a thousand float32 products
    exact = torch.cumprod(1 - scheduler.betas.double(), 0)
    torch.testing.assert_close(signal, exact[: len(signal)], rtol=0, atol=5e-6)  # rounded: 6e-7


@pytest.mark.parametrize("kind", DISCRETE)
def test_every_discrete_scheduler_has_the_levels_of_its_own_defaults(kind):
    scheduler = getattr(diffusers, kind)()
    schedule = scheduled(Wave(), {"_class_name": kind}, SHAPE).schedule
    torch.testing.assert_close(1 / (1 + schedule.levels**2), scheduler.alphas_cumprod.double(), rtol=0, atol=3e-6)
    assert torch.equal(schedule.time(schedule.levels).round(), torch.arange(1000.0, dtype=torch.float64))


def test_the_exponential_schedule_is_heuns():
    scheduler = diffusers.HeunDiscreteScheduler(beta_schedule="exp")
    schedule = scheduled(Wave(), told(scheduler), SHAPE).schedule
    torch.testing.assert_close(1 / (1 + schedule.levels**2), scheduler.alphas_cumprod.double(), rtol=0, atol=3e-6)


EVERY, MOST = ("epsilon", "sample", "v_prediction"), ("epsilon", "v_prediction")


@pytest.mark.parametrize(
    ("kind", "of", "predictions"),
    [
        ("DDPMScheduler", x0_of_steps, EVERY),
        ("DDPMParallelScheduler", x0_of_steps, EVERY),
        ("DDIMScheduler", x0_of_steps, EVERY),
        ("DDIMParallelScheduler", x0_of_steps, EVERY),
        ("DPMSolverMultistepScheduler", x0_of_steps, EVERY),
        ("DPMSolverSinglestepScheduler", x0_of_steps, EVERY),
        ("UniPCMultistepScheduler", x0_of_steps, EVERY),
        ("EulerDiscreteScheduler", x0_of_sigmas, EVERY),
        ("LMSDiscreteScheduler", x0_of_sigmas, EVERY),
        ("EulerAncestralDiscreteScheduler", x0_of_sigmas, MOST),
        ("HeunDiscreteScheduler", x0_of_sigmas, MOST),
    ],
)
def test_denoisers_are_those_of_the_schedulers(kind, of, predictions):
    plain = {"clip_sample": False} if kind.startswith("DD") else {}
    for prediction in predictions:
        for place in PLACES:
            compare(getattr(diffusers, kind)(prediction_type=prediction, **plain), of, place)


def unet(**choices):
    """A tiny UNet2DModel with random weights, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = diffusers.UNet2DModel(
            sample_size=8,
            in_channels=2,
            out_channels=2,
            layers_per_block=1,
            block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            **choices,
        )
    return network.double().eval().requires_grad_(False)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"])
@pytest.mark.parametrize("numbers", [{}, {"sigma_min": 0.01, "sigma_max": 20.0, "sigma_data": 1.3}], ids=str)
def test_edm_schedulers_precondition_as_edm_does(kind, prediction, numbers):
    scheduler = getattr(diffusers, kind)(prediction_type=prediction, **numbers)
    network = unet()
    denoiser = scheduled(SampleOnly(network), told(scheduler), (2, 8, 8))
    assert denoiser.schedule.bounds == pytest.approx((scheduler.config.sigma_min, scheduler.config.sigma_max))
    scheduler.set_timesteps(20)
    for place in PLACES:
        sigma, time = scheduler.sigmas[place].double(), scheduler.timesteps[place]
        x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * (1 + sigma)
        output = network(scheduler.precondition_inputs(x, sigma), time).sample
        want = scheduler.precondition_outputs(x, output, sigma)
        torch.testing.assert_close(denoiser(x, sigma), want, rtol=1e-6, atol=1e-6)


def test_a_continuous_euler_scheduler_tells_its_network_the_logarithm():
    scheduler = diffusers.EulerDiscreteScheduler(
        timestep_type="continuous",
        prediction_type="v_prediction",
        sigma_min=0.002,
        sigma_max=700.0,
        use_karras_sigmas=True,
    )
    assert scheduled(Wave(), told(scheduler), SHAPE).schedule.bounds == (0.002, 700.0)
    for place in PLACES:
        compare(scheduler, x0_of_sigmas, place)


@pytest.mark.parametrize("centred", [True, False])
def test_a_variance_exploding_network_answers_with_the_score_of_images_from_0_to_1(centred):
    """Of its scheduler's own step: the mean moves by the score times the difference of the variances."""
    scheduler = diffusers.ScoreSdeVeScheduler(num_train_timesteps=50, sigma_min=0.02, sigma_max=30.0)
    network = unet(time_embedding_type="fourier", center_input_sample=centred)
    denoiser = scheduled(SampleOnly(network), told(scheduler), (2, 8, 8))
    assert denoiser.schedule.bounds == (0.04, 60.0)
    levels = scheduler.discrete_sigmas.double()
    for place in (1, 20, 49):
        y = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + levels[place]
        score = network(y, levels[place : place + 1]).sample
        mean = scheduler.step_pred(score, (place + 0.5) / 49, y).prev_sample_mean
        share = levels[place] ** 2 / (levels[place] ** 2 - levels[place - 1] ** 2)
        want = 2 * (y + share * (mean - y)) - 1
        got = denoiser(2 * y - 1, 2 * levels[place])
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "ScoreSdeVeScheduler"},
        {"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction"},
    ],
    ids=str,
)
def test_the_network_of_a_denoiser_may_be_given_another(config):
    """What training does: the network that a denoiser holds is averaged, kept, and put under the same plan again."""
    embedding = "fourier" if "Ve" in config["_class_name"] else "positional"
    once = scheduled(SampleOnly(unet(time_embedding_type=embedding)), config, (2, 8, 8))
    twice = scheduled(once.network, config, (2, 8, 8))
    x, sigma = torch.randn(1, 2, 8, 8, dtype=torch.float64), torch.tensor(1.5)
    assert torch.equal(once(x, sigma), twice(x, sigma))
    assert once.network.state_dict().keys() == SampleOnly(unet(time_embedding_type=embedding)).state_dict().keys()
    with pytest.raises(FarfieldError, match="UNet2DModel alone, found Wave"):
        scheduled(Wave(), config, SHAPE)


def test_time_steps_can_be_told_in_thousandths():
    plain = scheduled(Wave(), {"num_train_timesteps": 50}, SHAPE)
    scaled = scheduled(Wave(), {"num_train_timesteps": 50, "timestep_scale": 20.0}, SHAPE)
    levels = plain.schedule.levels
    torch.testing.assert_close(scaled.schedule.time(levels), 20 * torch.arange(50, dtype=torch.float64))
    x = noisy(levels[30])
    eps = Wave()(x / (1 + levels[30] ** 2).sqrt(), torch.tensor([600.0]))
    torch.testing.assert_close(scaled(x, levels[30]), x - levels[30] * eps)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"_class_name": "LCMScheduler"}, "consistency model"),
        ({"_class_name": "MyScheduler"}, "MyScheduler is not read here"),
        ({"_class_name": ["DDPMScheduler"]}, "is not read here"),
        ({"prediction_type": "flow_prediction"}, "prediction_type 'flow_prediction'"),
        ({"prediction_type": None}, "prediction_type None"),
        ({"beta_schedule": "cubic"}, "beta_schedule 'cubic'"),
        ({"beta_schedule": ["linear"]}, "a number that is none"),
        ({"beta_start": "small"}, "a number that is none"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps; expected 2 to"),
        ({"num_train_timesteps": 1}, "num_train_timesteps; expected 2 to"),
        ({"timestep_scale": float("nan")}, "timestep_scale nan"),
        ({"beta_end": 7.0}, "betas"),
        ({"beta_end": float("nan")}, "betas"),
        ({"trained_betas": [0.1, -0.1]}, "betas"),
        ({"trained_betas": "0.1"}, "a number that is none"),
        ({"trained_betas": [], "rescale_betas_zero_snr": True}, r"trained_betas of shape \(0,\)"),
        ({"trained_betas": [{}]}, "a number that is none"),
        ({"_class_name": "EDMEulerScheduler", "prediction_type": "sample"}, "expected epsilon or v_prediction"),
        ({"_class_name": "EDMEulerScheduler", "sigma_data": 0}, "positive sigma_data"),
        ({"_class_name": "EDMEulerScheduler", "sigma_min": 90}, "noise levels 90 to 80"),
        ({"_class_name": "EDMEulerScheduler", "sigma_max": None}, "a number that is none"),
    ],
    ids=str,
)
def test_other_configurations_are_refused(config, said):
    with pytest.raises(FarfieldError, match=said):
        scheduled(Wave(), config, SHAPE)
