"""What the classes in EDM2's pickles are made with: the published arguments, each of its type and within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, Final

from farfield.checkpoints.edm_arguments import around, checked, refuse_others
from farfield.checkpoints.persistent import Module
from farfield.core.error import FarfieldError
from farfield.networks.magnitude_unet import MagnitudeUNet

OUTER: Final = "Precond"
INNER: Final = "UNet"
_AROUND: Final[dict[str, Any]] = {
    "img_resolution": None,
    "img_channels": None,
    "label_dim": None,
    "use_fp16": True,
    "sigma_data": 0.5,
}
"""The arguments of the outer class in their order, with their defaults; the next, ``logvar_channels``, is of training alone."""
_USUAL: Final = {
    name: parameter.default
    for name, parameter in signature(MagnitudeUNet).parameters.items()
    if name != "label_dropout"
}
"""Those of the inner one: ours takes the published arguments in the published order, but for the name of ``in_channels``."""
_NAMES: Final = ["img_channels" if name == "in_channels" else name for name in _USUAL]
_NONE: Final = ("channel_mult_noise", "channel_mult_emb", "clip_act")
"""What may be none."""


def preconditioning(outer: Module) -> dict[str, Any]:
    """What the outer module computes with: its attributes, or else its arguments, or else their defaults.

    Raises:
        FarfieldError: arguments that it does not take or that cannot be.
    """
    return around(outer, _AROUND, "logvar_channels", _NAMES)


def configuration(inner: Module, args: Mapping[str, Any]) -> dict[str, Any]:
    """The network as `networks.build` takes it.

    Args:
        args: the `preconditioning` around it, which it must fit.

    Raises:
        FarfieldError: as of `preconditioning`, or it does not fit.
    """
    if inner.title != INNER:
        raise FarfieldError(f"found a network of class {inner.title}, expected {INNER}")
    given = inner.arguments(_NAMES)
    refuse_others(inner.title, given.keys() - set(_NAMES))
    given |= {name: inner.state[name] for name in ("label_balance", "concat_balance") if name in inner.state}
    config = {
        ours: given.get(name, usual)
        if name in _NONE and given.get(name, usual) is None
        else checked(name, given.get(name, usual))
        for name, (ours, usual) in zip(_NAMES, _USUAL.items(), strict=True)
    }
    want = [args[name] for name in ("img_resolution", "img_channels", "label_dim")]
    if (have := [config[name] for name in ("img_resolution", "in_channels", "label_dim")]) != want:
        raise FarfieldError(
            f"{INNER} has img_resolution, img_channels, label_dim {have}, expected {want} to fit what is around it"
        )
    return {"kind": "edm2", **config}
