"""Pickles in the format of EDM2's training loop, and what such a network answers: from equations and names of weights alone.

`plan` gives names and shapes; `answer` is the network as a function of them in float64; `saved` the objects of a file.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from edm_files import EasyDict, Saved, module_state, written_there
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True)
class Flags:
    """What such a network is made with."""

    side: int = 8
    channels: int = 3
    classes: int = 0
    width: int = 8
    multipliers: tuple[int, ...] = (1, 2)
    noise: int | None = None
    embedding: int | None = None
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    per_head: int = 8
    label_balance: float = 0.5
    concat_balance: float = 0.5
    res_balance: float = 0.3
    attn_balance: float = 0.3
    clip: float | None = 256.0
    taps: tuple[float, ...] = (1, 1)
    sigma_data: float = 0.5

    @property
    def told(self) -> int:
        return self.width * (self.embedding or max(self.multipliers))

    def arguments(self) -> dict[str, Any]:
        """Those of the inner class, by their published names."""
        return {
            "model_channels": self.width,
            "channel_mult": list(self.multipliers),
            "channel_mult_noise": self.noise,
            "channel_mult_emb": self.embedding,
            "num_blocks": self.blocks,
            "attn_resolutions": list(self.attention),
            "label_balance": self.label_balance,
            "concat_balance": self.concat_balance,
            "resample_filter": list(self.taps),
            "channels_per_head": self.per_head,
            "dropout": 0.1,
            "res_balance": self.res_balance,
            "attn_balance": self.attn_balance,
            "clip_act": self.clip,
        }


@dataclass
class Plan:
    """The blocks in their order: names, channels before and after, and what each does."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    encoder: list[tuple[str, str, bool]] = field(default_factory=list)
    decoder: list[tuple[str, str, bool]] = field(default_factory=list)


def plan(flags: Flags) -> Plan:
    made, widths = Plan(), [flags.width * m for m in flags.multipliers]
    noise, last = flags.width * (flags.noise or flags.multipliers[0]), len(widths) - 1

    def block(name: str, before: int, after: int, way: str, attends: bool) -> None:
        encodes = name.startswith("enc")
        attends = attends and after >= flags.per_head
        shapes = {"conv_res0": (after, after if encodes else before, 3, 3), "conv_res1": (after, after, 3, 3)}
        shapes |= {"emb_linear": (after, flags.told)}
        shapes |= {"conv_skip": (after, before, 1, 1)} if before != after else {}
        shapes |= {"attn_qkv": (3 * after, after, 1, 1), "attn_proj": (after, after, 1, 1)} if attends else {}
        made.shapes |= {f"{name}.{part}.weight": shape for part, shape in shapes.items()} | {f"{name}.emb_gain": ()}
        (made.encoder if encodes else made.decoder).append((name, way, attends))

    made.shapes |= {"out_gain": (), "emb_fourier.freqs": (noise,), "emb_fourier.phases": (noise,)}
    made.shapes["emb_noise.weight"] = (flags.told, noise)
    if flags.classes:
        made.shapes["emb_label.weight"] = (flags.told, flags.classes)
    now, kept = widths[0], [widths[0]]
    for i, after in enumerate(widths):
        level = f"{flags.side >> i}x{flags.side >> i}"
        if i == 0:
            made.shapes[f"enc.{level}_conv.weight"] = (now, flags.channels + 1, 3, 3)
        else:
            block(f"enc.{level}_down", now, now, "down", False)
            kept.append(now)
        for k in range(flags.blocks):
            block(f"enc.{level}_block{k}", now, after, "", flags.side >> i in flags.attention)
            now = after
            kept.append(now)
    for i in reversed(range(last + 1)):
        level = f"{flags.side >> i}x{flags.side >> i}"
        if i == last:
            block(f"dec.{level}_in0", now, now, "", True)
            block(f"dec.{level}_in1", now, now, "", False)
        else:
            block(f"dec.{level}_up", now, now, "up", False)
        for k in range(flags.blocks + 1):
            block(f"dec.{level}_block{k}", now + kept.pop(), widths[i], "kept", flags.side >> i in flags.attention)
            now = widths[i]
    made.shapes["out_conv.weight"] = (flags.channels, now, 3, 3)
    return made


