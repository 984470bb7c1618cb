"""The score models of galaxies in the package galaxygrad (0.2.0), by their names and by their content.

Their files are found in the installed package, which is never imported. What a picture's black and white are is not in a file:
it was measured here, on what each model draws, and is known of these very files alone. That their numbers are
``ln(1 + flux) / 0.1`` is how the package's own functions call them; the two LogNets it has no function for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farfield.checkpoints.place import GALAXYGRAD
from farfield.core.error import FarfieldError
from farfield.diffusion.units import Units

PACKAGE: Final = "galaxygrad"
GET: Final = f"pip install --no-deps {PACKAGE}==0.2.0"


@dataclass(frozen=True)
class Published:
    """A file of the package.

    Attributes:
        sha256: of the file, as it is in 0.2.0.
        units: of its pictures.
        name: the model's, after `GALAXYGRAD`; empty if it has none.
    """

    sha256: str
    units: Units
    name: str = ""


def _drawn(low: float, high: float) -> Units:
    return Units(low, high, 0.1)


PUBLISHED: Final[Mapping[str, Published]] = {
    "eqx_hsc_ScoreNet64.eqx": Published(
        "4758114b1b77e4640ca7b834a976202aeb126fd7332ec07842af46d72c6b2e01", _drawn(0, 8.5), "hsc-64"
    ),
    "eqx_hsc_ScoreNet32.eqx": Published(
        "cb926562fcdfcbd33952fea8b2394074e75cb652fb7824c4c809a5f89a0a6532", _drawn(0, 7), "hsc-32"
    ),
    "eqx_ZTF_ScoreNet64.eqx": Published(
        "806cb83de98d8aff924dd13b267bcb157d72ddb819804a541134a06adb391065", _drawn(0, 16), "ztf-64"
    ),
    "eqx_ZTF_ScoreNet32.eqx": Published(
        "60b29e6b9b7b4baa4ddc84132d083991c9e1e2910f55f3e9ae16e65bf0df8f47", _drawn(0, 8.5), "ztf-32"
    ),
    "eqx_lsst_ScoreNet60.eqx": Published(
        "93ef40f17a6e7e87e6527c90d5c1d4f2b17c77bbedfc14b08d014c53aa2db0e0", _drawn(6.5, 11), "lsst-60"
    ),
    "eqx_quasar_lens72.eqx": Published(
        "b1574b390d2e450521f6234ff3f3288937c53237a76189883d61342c9d293c2f", _drawn(0, 11), "quasar-72"
    ),
    "eqx_roman_Scorenet120.eqx": Published(
        "68a1d78410c877b7b50f466b505cb75d073f1f44e904420ed0fd9fb678201b03", _drawn(6, 10.5), "roman-120"
    ),
    "eqx_hsc_LogNet64.eqx": Published(
        "6d1e7387ff54a4142e68844acee1a37f42f0d3ec9ad1f1938d5f47c2ee25ee40", Units(-3.8, 0)
    ),
    "eqx_hsc_LogNet32.eqx": Published(
        "49873516d95c02506fb21c386419bc3915cc88b90c92d90adc718dd3b7950169", Units(-3.9, 0.1)
    ),
}
NAMES: Final = {card.name: file for file, card in PUBLISHED.items() if card.name}


def published(digest: str) -> Published | None:
    """The file of this sha256, whatever it is called now."""
    return next((card for card in PUBLISHED.values() if card.sha256 == digest), None)


def installed(name: str) -> Path:
    """The file of a model by its name, as ``galaxygrad:hsc-64``, in the installed package.

    Raises:
        FarfieldError: no such name, or the package, or its file, is not there.
    """
    file = NAMES.get(name.removeprefix(GALAXYGRAD))
    if file is None:
        raise FarfieldError(f"model {name!r}: expected {', '.join(GALAXYGRAD + known for known in NAMES)}")
    try:
        found = importlib.util.find_spec(PACKAGE)  # looks for it, and runs nothing of it
    except (ImportError, ValueError):
        found = None
    places = [Path(place) / file for place in (found and found.submodule_search_locations) or ()]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        why = f"is installed without {file}" if places else "is not installed"
        raise FarfieldError(
            f"model {name!r}: the package {PACKAGE} {why}; get it with `{GET}` (56 MB, of which farfield reads the weights and "
            "runs nothing), or give the path of such an .eqx"
        )
    return path
