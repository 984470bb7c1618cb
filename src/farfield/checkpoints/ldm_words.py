"""The text encoder of a Stable Diffusion file (``cond_stage_model.…``), CLIP or OpenCLIP, as transformers' CLIPTextModel.

Names and shapes tell it. The last block of OpenCLIP (2.x) is left out, as in its training (``penultimate``). The words that its
numbers stand for are in no such file: a prompt needs a tokenizer's folder, the empty one, whose numbers are known, does not.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from farfield.checkpoints.assembly import first_line
from farfield.checkpoints.file.stored import State
from farfield.checkpoints.fitting import renamed, shape
from farfield.checkpoints.no_code import refuse_code
from farfield.checkpoints.stable_parts import encode_words, quietly, text_encoder
from farfield.core.error import FarfieldError, missing

CLIP: Final = "transformer."
"""After ``cond_stage_model.``: of Stable Diffusion 1.x."""
OPEN_CLIP: Final = "model."
"""The same of 2.x."""
TOKENIZER: Final = (
    "`hf download openai/clip-vit-large-patch14 vocab.json merges.txt tokenizer_config.json special_tokens_map.json` brings the "
    "one of Stable Diffusion and prints its folder"
)
_HEAD: Final = 64
"""Channels of an attention head, in every published text encoder of CLIP's."""
_PUBLISHED: Final = {1024: 23}
"""Blocks that are used of the text encoder of this width, which some files hold no more of."""
_OPEN_NAMES: Final = (
    (r"^token_embedding\b", "embeddings.token_embedding"),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_final\b", "final_layer_norm"),
    (r"^transformer\.resblocks\b", "encoder.layers"),
    (r"\bln_1\b", "layer_norm1"),
    (r"\bln_2\b", "layer_norm2"),
    (r"\battn\b", "self_attn"),
    (r"\bc_fc\b", "fc1"),
    (r"\bc_proj\b", "fc2"),
)
_LEFT_OUT: Final = re.compile(r".*position_ids|attn_mask|text_projection(\.weight)?|logit_scale")
"""Constants, and what only a comparison with pictures uses."""


@dataclass(frozen=True)
class Words:
    """A text encoder in a file.

    Attributes:
        rows: of its table of words.
        length: of a prompt, in such words.
        width: of a word.
        hidden: width between, in its blocks.
        blocks: of its transformer that are used.
        pad: what a prompt is filled up with.
        open_clip: whether it is OpenCLIP's.
        weights: reads them.
        tokenizer: the folder that was answered; None where there was no answer.
    """

    path: Path
    rows: int
    length: int
    width: int
    hidden: int
    blocks: int
    pad: int
    open_clip: bool
    weights: Callable[[], dict[str, Tensor]]
    tokenizer: Path | None = None

    def embed(self, prompt: str) -> Tensor:
        """Its last hidden states, ``[1, L, D]`` float32.

        Raises:
            FarfieldError: transformers is not installed, the weights are not those of such an encoder, or a prompt that is not
                empty without a tokenizer.
        """
        if prompt:
            return encode_words(*self.read(), [prompt])
        begin, end = self.rows - 2, self.rows - 1  # as in CLIP's vocabulary
        with torch.no_grad():
            numbers = torch.tensor([[begin, end, *[self.pad] * (self.length - 2)]])
            states: Tensor = self.encoder()(numbers).last_hidden_state
        return states

    def read(self) -> tuple[Any, Any]:
        """The tokenizer and the text encoder, the latter in float32 on the CPU."""
        return self.read_tokenizer(), self.encoder()

    def encoder(self) -> Any:
        if importlib.util.find_spec("transformers") is None:
            raise missing(f"{self.path}: its text encoder", "transformers")
        with quietly():
            from transformers import CLIPTextConfig

            config = CLIPTextConfig(
                vocab_size=self.rows,
                hidden_size=self.width,
                intermediate_size=self.hidden,
                num_hidden_layers=self.blocks,
                num_attention_heads=self.width // _HEAD,
                max_position_embeddings=self.length,
                hidden_act="gelu" if self.open_clip else "quick_gelu",
                bos_token_id=self.rows - 2,
                eos_token_id=self.rows - 1,
                pad_token_id=self.pad,
            )
            try:
                return text_encoder(config, self.weights())
            except Exception as error:  # transformers raises whatever its parts raise
                raise FarfieldError(
                    f"{self.path}: its text encoder cannot be read ({first_line(error)}); damaged, or a variant"
                ) from error

    def read_tokenizer(self) -> Any:
        if self.tokenizer is None:
            command = f"farfield inspect {shlex.quote(str(self.path))} --set tokenizer=FOLDER"
            raise FarfieldError(
                f"{self.path}: a prompt needs the words of its text encoder (vocab.json and merges.txt), which no such file "
                f"holds: {TOKENIZER}; answer once: `{command}`"
            )
        if importlib.util.find_spec("transformers") is None:
            raise missing(f"{self.path}: its tokenizer", "transformers")
        refuse_code(self.tokenizer)
        with quietly():
            from transformers import CLIPTokenizer

            try:
                tokenizer: Any = CLIPTokenizer.from_pretrained(
                    self.tokenizer, local_files_only=True, model_max_length=self.length
                )
                tokenizer.pad_token = tokenizer.convert_ids_to_tokens(self.pad)
            except Exception as error:  # transformers raises whatever its parts raise
                raise FarfieldError(
                    f"{self.tokenizer}: no tokenizer that can be read ({first_line(error)}); {TOKENIZER}"
                ) from error
        if len(tokenizer) != self.rows or tokenizer.bos_token_id != self.rows - 2:
            raise FarfieldError(
                f"{self.tokenizer}: knows {len(tokenizer):,} words; expected CLIP's {self.rows:,}, of which the last two "
                f"begin and end a prompt, as {self.path} has them; {TOKENIZER}"
            )
        return tokenizer


