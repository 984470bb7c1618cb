"""Files that no loader should open: what acts, explodes, lies about itself, is cut short, or is something else."""

from __future__ import annotations

import io
import struct
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import ddpm_files
import edm2_files
import guided_files
import ldm_files
import lucid_files
import mixer_files
import sde_files
import torch
import transformer_files
from edm_files import Saved
from forge import Call, Global, edm, loaded, pickled, tensor, torch_old, torch_zip
from hostile_calls import calls
from hostile_containers import archives, inner_storages, old_files, safetensors, tensors


@dataclass(frozen=True)
class Hostile:
    """A file that is to be refused.

    Attributes:
        acts: it is small, and would do something.
        opens: it holds nothing but data, so that it may be looked into; a model is not in it.
    """

    kind: str
    content: bytes
    acts: bool = False
    opens: bool = False


def corpus(mark: Path) -> Iterator[Hostile]:
    """All of them, one after the other.

    Args:
        mark: a file that those which act would make.
    """
    for kind, value in calls(mark).items():
        for container, content in held(value).items():
            yield Hostile(f"{kind} in {container}", content, acts=True)
    kinds = {
        "pickle": pickles(),
        "tensor": tensors(),
        "archive": archives(),
        "old file": old_files(),
        "storage in a pickle": inner_storages(),
        "safetensors": safetensors(),
        "not a model": others(),
    }
    for group, files in kinds.items():
        for kind, content in files.items():
            yield Hostile(f"{group}: {kind}", content)
    for kind, content in cut_short():
        yield Hostile(kind, content)
    for kind, content in strangers().items():
        yield Hostile(f"of no family: {kind}", content, opens=True)


def held(value: Any) -> dict[str, bytes]:
    """A value in each of the containers that there are."""
    return {
        "a bare pickle": pickled({"ema": value}, 4),
        "a torch file": torch_zip({"ema": value}),
        "an old torch file": torch_old({"ema": value}),
        "a storage of a pickle": pickled({"ema": tensor(loaded(torch_old(value)), (1,), (1,))}),
    }


def valid() -> dict[str, bytes]:
    """A good file of each container and each family, to be spoilt."""
    from safetensors.torch import save

    state = {"a.weight": torch.arange(24.0).reshape(4, 6), "a.bias": torch.ones(4, dtype=torch.float16)}
    new, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "step": 7, "views": [state["a.weight"].T]}, new)
    torch.save({"state_dict": state, "step": 7}, old, _use_new_zipfile_serialization=False)
    return {
        "an EDM pickle": pickled({"ema": edm()}, 4),
        "an EDM pickle of protocol 2": pickled({"ema": edm()}),
        "a torch file": new.getvalue(),
        "an old torch file": old.getvalue(),
        "a safetensors file": save(state),
        "a file of arrays": mixer_files.stream(mixer_files.arrays()),
        "a guided-diffusion file": _compact(guided_files.layout(guided_files.Flags())),
        "a training state with a list": _listed(ddpm_files.shapes(ddpm_files.Flags())),
        "an EDM2 pickle": edm2_files.content(edm2_files.Flags(channels=4, multipliers=(1,), attention=())),
        "a teacher of consistency models": _compact(
            guided_files.squared(guided_files.layout(guided_files.Flags(learned=False)))
        ),
        "a file of flow matching": _flow(),
        "an original DDPM file": _compact(
            {k: tuple(v.shape) for k, v in ddpm_files.random_state(ddpm_files.Flags()).items()}
        ),
        "a network of denoising-diffusion-pytorch": _compact(lucid_files.layout(lucid_files.Flags())),
        "a file of latent diffusion": _compact(ldm_files.layout()),
        "a DiT file": _compact(transformer_files.dit_layout(transformer_files.Flags(rows=11))),
        "a U-ViT file": _compact(transformer_files.uvit_layout(transformer_files.Flags())),
        "a score_sde file": _compact(
            {k: tuple(v.shape) for k, v in sde_files.random_state(sde_files.Flags()).items() if k != "sigmas"}
        ),
    }


def _flow() -> bytes:
    """As Meta's flow_matching keeps it: a module around the model, with the averages, and the arguments; see `_compact`."""
    shapes = guided_files.layout(guided_files.Flags(learned=False))
    one, out = torch.zeros(max(map(prod, shapes.values())), dtype=torch.float16), io.BytesIO()
    views = {name: one[: prod(shape)].view(shape) for name, shape in shapes.items()}
    shadows = {f"shadow_params.{i}": view for i, view in enumerate(views.values())}
    state = {**{f"model.{name}": view for name, view in views.items()}, "num_updates": torch.tensor(1), **shadows}
    options = Namespace(discrete_flow_matching=False, skewed_timesteps=True)
    torch.save({"model": state, "epoch": 1, "args": options}, out)
    return out.getvalue()


