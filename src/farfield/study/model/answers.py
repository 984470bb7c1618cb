"""Answers to what a model's file does not say are kept beside it, once it is sure that they answer something."""

from __future__ import annotations

import os
from pathlib import Path

from farfield.checkpoints import foreign, parts
from farfield.checkpoints.checkpoint import Answers
from farfield.checkpoints.place import locate, split_name
from farfield.core.error import FarfieldError
from farfield.study.model.description import describe


def keep(model: str, answers: Answers) -> Path:
    """Keep answers beside a model's file, or in its folder, when it is sure that they answer something; where they are kept.

    Raises:
        FarfieldError: a folder that says everything, an answer that cannot be or that answers nothing, or a place that
            cannot be written.
    """
    path = locate(split_name(model)[0])
    describe(model, answers, hashed=False)
    try:
        return foreign.keep_answers(path, answers) if path.is_file() else parts.keep_scheduler(path, answers)
    except FarfieldError as error:
        if path.is_dir() and os.access(path, os.W_OK):
            raise
        raise FarfieldError(
            f"{path.parent}: cannot write here, and answers are kept beside the file; link or copy it to a folder of your "
            "own, and answer there"
        ) from error