def weights(flags: Flags, seed: int = 0, dtype: torch.dtype = torch.float32) -> State:
    """Random weights of no particular magnitude, float32 or as the training saves them, float16."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in plan(flags).shapes.items():
        drawn = torch.randn(shape, generator=g)
        drawn = 0.6 + 0.2 * drawn if "gain" in name else drawn * (0.5 + torch.rand((), generator=g))
        state[name] = drawn.to(dtype)
    return state


def answer(flags: Flags, state: State, x: Tensor, time: Tensor, rows: Tensor | None = None) -> Tensor:
    """The network's answer to ``x`` told ``time`` and classes as ``rows`` ``[B, classes]``, one-hot or nothing; float64."""
    w = {name: value.double() for name, value in state.items()}

    def unit(x: Tensor, *dims: int) -> Tensor:
        return x / (x.square().mean(dims, keepdim=True).sqrt() + 1e-4)

    def apply(name: str, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        kernel = w[f"{name}.weight"]
        fan = kernel[0].numel()
        kernel = unit(kernel, *range(1, kernel.ndim)) * gain / fan**0.5
        return x @ kernel.T if kernel.ndim == 2 else functional.conv2d(x, kernel, padding=(kernel.shape[-1] - 1) // 2)

    def swish(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x) / 0.596

    def added(a: Tensor, b: Tensor, t: float) -> Tensor:
        return ((1 - t) * a + t * b) / ((1 - t) ** 2 + t**2) ** 0.5

    def resized(x: Tensor, way: str) -> Tensor:
        taps = torch.tensor(flags.taps, dtype=torch.float64) / sum(flags.taps)
        kernel = (taps[:, None] * taps).expand(x.shape[1], 1, -1, -1)
        n = len(taps) // 2
        if way == "down":
            return functional.conv2d(functional.pad(x, (n - 1,) * 4), kernel, groups=x.shape[1])[..., ::2, ::2]
        spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
        spread[..., ::2, ::2] = 4 * x
        return functional.conv2d(functional.pad(spread, (n, n - 1, n, n - 1)), kernel, groups=x.shape[1])

    def attention(name: str, x: Tensor) -> Tensor:
        """A head at a time, pixels in rows."""
        rows = apply(f"{name}.attn_qkv", x).flatten(2).transpose(1, 2)
        heads, answers = x.shape[1] // flags.per_head, []
        for part in rows.chunk(heads, 2):  # the three of each channel side by side
            q, k, v = (unit(part[..., i::3], 2) for i in range(3))
            answers.append((q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(2) @ v)
        return apply(f"{name}.attn_proj", torch.cat(answers, 2).transpose(1, 2).reshape(x.shape))

    def block(name: str, x: Tensor, way: str, attends: bool) -> Tensor:
        x = resized(x, way) if way in ("up", "down") else x
        main = apply(f"{name}.conv_skip", x) if f"{name}.conv_skip.weight" in w else x
        if name.startswith("enc"):
            x = main = unit(main, 1)
        y = apply(f"{name}.conv_res0", swish(x))
        y = swish(y * (1 + apply(f"{name}.emb_linear", told, w[f"{name}.emb_gain"]))[..., None, None])
        x = added(main, apply(f"{name}.conv_res1", y), flags.res_balance)
        x = added(x, attention(name, x), flags.attn_balance) if attends else x
        return x if flags.clip is None else x.clamp(-flags.clip, flags.clip)

    turns = time.double()[:, None] * w["emb_fourier.freqs"] + w["emb_fourier.phases"]
    told = apply("emb_noise", 2**0.5 * turns.cos())
    if flags.classes:
        assert rows is not None
        told = added(told, apply("emb_label", rows.double() * flags.classes**0.5), flags.label_balance)
    told = swish(told)
    made = plan(flags)
    now = torch.cat([x.double(), torch.ones(len(x), 1, *x.shape[2:], dtype=torch.float64)], 1)
    now = apply(f"enc.{flags.side}x{flags.side}_conv", now)
    kept = [now]
    for name, way, attends in made.encoder:
        now = block(name, now, way, attends)
        kept.append(now)
    for name, way, attends in made.decoder:
        if way == "kept":
            other, t = kept.pop(), flags.concat_balance
            whole = (now.shape[1] + other.shape[1]) / ((1 - t) ** 2 + t**2)
            shares = (1 - t) / now.shape[1] ** 0.5, t / other.shape[1] ** 0.5
            now = whole**0.5 * torch.cat([now * shares[0], other * shares[1]], 1)
        now = block(name, now, way, attends)
    return apply("out_conv", now, w["out_gain"])


def denoised(flags: Flags, state: State, x: Tensor, sigma: Tensor, rows: Tensor | None = None) -> Tensor:
    """D of one level, preconditioned as arXiv 2206.00364, table 1."""
    d, s = flags.sigma_data, sigma.double()
    v = s**2 + d**2
    said = answer(flags, state, x / v.sqrt(), (s.log() / 4).expand(len(x)), rows)
    return d**2 / v * x + s * d / v.sqrt() * said


def _tree(state: State, kinds: dict[str, str]) -> Saved:
    """Modules within modules that hold a state dict, containers as torch's own."""

    def made(title: str, prefix: str) -> Any:
        within = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        own = {n: v for n, v in within.items() if "." not in n}
        inner = sorted({n.partition(".")[0] for n in within} - own.keys())
        told = module_state(_init_args=(), _init_kwargs={})
        buffers = ("freqs", "phases")
        told["_parameters"] = OrderedDict({n: nn.Parameter(v) for n, v in own.items() if n not in buffers})
        told["_buffers"] = OrderedDict({n: v for n, v in own.items() if n in buffers})
        for name in inner:
            told["_modules"][name] = made(kinds.get(name, "Block" if "x" in name else "MPConv"), f"{prefix}{name}.")
        if title == "ModuleDict":
            container = nn.ModuleDict()
            container._modules = told["_modules"]
            return container
        return Saved(title, told)

    return made("UNet", "")


def saved(flags: Flags, state: State, *, logvar: bool = True, **own: Any) -> Saved:
    """A ``Precond`` as it stands in a file; ``own`` attributes replace the right ones."""
    around = {"img_resolution": flags.side, "img_channels": flags.channels, "label_dim": flags.classes}
    kinds = {"enc": "ModuleDict", "dec": "ModuleDict", "emb_fourier": "MPFourier"}
    unet = _tree(state, kinds)
    balances = {"label_balance": flags.label_balance, "concat_balance": flags.concat_balance}
    unet.state |= {**balances, "_init_args": (), "_init_kwargs": {**around, **flags.arguments()}}
    given = EasyDict(**around, **flags.arguments(), use_fp16=True, sigma_data=flags.sigma_data)
    outer = module_state(**around, use_fp16=True, sigma_data=flags.sigma_data, _init_args=(), _init_kwargs=given)
    outer["_modules"]["unet"] = unet
    if logvar:
        dtype = state["out_conv.weight"].dtype
        parts = {"freqs": torch.ones(128, dtype=dtype), "phases": torch.ones(128, dtype=dtype)}
        outer["_modules"]["logvar_fourier"] = Saved("MPFourier", {**module_state(), "_buffers": OrderedDict(parts)})
        weight = OrderedDict(weight=nn.Parameter(torch.ones(1, 128, dtype=dtype)))
        outer["_modules"]["logvar_linear"] = Saved("MPConv", {**module_state(), "_parameters": weight})
    return Saved("Precond", outer | own)


def pixels() -> Saved:
    """The encoder of models of pixels."""
    return Saved("StandardRGBEncoder", {"_init_args": (), "_init_kwargs": EasyDict()})


def stability(scale: Any = None, bias: Any = None, name: str = "stabilityai/sd-vae-ft-mse") -> Saved:
    """That of latent models, with the published mean and deviation of its latents unless others are given."""
    spread, mean = np.float32([4.17, 4.62, 3.71, 3.28]), np.float32([5.81, 3.25, 0.12, -2.15])
    usual = np.float32(0.5) / spread
    scale, bias = usual if scale is None else scale, -mean * usual if bias is None else bias
    told = {"vae_name": name, "scale": scale, "bias": bias, "batch_size": 8, "_vae": None}
    return Saved("StabilityVAEEncoder", {**told, "_init_args": (), "_init_kwargs": EasyDict()})


def snapshot(ema: Saved, encoder: Saved | None = None, **others: Any) -> EasyDict:
    """What ``network-snapshot-….pkl`` holds."""
    data = EasyDict(class_name="training.dataset.ImageFolderDataset", path="images.zip", use_labels=True)
    told = {"encoder": pixels() if encoder is None else encoder, "dataset_kwargs": data}
    return EasyDict(**told, loss_fn=Saved("EDM2Loss", {"P_mean": -0.4, "P_std": 1.0}), ema=ema, **others)


def content(flags: Flags) -> bytes:
    """A small file of such a network, latent where it has four channels."""
    root = snapshot(saved(flags, weights(flags, dtype=torch.float16)), stability() if flags.channels == 4 else None)
    with written_there():
        return pickle.dumps(root)