def _compact(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """A state dict in which all tensors are the beginning of one."""
    one, out = torch.zeros(max(map(prod, shapes.values())), dtype=torch.float16), io.BytesIO()
    torch.save({name: one[: prod(shape)].view(shape) for name, shape in shapes.items()}, out)
    return out.getvalue()


def _listed(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """A network and its average as torch_ema keeps it, of tensors that are the beginning of one."""
    one, out = torch.zeros(max(map(prod, shapes.values())), dtype=torch.float16), io.BytesIO()
    sizes = {
        f"{name}.{kind}": s for name, shape in shapes.items() for kind, s in (("weight", shape), ("bias", shape[:1]))
    }
    state = {name: one[: prod(size)].view(size) for name, size in sizes.items()}
    torch.save({"model": state, "ema": {"decay": 0.9, "shadow_params": list(state.values())}, "step": 7}, out)
    return out.getvalue()


def cut_short() -> Iterator[tuple[str, bytes]]:
    """Each of the valid ones as a download leaves it that stopped, and with something behind its end."""
    for kind, content in valid().items():
        for part in (
            2,
            30,
            len(content) // 5,
            len(content) // 2,
            len(content) - 300,
            len(content) - 23,
            len(content) - 1,
        ):
            yield f"{kind} cut after {part} bytes", content[:part]
        if "pickle" in kind or "old" in kind:
            yield f"{kind} with something behind it", content + b"N."


def counted(code: bytes, size: int) -> bytes:
    """An opcode that says that so many bytes follow, where few do."""
    return b"\x80\x04" + code + struct.pack("<Q", size) + b"abc."


def pickles() -> dict[str, bytes]:
    """Pickles that explode, or that Python's own reader stumbles on."""
    n = 300_000
    wide = "😀".encode() + b"a" * (8 << 20)
    one = b"cbuiltins\nint\n\x94"
    keys = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 20_000))
    return {
        "an integer of megabytes": b"\x80\x02\x8b" + struct.pack("<i", 2 << 20) + b"\x7f" * (2 << 20) + b".",
        "an integer of a megabyte of digits": b"L" + b"9" * (1 << 20) + b"L\n.",
        "an integer of negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b".",
        "text of 2^62 bytes": counted(b"\x8d", 1 << 62),
        "bytes of 2^63 bytes": counted(b"\x8e", 1 << 63),
        "a bytearray of 2^40 bytes": counted(b"\x96", 1 << 40),
        "a frame of 2^50 bytes": counted(b"\x95", 1 << 50),
        "a string of negative length": b"\x80\x02T" + struct.pack("<i", -1) + b".",
        "text that one letter makes wide": b"\x80\x04\x8d" + struct.pack("<Q", len(wide)) + wide + b".",
        "a line without an end": b"I" + b"1" * 5000 + b".",
        "lists in lists": b"\x80\x02" + b"]" * n + b"a" * (n - 1) + b".",
        "tuples in tuples": b"\x80\x02N" + b"\x85" * n + b".",
        "tuples in tuples, a million": b"\x80\x02N" + b"\x85" * 1_000_000 + b".",
        "dictionaries in dictionaries": b"\x80\x02" + b"}N" * 500 + b"N" + b"s" * 500 + b".",
        "marks": b"\x80\x02" + b"(" * n + b".",
        "a million dictionaries": b"\x80\x02(" + b"}" * 1_000_000 + b"l.",
        "a memo of everything": b"\x80\x04(" + b"K\x01\x94" * n + b"l.",
        "a million calls": b"\x80\x04" + one + b"(" + b"h\x00)R" * n + b"l.",
        "a thousand laughs": b"\x80\x04(]\x94" + b"".join(b"](" + b"h%c" % i * 9 + b"e\x94" for i in range(20)) + b"t.",
        "a list in itself": b"\x80\x04]\x94h\x00a.",
        "a dictionary in itself": b"\x80\x04}\x94K\x01h\x00s.",
        "an object in itself": b"\x80\x04cargparse\nNamespace\n)R\x94}\x8c\x01ah\x00sb.",
        "keys that collide": b"\x80\x02}(" + keys + b"u.",
        "keys that are long": b"\x80\x02}((" + b"K\x01" * 1000 + b"t\x94Nh\x00Nu.",
        "a key that is a list": b"\x80\x02}]Ns.",
        "an unknown memo": b"\x80\x02h\x07.",
        "a memo far out": b"\x80\x02Nr\xff\xff\xff\xff.",
        "a memo before the first": b"Np-1\n.",
        "a memo between others": b"Nq\x05h\x04.",
        "nothing on the stack": b"\x80\x02R.",
        "no mark": b"\x80\x02u.",
        "values left over": b"\x80\x02NN.",
        "no end": b"\x80\x02N",
        "no opcode": b"\x80\x02\xf0.",
        "protocol 99": b"\x80\x63N.",
        "text that is not UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
        "a second pickle behind the first": pickled({}) + pickled(Call(Global("os", "system"), ("true",))),
        "appending to a number": b"\x80\x02K\x01Na.",
        "appending to a tuple": b"\x80\x02)(NNe.",
    }


