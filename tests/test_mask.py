"""What a file says is no measurement becomes NaN; what it merely calls a mask is said, and used when asked for."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from farfield.core.error import FarfieldError, FarfieldNote
from farfield.data.field_file import Unreadable, read_field_file
from farfield.data.field_write import write_npz
from farfield.data.science import load_fields

fits = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")
import tifffile  # noqa: E402

A = np.random.default_rng(0).normal(50, 9, (8, 8)).round(3)
MILLI = (A * 1000).round().astype(np.int32)
HOLE = np.zeros((8, 8), bool)
HOLE[2:4, 5] = True


def gaps(path: Path, mask: str | None = None, part: str | None = None) -> np.ndarray:
    """Where the one field of a file is masked; elsewhere its numbers are those of A."""
    (values,) = read_field_file(path, 1, part, mask).parts.values()
    found = np.isnan(values[0])
    assert np.array_equal(values[0][~found], A[~found])
    return found


def said(path: Path, mask: str | None = None) -> str:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_fields(path, (1, 8, 8), mask=mask)
    return "\n".join(str(w.message) for w in seen if w.category is FarfieldNote)


def write_fits(path: Path, *planes: tuple[str, np.ndarray], image: str = "SCI", **primary: object) -> Path:
    """An empty primary HDU, the planes in order, with A under ``image`` where its name stands alone."""
    hdus = [fits.PrimaryHDU()]
    hdus[0].header.update(primary)
    for name, plane in planes:
        hdus.append(fits.ImageHDU(plane, name=name))
    if image:
        hdus.append(fits.ImageHDU(A, name=image))
    fits.HDUList(hdus).writeto(path)
    return path


# --- FITS -------------------------------------------------------------------------------------------------------------


def bit_plane(path: Path, **bits: int) -> Path:
    plane = np.where(A > 50, 32, 0).astype(np.int32)  # DETECTED, on every source
    plane[HOLE] |= 2
    plane[0, 0] |= 4
    hdu = fits.ImageHDU(plane, name="MASK")
    for name, bit in bits.items():
        hdu.header[f"HIERARCH MP_{name}"] = bit
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(A, name="IMAGE"), hdu]).writeto(path)
    return path


def test_of_a_plane_of_bits_only_those_that_say_bad_mask(tmp_path):
    path = bit_plane(tmp_path / "a.fits", BAD=0, SAT=1, EDGE=2, DETECTED=5)
    assert np.array_equal(gaps(path), HOLE)
    assert said(path).count("\n") == 0 and "3.12% of the values are masked (MASK BAD, SAT: 3.12%)" in said(path)
    assert not gaps(path, "none").any()
    assert np.array_equal(gaps(path, "MASK:EDGE,sat"), HOLE | (np.arange(64).reshape(8, 8) == 0))
    assert np.array_equal(gaps(path, "mask:1,2"), gaps(path, "2:EDGE,SAT"))
    assert np.array_equal(gaps(path, "MASK:DETECTED"), A > 50)
    with pytest.raises(FarfieldError, match=r"MASK:SATURATED: expected 'valid', numbers of bits .* or BAD, SAT, EDGE"):
        read_field_file(path, 1, None, "MASK:SATURATED")


def test_a_mask_of_unknown_meaning_is_said_and_not_used(tmp_path):
    path = write_fits(tmp_path / "a.fits", ("MASK", HOLE.astype(np.uint8)))
    assert not gaps(path).any()
    assert "array MASK lies beside the data and is not used (it is not 0 in 3.12%)" in said(path)
    assert np.array_equal(gaps(path, "MASK"), HOLE) and np.array_equal(gaps(path, "mask:valid"), ~HOLE)
    known = np.where(HOLE, np.nan, A)
    fits.HDUList([fits.PrimaryHDU(known), fits.ImageHDU(HOLE.astype(np.uint8), name="MASK")]).writeto(
        tmp_path / "b.fits"
    )
    assert said(tmp_path / "b.fits").endswith("3.12% of the values are masked (not finite: 3.12%)")


@pytest.mark.parametrize(
    ("name", "plane", "primary"),
    [
        ("DQ", HOLE * 4096, {"TELESCOP": "HST"}),
        ("DQ", HOLE * 1 + ~HOLE * 2 * (A > 50), {"TELESCOP": "JWST"}),  # other flags of JWST do not make a pixel bad
        ("WHT", (~HOLE).astype(np.float32) * 7, {}),
        ("IVAR", np.where(HOLE, 0, 0.25), {}),
    ],
)
def test_planes_that_a_standard_explains(tmp_path, name, plane, primary):
    plane = plane.astype(np.int32) if name == "DQ" else plane
    path = write_fits(tmp_path / "a.fits", (name, plane), ("ERR", A * 0 + 1), **primary)
    assert np.array_equal(gaps(path), HOLE)  # and the weights before it were not taken for the image


def test_a_file_of_weights_alone_is_asked_about(tmp_path):
    path = write_fits(tmp_path / "a.fits", ("WHT", A), image="")
    with pytest.raises(Unreadable, match=r"it holds 0 \(PRIMARY\), 1 \(WHT\); --hdu takes one all the same"):
        read_field_file(path, 1)
    assert not gaps(path, part="WHT").any()


def test_several_planes_mask_together_and_another_chip_s_do_not(tmp_path):
    path = write_fits(tmp_path / "a.fits", ("WHT", (A > 45) * 1.0), ("DQ", HOLE * 1), ("CTX", HOLE * 3))
    assert np.array_equal(gaps(path), HOLE | ~(A > 45))
    with fits.open(path, mode="update") as hdus:
        hdus["DQ"].header["EXTVER"] = 2
    assert np.array_equal(gaps(path), ~(A > 45))


def test_blank_of_unsigned_integers(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[0, 1], [2, 65535]], np.uint16))
    hdu.header["BLANK"] = -32768  # as stored, below BZERO = 32768
    hdu.writeto(tmp_path / "a.fits")
    (values,) = read_field_file(tmp_path / "a.fits", 1).parts.values()
    assert np.isnan(values[0, 0, 0]) and values[0].ravel()[1:].tolist() == [1, 2, 65535]


def test_images_that_are_passed_over_are_said(tmp_path):
    path = write_fits(tmp_path / "a.fits", ("R", A + 1), ("VARIANCE", A * 0), ("G", A + 2))
    assert not gaps(path).any()
    assert "HDU 4 (SCI) is read, 1 (R), 3 (G) passed over; --hdu names another" in said(path)


# --- npz and HDF5 -----------------------------------------------------------------------------------------------------


def write_arrays(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
    return path


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_an_array_called_mask_is_said_and_used_when_asked_for(tmp_path, kind):
    path = write_arrays(tmp_path / f"a.{kind}", images=A, mask=HOLE.astype(np.uint8), valid=~HOLE)
    assert not gaps(path).any() and "--field-mask mask:valid where it is 0" in said(path)
    assert "mask" not in said(path, "none")
    for asked in ("mask", "valid:valid"):
        assert np.array_equal(gaps(path, asked), HOLE) and f"masked ({asked.partition(':')[0]}" in said(path, asked)
    with pytest.raises(FarfieldError, match=r"--field-mask bad: expected an array of that name .* found mask, valid"):
        read_field_file(path, 1, None, "bad")


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_a_mask_of_another_shape_is_refused_only_when_asked_for(tmp_path, kind):
    other = write_arrays(tmp_path / f"a.{kind}", images=A, mask=HOLE[:7])
    assert not gaps(other).any()
    with pytest.raises(FarfieldError, match=r"mask: it has shape \(7, 8\), the data .*8, 8\)"):
        read_field_file(other, 1, None, "mask")


def test_a_number_a_row_is_no_field(tmp_path):
    path = write_arrays(tmp_path / "a.npz", density=np.stack([A, A]), redshift=np.ones(2), note=np.array("x"))
    assert len(read_field_file(path, 1).parts) == 2


def test_one_mask_serves_all_slices_and_all_channels(tmp_path):
    cube, colour = np.stack([A, A + 1]), np.stack([A] * 3, -1)
    slices = read_field_file(write_arrays(tmp_path / "a.h5", images=cube, mask=HOLE), 1, None, "mask").parts
    assert all(np.array_equal(np.isnan(v[0]), HOLE) for v in slices.values()) and len(slices) == 2
    (rgb,) = read_field_file(write_arrays(tmp_path / "b.h5", images=colour, mask=HOLE), 3, None, "mask").parts.values()
    assert np.array_equal(np.isnan(rgb), np.stack([HOLE] * 3))


def test_fields_that_farfield_writes_keep_their_gaps(tmp_path):
    write_npz(tmp_path / "a.npz", ["x"], np.where(HOLE, np.nan, A)[None, None], "K")
    assert np.array_equal(gaps(tmp_path / "a.npz"), HOLE)


@pytest.mark.parametrize(
    ("stored", "attributes"),
    [
        (np.where(HOLE, -9999, A), {"_FillValue": -9999.0}),
        (np.where(HOLE, 1e20, A).astype("f4"), {"missing_value": 1e20}),
        (np.where(HOLE, -5, A), {"valid_range": [0.0, 1000.0]}),
        (np.where(HOLE, 5000, A), {"valid_max": 1000.0}),
        (
            np.where(HOLE, -1, MILLI - 7000),
            {"_FillValue": -1, "scale_factor": 0.001, "add_offset": 7.0},
        ),
        (np.where(HOLE, -999, MILLI), {"valid_min": 0, "scale_factor": 0.001}),
        (np.where(HOLE, 100000, MILLI), {"valid_max": 99.0, "scale_factor": 0.001}),
    ],
)
def test_the_attributes_of_cf(tmp_path, stored, attributes):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.create_dataset("t", data=stored).attrs.update(attributes)
    (values,) = read_field_file(tmp_path / "a.nc", 1).parts.values()
    assert np.array_equal(np.isnan(values[0]), HOLE)
    assert np.allclose(values[0][~HOLE], A[~HOLE], rtol=1e-6 if stored.dtype == np.float32 else 1e-12)


def test_signed_bytes_that_are_meant_unsigned(tmp_path):
    meant = np.arange(200, 216, dtype=np.uint8).reshape(4, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("t", data=meant.view(np.int8))
        made.attrs["_Unsigned"], made.attrs["_FillValue"] = "true", np.int8(-56)  # 200
    (values,) = read_field_file(tmp_path / "a.h5", 1).parts.values()
    assert np.isnan(values[0, 0, 0]) and np.array_equal(values[0].ravel()[1:], np.arange(201, 216))


# --- TIFF -------------------------------------------------------------------------------------------------------------


def test_what_gdal_writes_beside_the_numbers(tmp_path):
    item = '<Item name="{0}" sample="0" role="{0}">{1}</Item>'
    xml = f"<GDALMetadata>{item.format('offset', 10)}{item.format('scale', 0.001)}</GDALMetadata>"
    packed = np.where(HOLE, -9999, MILLI - 10000)
    tags = [(42113, "s", 0, "-9999", False), (42112, "s", 0, xml, False)]
    tifffile.imwrite(tmp_path / "a.tif", packed, extratags=tags)
    (values,) = read_field_file(tmp_path / "a.tif", 1).parts.values()
    assert np.array_equal(np.isnan(values[0]), HOLE) and np.allclose(values[0][~HOLE], A[~HOLE], rtol=1e-12)
    assert "GDAL_NODATA -9999: 3.12%" in said(tmp_path / "a.tif")
    lowest = np.where(HOLE, np.finfo("f4").min, A.astype("f4"))
    tifffile.imwrite(tmp_path / "b.tif", lowest, extratags=[(42113, "s", 0, "-3.4028234663852886e+38", False)])
    assert np.array_equal(np.isnan(read_field_file(tmp_path / "b.tif", 1).parts[""][0]), HOLE)


def test_the_transparency_mask_and_the_orientation_of_a_tiff(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(A)
        file.write(~HOLE, subfiletype=4, photometric=4)  # TIFF 6.0: 1 is inside
    assert np.array_equal(gaps(tmp_path / "a.tif"), HOLE)
    tifffile.imwrite(tmp_path / "b.tif", np.rot90(A), extratags=[(274, "H", 1, 6, True)])  # to be turned to the right
    assert not gaps(tmp_path / "b.tif").any()


def test_samples_of_a_tiff_are_channels_wherever_they_lie(tmp_path):
    colour = np.random.default_rng(1).normal(size=(3, 8, 8)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(colour, 0, 2), photometric="rgb")
    for name in ("a.tif", "b.tif"):
        for channels in (1, 3):
            assert np.array_equal(read_field_file(tmp_path / name, channels).parts[""], colour)


def test_series_of_a_tiff_that_are_passed_over_are_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(A)
        file.write(np.zeros((4, 4)))
    assert not gaps(tmp_path / "a.tif").any() and "1 of other sizes passed over" in said(tmp_path / "a.tif")
    assert read_field_file(tmp_path / "a.tif", 1, "1").parts[""].shape == (1, 4, 4)
    with pytest.raises(FarfieldError, match="expected a series of pages 2, found 2"):
        read_field_file(tmp_path / "a.tif", 1, "2")
