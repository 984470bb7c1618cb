"""The one error a user should ever see: what was given, what was expected, what to do."""

from __future__ import annotations


class FarfieldError(ValueError):
    """Bad input. The command line prints the message alone and exits with code 2."""


class MachineError(FarfieldError):
    """The machine failed, not the input: a full disk, no memory. The command line exits with code 1."""


class FarfieldWarning(UserWarning):
    """Something was put right or left out on the way; it is named, never silent."""


class FarfieldNote(UserWarning):
    """How something was read: said before the run, and right unless the user meant something else."""


class NonFiniteError(FarfieldError):
    """A computation produced NaN or infinity; the message says at which step."""
