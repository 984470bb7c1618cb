"""What a run on physical data leaves besides images: its stretch, and fields in physical units with their provenance."""

from __future__ import annotations

from pathlib import Path

from farfield.command.measures import FieldMeasures, FieldSets, FittedStretch, PhysicalFacts
from farfield.command.result import from_json, to_json
from farfield.command.shared import Reading
from farfield.core.artifact import Images, write_json
from farfield.core.error import FarfieldError
from farfield.core.provenance import Provenance
from farfield.data.field_write import pixel_side, write_fits, write_npz
from farfield.data.science import Fields
from farfield.study.bench.domain import Physical
from farfield.study.bench.grain import Grain


def write_fields(folder: Path, physical: Physical, samples: Images | Fields, made: Provenance) -> None:
    """``stretch.json``, and under ``physical/`` the sets as npz and, of FITS data, each sample as a FITS file.

    What was generated says so, and by what. A sample's file has the first example's size of a pixel.
    """
    write_json(folder / "stretch.json", physical.stretch.to_json())
    generated = samples if isinstance(samples, Fields) else physical.to_fields(samples)
    for name, fields in physical.fields.items():
        write_npz(folder / "physical" / f"{name}.npz", fields.keys, fields.values.numpy(), fields.unit)
    write_npz(folder / "physical" / "samples.npz", generated.keys, generated.values.numpy(), generated.unit, made)
    examples = physical.fields["examples"]
    if examples.source != "fits":
        return
    for key, values in zip(generated.keys, generated.values.numpy(), strict=True):
        write_fits(
            folder / "physical" / f"{key}.fits",
            values,
            made,
            key=key,
            unit=examples.unit,
            template=examples.header(examples.keys[0]),
            scale=examples.scale,
            cards={"FFSTRET": (physical.stretch.kind, "farfield: stretch, see stretch.json")},
        )


def describe_fields(physical: Physical, reading: Reading, grain: Grain | None = None) -> PhysicalFacts:
    """What the summary says of the data: kind, unit, masked share, range, the stretch with its numbers, and the noise."""
    examples = physical.fields["examples"]
    finite = examples.values[examples.values.isfinite()]
    return PhysicalFacts(
        source=examples.source,
        unit=examples.unit,
        channels=examples.values.shape[1],
        scale=examples.scale,
        masked=examples.masked,
        range=(float(finite.min()), float(finite.max())),
        stretch_asked=reading.stretch or "auto",
        stretch=from_json(FittedStretch, to_json(physical.stretch.to_json()), "stretch"),
        patch=reading.patch,
        hdu=reading.hdu,
        mask=reading.mask,
        noise=grain.facts() if grain else None,
    )


def compare(physical: Physical, samples: Images) -> FieldSets | None:
    """Measures of fields in physical units: samples, and real fields as the floor, against the same references."""
    references = physical.fields.get("references")
    if references is None:
        return None
    sets = {"samples": physical.to_fields(samples), "real": physical.fields["real"]}
    measured: dict[str, FieldMeasures] = {}
    left_out: dict[str, str] = {}
    for name, fields in sets.items():
        try:
            measured[name] = field_measures(physical, fields)
        except FarfieldError as error:  # too few for an interval
            left_out[name] = str(error)
    pixel, pixel_unit = _pixel(physical.fields["examples"])
    return FieldSets(
        unit=references.unit,
        samples=measured.get("samples"),
        real=measured.get("real"),
        left_out=left_out or None,
        pixel=pixel,
        pixel_unit=pixel_unit,
    )


def _pixel(examples: Fields) -> tuple[float | None, str]:
    """The side of a pixel and its unit, where the first example is FITS and states one for both axes."""
    if examples.source != "fits":
        return None, ""
    return pixel_side(examples.header(examples.keys[0]), examples.scale)


def field_measures(physical: Physical, fields: Fields) -> FieldMeasures:
    """`audit.field.compare_fields` of these fields and the held-out references."""
    from farfield.audit.field import compare_fields

    measured = compare_fields(generated=fields.values, real=physical.fields["references"].values)
    result: FieldMeasures = from_json(FieldMeasures, to_json(measured), "fields")
    return result
