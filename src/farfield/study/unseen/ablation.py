"""The control of `farfield expand`: the same examples and seeds without the network, which costs no call of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from farfield.audit.contribution import contribution
from farfield.audit.distribution import kernel_difference
from farfield.audit.stored import StoredFeatures, in_memory
from farfield.command.contribution import NetworkAdds
from farfield.command.expand import Sampler
from farfield.command.measures import BySet
from farfield.command.shared import Solving
from farfield.core.artifact import Features, Images
from farfield.core.error import FarfieldError
from farfield.study.bench.carrier import Carrier, Finish
from farfield.study.bench.run import Run
from farfield.study.unseen.proposal import DESCENTS, Producer, produce
from farfield.unseen.calibration import CalibratedDenoiser


def without_network(
    run: Run,
    flow: CalibratedDenoiser,
    given: Images,
    sigmas: Tensor,
    numerics: Solving,
    sampler: Sampler,
    finish: Finish | None,
    keys: Sequence[str],
    fresh: Callable[[Images], Images] | None = None,
) -> Images | str:
    """Samples of the same keys by what the same fits take without the network; or why there are none.

    Of each seed the first candidate: a choice among several is made in the network's features.

    Args:
        flow: the calibrated denoiser that made the samples.
        sigmas: from their level down.
        fresh: see `produce`.
    """
    alone, flow = replace(sampler, network=False, candidates=1), flow.without_network()
    carrier, latents = Carrier.of(numerics, flow, sigmas), None
    if sampler.sampler not in DESCENTS:
        latents = carrier.up(run, "control/latents", given, "inverting without the network")
    try:
        producer = Producer(carrier, given, latents, alone, finish)
        if producer.accept:
            producer.propose([int(key) for key in keys], "sampler-0")
    except FarfieldError as error:
        return f"What the network adds to the samples is not known: without it {error}"
    return produce(run, producer, None, keys, "control/", "sampling without the network", fresh)


def network_adds(run: Run, measures: Mapping[str, BySet], *, held: bool) -> NetworkAdds | None:
    """The samples beside the control, in every descriptor in which both were measured.

    Args:
        held: whether images were held out; without any the examples are what is compared with.
    """
    distance = {}
    for label, sets in measures.items():
        if sets["samples"].kernel_distance and sets["control"].kernel_distance:
            real, generated, control = (
                in_memory(StoredFeatures(run.store(f"features/{label}/{name}", Features)))
                for name in ("references" if held else "examples", "samples", "control")
            )
            distance[label] = kernel_difference(real=real, generated=generated, control=control)
    return contribution(distance, held=held)
