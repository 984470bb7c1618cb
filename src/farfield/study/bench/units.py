"""The units of a model's own, and the stretch of physical fields that belongs to them."""

from __future__ import annotations

import math

from farfield.core.error import FarfieldError
from farfield.core.note import say
from farfield.data.science import Fields
from farfield.data.stretch import Stretch, model_stretch, suits
from farfield.diffusion.denoiser import Denoiser
from farfield.diffusion.units import Rescaled, Units


def units_of(denoiser: Denoiser) -> Units | None:
    """A model's own, which decide the stretch of physical fields; None of a model of pictures."""
    return denoiser.units if isinstance(denoiser, Rescaled) else None


def own_stretch(kind: str, examples: Fields, units: Units | None) -> Stretch | None:
    """The model's, if it is asked for, or if none is and it suits the examples; that is said."""
    if kind not in ("auto", "model"):
        return None
    if units is None or units.scale is None:
        if kind == "model":
            raise FarfieldError("--stretch model: this model knows of none of its own; leave it out, or choose another")
        return None
    low, high = units.scale * units.low, units.scale * units.high
    stretch = model_stretch(low, high, examples.values.shape[1], examples.unit)
    what = f"ln(1 + flux), fluxes {math.expm1(low):.3g} to {math.expm1(high):.3g} from black to white"
    if kind == "model" or suits(stretch, examples.values):
        say(f"stretch: the model's own, {what}; --stretch asinh takes the examples' range")
        return stretch
    say(
        f"stretch: fitted on the examples, for they are not in the model's units ({what}): multiply them into these and give "
        "--stretch model to use its own"
    )
    return None
