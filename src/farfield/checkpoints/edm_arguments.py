"""What the classes in EDM's pickles are made with: the published arguments, each of its type and within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any, Final

from farfield.checkpoints.persistent import Module
from farfield.core.error import FarfieldError
from farfield.networks.adm_unet import ADMUNet
from farfield.networks.song_unet import SongUNet

_SHARED: Final[dict[str, Any]] = {"img_resolution": None, "img_channels": None, "label_dim": 0, "use_fp16": False}
_OWN: Final[dict[str, dict[str, Any]]] = {
    "EDMPrecond": {"sigma_min": 0, "sigma_max": math.inf, "sigma_data": 0.5},
    "VPPrecond": {"beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5},
    "VEPrecond": {"sigma_min": 0.02, "sigma_max": 100},
    "iDDPMPrecond": {"C_1": 0.001, "C_2": 0.008, "M": 1000},
}
"""The arguments of each outer class in their order, the shared ones first, with their defaults."""

_NETWORKS: Final = {"SongUNet": SongUNet, "DhariwalUNet": ADMUNet}
_INNER: Final = {name: list(signature(made).parameters) for name, made in _NETWORKS.items()}
"""Those of the inner classes: ours take the published arguments in the published order."""

_WHOLE: Final = {
    "img_resolution": (1, 16_384),
    "img_channels": (1, 1024),
    "in_channels": (1, 1024),
    "out_channels": (1, 2048),
    "label_dim": (0, 1_000_000),
    "augment_dim": (0, 1000),
    "model_channels": (4, 8192),
    "channel_mult_emb": (1, 64),
    "channel_mult_noise": (1, 64),
    "channels_per_head": (1, 8192),
    "num_blocks": (1, 16),
    "M": (2, 100_000),
}
_REAL: Final = {
    "dropout": (0, 1),
    "label_dropout": (0, 1),
    "label_balance": (0, 1),
    "concat_balance": (0, 1),
    "res_balance": (0, 1),
    "attn_balance": (0, 1),
    "clip_act": (1e-3, 1e6),
    "sigma_min": (0, 1e6),
    "sigma_max": (0, math.inf),
    "sigma_data": (1e-6, 1e6),
    "beta_d": (1e-3, 100),
    "beta_min": (0, 100),
    "epsilon_t": (1e-9, 0.5),
    "C_1": (1e-9, 0.5),
    "C_2": (0, 1),
}
"""The least and the most that an argument may be."""


def preconditioning(outer: Module) -> dict[str, Any]:
    """What the outer module computes with: its attributes, or else its arguments, or else their defaults.

    Raises:
        FarfieldError: no class of EDM's, or arguments that it does not take or that cannot be.
    """
    if outer.title not in _OWN:
        raise FarfieldError(f"found class {outer.title}, expected one of {', '.join(_OWN)}")
    usual = {**_SHARED, **_OWN[outer.title]}
    return around(outer, usual, "model_type", {*_INNER["SongUNet"], *_INNER["DhariwalUNet"]})


def around(outer: Module, usual: Mapping[str, Any], last: str, inner: Iterable[str]) -> dict[str, Any]:
    """The arguments of a module around a network, as `preconditioning`.

    Args:
        usual: their names in their order, with their defaults.
        last: the name of one more, which is not needed.
        inner: those that it hands on to the network.
    """
    given = outer.arguments([*usual, last])
    refuse_others(outer.title, given.keys() - {*usual, last, *inner})
    args = {name: outer.state.get(name, given.get(name, value)) for name, value in usual.items()}
    return {**{k: checked(k, v) for k, v in args.items() if k != "use_fp16"}, "use_fp16": args["use_fp16"] is True}


def configuration(inner: Module, args: Mapping[str, Any]) -> dict[str, Any]:
    """The network as `networks.build` takes it.

    Args:
        args: the `preconditioning` around it, which it must fit.

    Raises:
        FarfieldError: as of `preconditioning`, or it does not fit.
    """
    if inner.title not in _NETWORKS:
        raise FarfieldError(f"found a network of class {inner.title}, expected {' or '.join(_NETWORKS)}")
    names, made = _INNER[inner.title], _NETWORKS[inner.title]
    given = inner.arguments(names)
    refuse_others(inner.title, given.keys() - set(names))
    usual = {name: p.default for name, p in signature(made).parameters.items()}
    config = {name: checked(name, given.get(name, usual[name])) for name in names}
    channels = args["img_channels"]
    want = [args["img_resolution"], channels, 2 * channels if "C_1" in args else channels, args["label_dim"]]
    if (have := [config[name] for name in names[:4]]) != want:
        raise FarfieldError(
            f"{inner.title} has {', '.join(names[:4])} {have}, expected {want} to fit what is around it"
        )
    if config["model_channels"] * config.get("channel_mult_noise", 1) % 2:
        raise FarfieldError(f"model_channels {config['model_channels']}: expected an even number")
    kind = "adm" if made is ADMUNet else "ncsnpp" if config["embedding_type"] == "fourier" else "ddpmpp"
    return {"kind": kind, **config}


def refuse_others(title: str, strange: set[str]) -> None:
    """Refuse arguments that a class does not take."""
    if strange:
        listed = ", ".join(name[:40] for name in sorted(strange)[:5])
        raise FarfieldError(f"{title} was made with {listed}, which the published class of that name does not take")


def checked(name: str, value: Any) -> Any:
    """An argument as JSON can hold it, of whichever class: what is neither a number nor a list is a name."""
    if name in _WHOLE:
        return _number(name, value, *_WHOLE[name], whole=True)
    if name in _REAL:
        return _number(name, value, *_REAL[name])
    if name == "channel_mult":
        return [_number(name, v, 1, 64, whole=True) for v in _listed(name, value, 1, 12)]
    if name == "attn_resolutions":
        return [_number(name, v, 1, 16_384, whole=True) for v in _listed(name, value, 0, 64)]
    if name == "resample_filter":
        taps = [_number(name, v, -1e6, 1e6) for v in _listed(name, value, 2, 64)]
        if len(taps) % 2 or not sum(taps):
            raise FarfieldError(f"{name} {taps}: expected an even number of taps with a sum that is not 0")
        return taps
    if not isinstance(value, str):
        raise FarfieldError(f"{name}: expected a name, found {_said(value)}")
    return value[:60]


def _number(name: str, value: Any, least: float, most: float, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise FarfieldError(f"{name}: expected {kind} from {least:g} to {most:g}, found {_said(value)}")
    return value


def _listed(name: str, value: Any, least: int, most: int) -> list[Any]:
    if not isinstance(value, list | tuple) or not least <= len(value) <= most:
        raise FarfieldError(f"{name}: expected a list of {least} to {most} numbers, found {_said(value)}")
    return list(value)


def _said(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    return (
        repr(value)[:60] if isinstance(value, str | int | float | None) else f"a value of type {type(value).__name__}"
    )


def in_levels(config: Mapping[str, Any]) -> str:
    """Blocks and channels of a network, in words."""
    channels = [f"{config['model_channels'] * m}" for m in config["channel_mult"]]
    return f"{config['num_blocks']} blocks at each level of {', '.join(channels)} channels"