def others() -> dict[str, bytes]:
    """Files that are no checkpoint at all."""
    return {
        "nothing": b"",
        "a byte": b"\x80",
        "a web page": b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
        "gzip": b"\x1f\x8b\x08" + bytes(50),
        "a tar": b"sys_info".ljust(257, b"\0") + b"ustar\x0000" + bytes(500),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(50),
        "text": b"import os\nos.system('true')\n",
        "JSON": b'{"a": 1}',
        "zeros": bytes(5000),
        "noise": bytes((i * 7919 + 13) % 256 for i in range(5000)),
    }


def strangers() -> dict[str, bytes]:
    """Files of nothing but data that no family made, or that one cannot have made."""
    ema = edm()
    own = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
    state = ema.state
    wrong: dict[str, Any] = {
        "nothing": None,
        "a number": 5,
        "an empty dictionary": {},
        "a list of lists": [[[]]],
        "a name": Global("builtins", "int"),
        "an empty object": Call(Global("argparse", "Namespace"), (), {}),
        "weights of something else": {"state_dict": {"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}},
        "one number": {"w": torch.tensor(1.0)},
        "EDM's object without arguments": Call(own, ()),
        "EDM's object of a number": Call(own, (5,)),
        "EDM's object of nothing": Call(own, ({},)),
        "EDM's object of another class": Saved("Evil", state),
        "EDM's object of a class that is a list": Saved(["EDMPrecond"], state),
        "EDM's object without state": Saved("EDMPrecond", None),
        "EDM's object with a list for a state": Saved("EDMPrecond", [1, 2]),
        "EDM's object without modules": Saved("EDMPrecond", {**state, "_modules": {}}),
        "EDM's object with a number for a module": Saved("EDMPrecond", {**state, "_modules": {"model": 5}}),
        "EDM's object around itself": Saved("EDMPrecond", {**state, "_modules": {"model": ema}}),
        "EDM2's object without state": {"ema": Saved("Precond", None), "encoder": Saved("StabilityVAEEncoder", 5)},
        "EDM2's object around itself": {"ema": Saved("Precond", {"_modules": {"model": ema}})},
        "EDM2's object with EDM's in it": {"ema": Saved("Precond", {**state, "_modules": {"unet": ema}})},
        "a GAN of numbers": {"G": Saved("Generator", 5), "D": Saved("Discriminator", []), "G_ema": ema},
        "a loss of a name that is none": {"ema": Saved("EDMPrecond", {}), "loss_fn": Saved("Loss\n" * 99, state)},
        "an average of numbers": {"ema": {"shadow_params": [5, None, "a"], "decay": 0.9}},
        "an average of averages": {"shadow_params": [{"shadow_params": [{"ema": [torch.zeros(1)] * 3}]}] * 3},
        "an average of everything": {"model": {"w": torch.zeros(2)}, "ema": [torch.zeros(2)] * 500},
        "moments of nothing": {"param_groups": 7, "state": [torch.zeros(1)]},
        "names that are hard to tell": {
            "conv.proj.embed." * 60 + f"x{i}": torch.zeros(1, 1, 1, 1, 1) for i in range(40)
        },
        "names of many kinds": {f"{'lora_' * 40}\t5\n": torch.zeros(1), "a.lora_A\n.x": torch.zeros(1, 1)},
    }
    arguments = {
        "img_resolution": (10**9, -8, "8", None, 7.5, [8], True),
        "img_channels": (10**9, 0, None, 2),
        "label_dim": (10**9, -1, "no"),
        "sigma_min": (-1, "low", float("nan")),
        "sigma_max": (0, None, [80]),
    }
    for name, values in arguments.items():
        for value in values:
            wrong[f"EDM's object with {name} {value!r}"] = edm(**{name: value})
    return {kind: pickled(value, 4) for kind, value in wrong.items()}
