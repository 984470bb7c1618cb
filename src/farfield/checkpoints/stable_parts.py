"""Parts of a diffusers pipeline folder, read by our own reader: networks with exactly the weights that are there, text encoders.

diffusers and transformers would leave missing weights at random, and read pickles as programs. Here a part's weights are data in
whatever file these libraries write: safetensors or torch's own, in full or half precision, whole or in shards.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.assembly import assemble, first_line
from farfield.checkpoints.hub import read_config, read_weights, stored_weights
from farfield.checkpoints.no_code import refuse_code
from farfield.core.error import FarfieldError, FarfieldWarning, missing

STEMS: Final = {"text_encoder": ("model", "pytorch_model")}
"""What the files of a part's weights are called, where diffusers did not write them."""


def read_network(folder: Path, part: str, title: str, dtype: torch.dtype) -> Any:
    """A network of diffusers with exactly the weights of its folder.

    Args:
        title: its class.

    Raises:
        FarfieldError: no configuration or weights, or they do not fit.
    """
    import diffusers

    weights = read_weights(folder / part, dtype)
    try:
        config = network_config(folder, part)
        network: Any = assemble(lambda: getattr(diffusers, title).from_config(config), weights)
    except Exception as error:  # diffusers raises whatever its parts raise
        raise FarfieldError(
            f"{folder / part}: its config.json and weights are not those of a {title} ({first_line(error)}); download them again"
        ) from error
    return network


def network_config(folder: Path, part: str) -> dict[str, Any]:
    """The configuration of a network of diffusers."""
    config = read_config(folder / part / "config.json")
    if lacking := [k for k in ("in_channels", "block_out_channels") if k not in config]:
        raise FarfieldError(f"{folder / part / 'config.json'}: {' and '.join(lacking)} missing; download it again")
    return config


def read_words(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the text encoder (CLIP) of a folder, the latter in float32 on the CPU.

    Raises:
        FarfieldError: transformers is not installed, the folder brings code, or a part is missing, damaged, or of another kind.
    """
    if importlib.util.find_spec("transformers") is None:
        raise missing(f"{folder}: its text encoder", "transformers")
    for part in ("tokenizer", "text_encoder"):
        refuse_code(folder / part)
    weights = {name: stored.load() for name, stored in stored_words(folder).items()}
    with quietly():
        from transformers import CLIPTextConfig, CLIPTokenizer

        try:
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            config = CLIPTextConfig.from_pretrained(folder / "text_encoder", local_files_only=True)
            return tokenizer, text_encoder(config, weights)
        except Exception as error:  # transformers raises whatever its parts raise
            raise FarfieldError(
                f"{folder}: its tokenizer or text_encoder cannot be read ({first_line(error)}); download them again"
            ) from error


def text_encoder(config: Any, weights: Mapping[str, Tensor]) -> Any:
    """CLIP's text encoder with these weights, in float32 on the CPU.

    Args:
        config: a CLIPTextConfig.

    Raises:
        ValueError: some are missing. Whatever else transformers raises is passed on.
    """
    from transformers import CLIPTextModel

    with quietly():
        wide = {name: _wide(tensor) for name, tensor in weights.items()}
        loaded: Any = CLIPTextModel.from_pretrained(None, config=config, state_dict=wide, output_loading_info=True)
    encoder, info = loaded
    if info["missing_keys"]:  # which would be left at random
        raise ValueError(f"no weights of {min(info['missing_keys'])}")
    return encoder.float().eval()


@torch.no_grad()
def encode_words(tokenizer: Any, encoder: Any, prompts: Sequence[str]) -> Tensor:
    """The last hidden states of a text encoder for some prompts, ``[n, L, D]`` float32; what is too long to be read is said."""
    with quietly():
        for prompt in prompts:
            tokens = tokenizer(prompt).input_ids
            if rest := tokenizer.decode(tokens[tokenizer.model_max_length - 1 : -1]).strip():
                warnings.warn(FarfieldWarning(f"prompt {prompt!r}: too long, {rest!r} is not read"), stacklevel=3)
        tokens = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
    mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    states: Tensor = encoder(tokens.input_ids, attention_mask=mask).last_hidden_state
    return states


def stored_words(folder: Path) -> Mapping[str, Any]:
    """The weights of the text encoder, still on disk; constants that older files hold beside them are left out."""
    stored = stored_weights(folder / "text_encoder", *STEMS["text_encoder"])
    return {name: tensor for name, tensor in stored.items() if not name.endswith("position_ids")}


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the libraries' own bars and messages; what matters of these is said by this package."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (ours, theirs)]
    for log, _, _ in before:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, bars in before:
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()
