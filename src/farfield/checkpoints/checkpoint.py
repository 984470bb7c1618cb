"""A foreign file, understood: what it is, why we think so, and what it does not say."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from farfield.checkpoints.assembly import assemble, first_line
from farfield.checkpoints.native import Blueprint
from farfield.core.error import FarfieldError
from farfield.diffusion.codec import Codec
from farfield.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Finding:
    """Something that was read off a file, or concluded, and from what."""

    what: str
    value: Any
    why: str


@dataclass(frozen=True)
class Question:
    """Something that a file does not say: asked for once.

    Attributes:
        name: of the answer, as ``schedule``.
        ask: in words, what is to be known.
        likely: the usual answer.
        choices: all that are possible; empty where any number will do.
        why: what makes the likely answer likely.
    """

    name: str
    ask: str
    likely: Any
    choices: tuple[Any, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Coder:
    """The autoencoder in whose latents a network was trained.

    Attributes:
        place: where it is, in words.
        shape: (C, H, W) of the pictures whose latents the network sees.
        read: it, in a precision.
    """

    place: str
    shape: tuple[int, ...]
    read: Callable[[torch.dtype], Codec]


Answers = Mapping[str, Any]
"""Answers to questions by their names."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in a foreign file.

    Attributes:
        path: the file.
        family: ``edm``, ``guided-diffusion``, ``ddpm``, ``galaxygrad``, …: whose format it is.
        plan: all of the model but its weights; where questions are open, as if their likely answers were right.
        weights: reads the state dict that fits ``plan.network``, in the stored dtype, tensor by tensor.
        parameters: how many weights.
        dtype: of most of them, as stored.
        findings: what was read and concluded, and why.
        questions: what is still to be answered.
        codec: the autoencoder in whose latents it was trained; None where its images are pictures.
    """

    path: Path
    family: str
    plan: Blueprint
    weights: Callable[[], dict[str, Tensor]]
    parameters: int
    dtype: torch.dtype
    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()
    codec: Coder | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of its pictures."""
        return self.plan.shape if self.codec is None else self.codec.shape

    def alone(self) -> nn.Module:
        """`network`, of a model that is no more than this.

        Raises:
            FarfieldError: there is an autoencoder besides.
        """
        if self.codec is not None:
            raise FarfieldError(
                f"{self.path}: a latent model, whose autoencoder ({self.codec.place}) is no part of a network's folder; give "
                "every command the file itself"
            )
        return self.network()

    def settled(self) -> Checkpoint:
        """The same with every likely answer taken for granted."""
        return replace(self, questions=())

    def network(self) -> nn.Module:
        """The network with its weights, in float32 on the CPU.

        Raises:
            FarfieldError: a question is open, or the weights do not fit.
        """
        from farfield.networks.build import from_config

        if self.questions:
            asked = "; ".join(f"{q.name}: {q.ask} ({_offer(q)})" for q in self.questions)
            likely = " ".join(f"--set {q.name}={q.likely}" for q in self.questions)
            command = f"farfield inspect {shlex.quote(str(self.path))} {likely}"
            raise FarfieldError(f"{self.path}: does not say everything. {asked}. Answer once: `{command}`")
        state = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in self.weights().items()
        }
        try:
            return assemble(lambda: from_config(self.plan.network), state)
        except RuntimeError as error:
            raise FarfieldError(
                f"{self.path}: the weights do not fit the network that was inferred ({first_line(error)})"
            ) from error

    def denoiser(self, *, dtype: torch.dtype = torch.float32, label: int | None = None) -> Denoiser:
        """The denoiser, frozen, on the CPU; files kept in half precision are widened to ``dtype``.

        Raises:
            FarfieldError: as of `network`, or the label does not fit.
        """
        self.plan.check_label(label, str(self.path))
        denoiser = self.plan.denoiser(self.network().to(dtype), label)
        if self.codec is not None:
            denoiser.codec = self.codec.read(dtype)
        return denoiser.eval().requires_grad_(False)


def _offer(question: Question) -> str:
    choices = f"one of {', '.join(map(str, question.choices))}; " if question.choices else ""
    because = f", {question.why}" if question.why else ""
    return f"{choices}likely {question.likely}{because}"
