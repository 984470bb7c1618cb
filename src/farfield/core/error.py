"""The one error a user should ever see: what was given, what was expected, what to do."""

from __future__ import annotations

from farfield.core.alias import shown


class FarfieldError(ValueError):
    """Bad input. The command line prints the message alone and exits with code 2."""

    def __init__(self, message: object = ""):
        super().__init__(shown(str(message)))


class MachineError(FarfieldError):
    """The machine could not do it: a full disk, a folder deleted under a run. Exit code 1; the same command goes on."""


class DryRun(Exception):
    """Raised where a run would begin that shall not: what it would do, in one line. It is no error."""


class OtherRunError(FarfieldError):
    """A folder holds a run of other settings or data."""


class DamagedError(FarfieldError):
    """A file of ours does not hold what was written; whoever can make it again does."""


def missing(what: str, package: str | None) -> FarfieldError:
    """For ``what`` is needed a package that is not installed; how to install it, wherever farfield itself came from."""
    name = (package or "").partition(".")[0] or "it"
    return FarfieldError(f"{what} needs the package {name}, which is not installed: pip install {name}")


class FarfieldWarning(UserWarning):
    """Something was put right or left out on the way; it is named, never silent."""

    def __init__(self, message: object = ""):
        super().__init__(shown(str(message)))


class FarfieldNote(UserWarning):
    """How something was read: said before the run, and right unless the user meant something else."""

    def __init__(self, message: object = ""):
        super().__init__(shown(str(message)))


class NonFiniteError(FarfieldError):
    """A computation produced NaN or infinity; the message says at which step."""