def read_words(state: State, path: Path, tokenizer: Path | None) -> Words:
    """The text encoder that a file holds.

    Args:
        state: its weights, without the conditioner's name.

    Raises:
        FarfieldError: it is none of CLIP's.
    """
    if "transformer.resblocks.0.attn.in_proj_weight" in (opened := _within(state, OPEN_CLIP)):
        return _open_clip(opened, path, tokenizer)
    names = {name.removeprefix("text_model."): tensor for name, tensor in _within(state, CLIP).items()}
    if "embeddings.token_embedding.weight" not in names:
        raise FarfieldError(
            f"{path}: its text encoder is none of CLIP's, which Stable Diffusion 1 and 2 have; not read here, make images with "
            "its own code"
        )
    rows, width = shape(names, "embeddings.token_embedding.weight", 2, path)
    length = shape(names, "embeddings.position_embedding.weight", 2, path)[0]
    kept = {f"text_model.{name}": tensor for name, tensor in names.items() if not _LEFT_OUT.fullmatch(name)}
    hidden = shape(names, "encoder.layers.0.mlp.fc1.weight", 2, path)[0]
    blocks = _blocks(names, "encoder.layers")

    def weights() -> dict[str, Tensor]:
        return {name: tensor.load() for name, tensor in kept.items()}

    return _checked(Words(path, rows, length, width, hidden, blocks, rows - 1, False, weights, tokenizer))


def _open_clip(state: State, path: Path, tokenizer: Path | None) -> Words:
    rows, width = shape(state, "token_embedding.weight", 2, path)
    length = shape(state, "positional_embedding", 2, path)[0]
    hidden = shape(state, "transformer.resblocks.0.mlp.c_fc.weight", 2, path)[0]
    held = _blocks(state, "transformer.resblocks")
    blocks = min(held, _PUBLISHED[width]) if width in _PUBLISHED else held - 1
    last = re.compile(r"transformer\.resblocks\.(\d+)\.")
    kept = {
        name: tensor
        for name, tensor in state.items()
        if not _LEFT_OUT.fullmatch(name) and not ((m := last.match(name)) and int(m[1]) >= blocks)
    }

    def named(name: str) -> str:
        for pattern, there in _OPEN_NAMES:
            name = re.sub(pattern, there, name)
        return f"text_model.{name}"

    names = renamed(kept, named, path)

    def weights() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, old in names.items():
            tensor = kept[old].load()
            if ".in_proj_" not in name:
                found[name] = tensor
                continue
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                found[name.replace("in_proj_", f"{letter}_proj.")] = part.clone()
        return found

    return _checked(Words(path, rows, length, width, hidden, blocks, 0, True, weights, tokenizer))


def _within(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _blocks(state: State, name: str) -> int:
    numbers = {int(m[1]) for key in state if (m := re.match(rf"{re.escape(name)}\.(\d{{1,3}})\.", key))}
    return max(numbers, default=-1) + 1


def _checked(words: Words) -> Words:
    if words.width % _HEAD or words.blocks < 1 or words.rows < 3 or words.length < 3:
        raise FarfieldError(
            f"{words.path}: a text encoder of {words.blocks} blocks, {words.width} channels, {words.rows} words and prompts of "
            f"{words.length}; expected one of CLIP's, whose heads are {_HEAD} channels wide"
        )
    return words
