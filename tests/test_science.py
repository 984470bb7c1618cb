"""Physical fields from files: every format gives back the numbers that were written, gaps stay gaps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_images

from farfield.core.artifact import load, save
from farfield.core.error import FarfieldError, FarfieldWarning
from farfield.data.field_source import is_physical
from farfield.data.science import Fields, fill, load_fields, resample

fits = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HSC, ISM = DATA / "hsc-wide-fits", DATA / "ism-fields"


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0, 2, shape) - 0.5


def write(path: Path, array: np.ndarray) -> Path:
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    if ".fits" in path.name:
        fits.PrimaryHDU(array).writeto(path)
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, images=array)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["group/data"] = array
    else:
        tifffile.imwrite(path, array)
    return path


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.npy", "a.h5", "a.tif"])
@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2"])
def test_every_format_gives_back_what_was_written(tmp_path, name, dtype):
    array = (numbers(0, 8, 8) * (100 if "i" in dtype else 1)).astype(dtype)
    found = load_fields(write(tmp_path / name, array), (3, 8, 8))
    assert found.keys == ("a",) and found.values.dtype == torch.float64
    assert np.array_equal(found.values[0, 0].numpy(), array.astype(float))


def test_a_folder_is_sorted_and_subfolders_are_in_the_keys(tmp_path):
    for name, seed in (("b/y.npy", 1), ("b/x.npy", 2), ("a/x.npy", 3)):
        write(tmp_path / name, numbers(seed, 4, 4))
    found = load_fields(tmp_path, (1, 4, 4))
    assert found.keys == ("a/x", "b/x", "b/y")
    assert np.array_equal(found.values[:, 0].numpy(), np.stack([numbers(s, 4, 4) for s in (3, 2, 1)]))
    write(tmp_path / "a" / "x.fits", numbers(4, 4, 4))
    assert load_fields(tmp_path, (1, 4, 4)).keys == ("a/x.fits", "a/x.npy", "b/x", "b/y")


def test_fits_hdus_scaling_blank_and_compression(tmp_path):
    scaled = np.arange(64, dtype=np.int16).reshape(8, 8)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    first = fits.ImageHDU(numbers(1, 8, 8), name="SCI")
    first.header["BUNIT"] = "Jy/beam"
    second = fits.ImageHDU(scaled, name="COUNTS")
    second.header["BSCALE"], second.header["BZERO"], second.header["BLANK"] = 0.5, 100.0, 63
    packed = fits.CompImageHDU(
        numbers(2, 8, 8).astype(np.float32), compression_type="GZIP_1", quantize_level=0, name="Z"
    )
    path = tmp_path / "many.fits"
    fits.HDUList([fits.PrimaryHDU(), table, first, second, packed]).writeto(path)
    given = load_fields(path, (3, 8, 8))
    assert np.array_equal(given.values[0, 0].numpy(), numbers(1, 8, 8)) and given.unit == "Jy/beam"
    assert given.source == "fits" and "EXTNAME = 'SCI" in given.header("many")
    expected = scaled * 0.5 + 100
    for one in (load_fields(f"{path}[3]", (3, 8, 8)), load_fields(path, (3, 8, 8), hdu="counts")):
        values = one.values[0, 0].numpy()
        assert np.isnan(values[7, 7]) and np.array_equal(values.ravel()[:-1], expected.ravel()[:-1])
    inner = load_fields(path, (3, 8, 8), hdu="4").values[0, 0].numpy()
    assert np.array_equal(inner, numbers(2, 8, 8).astype(np.float32))
    with pytest.raises(FarfieldError, match=r"expected an image in HDU 1, found none; those with one: \[2, 3, 4\]"):
        load_fields(path, (3, 8, 8), hdu="1")


def test_axes_by_the_stated_rule(tmp_path):
    cube, colour = numbers(0, 5, 8, 9), numbers(1, 3, 8, 9)
    slices = load_fields(write(tmp_path / "cube.fits", cube), (3, 8, 9))
    assert slices.keys == tuple(f"cube/{i:04d}" for i in range(5))
    assert np.array_equal(slices.values[:, 0].numpy(), cube)
    five = load_fields(tmp_path / "cube.fits", (5, 8, 9))  # as many as the model's channels
    assert five.keys == ("cube",) and np.array_equal(five.values[0].numpy(), cube)
    for name, array in (("c.npy", colour), ("d.npy", np.moveaxis(colour, 0, 2)), ("e.npy", colour[None])):
        assert np.array_equal(load_fields(write(tmp_path / name, array), (3, 8, 9)).values[0].numpy(), colour)
    assert load_fields(tmp_path / "c.npy", (1, 8, 9)).values.shape == (3, 1, 8, 9)
    rows = load_fields(write(tmp_path / "rows.npz", colour), (3, 8, 9))  # an npz holds rows, as for images
    assert rows.keys == ("000000", "000001", "000002") and np.array_equal(rows.values[:, 0].numpy(), colour)


def test_patches_tile_the_map(tmp_path):
    whole = numbers(0, 20, 27)
    found = load_fields(write(tmp_path / "map.npy", whole), (3, 8, 8), patch=8)
    assert found.keys == tuple(f"map/{y:04d}-{x:04d}" for y in (0, 8) for x in (0, 8, 16))
    tiled = found.values[:, 0].view(2, 3, 8, 8).permute(0, 2, 1, 3).reshape(16, 24)
    assert np.array_equal(tiled.numpy(), whole[:16, :24])
    small = load_fields(tmp_path / "map.npy", (3, 4, 4), patch=8)  # cut first, then resampled
    assert torch.allclose(small.values, torch.nn.functional.avg_pool2d(found.values, 2), rtol=1e-14)
    assert small.scale == 2


def test_masked_and_constant_patches_are_left_out_and_named(tmp_path):
    whole = numbers(0, 8, 24)
    whole[:, 8:16] = 3.0
    whole[:4, 16:] = np.nan
    whole[0, 0] = np.inf
    named = r"2 fields left out: m.npy: m/0000-0008 \(constant\), m.npy: m/0000-0016 \(50% masked\)"
    with pytest.warns(FarfieldWarning, match=named):
        found = load_fields(write(tmp_path / "m.npy", whole), (1, 8, 8), patch=8)
    assert found.keys == ("m/0000-0000",) and found.values.isnan().sum() == 1 and found.masked == 1 / 64


def test_shrinking_is_the_mean_of_blocks():
    from skimage.transform import downscale_local_mean

    x = numbers(0, 2, 24, 36)
    assert np.allclose(resample(x, 8, 12), downscale_local_mean(x, (1, 3, 3)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("size", [(7, 11), (16, 16), (23, 5), (24, 36)])
def test_shrinking_by_any_factor_keeps_the_mean(size):
    x = numbers(1, 3, 24, 36)
    assert np.allclose(resample(x, *size).mean((1, 2)), x.mean((1, 2)), rtol=1e-13)


def test_growing_is_linear_between_centres():
    y, x = np.mgrid[:6, :5] + 0.5
    big = resample((2 * y - 3 * x)[None], 18, 20)[0]
    yy, xx = (np.mgrid[:18, :20] + 0.5) / np.array([3, 4])[:, None, None]
    assert np.allclose(big[2:-2, 2:-2], (2 * yy - 3 * xx)[2:-2, 2:-2], atol=1e-12)


def test_gaps_take_no_part_in_a_mean():
    x = numbers(0, 1, 4, 4)
    x[0, 0, :2] = np.nan  # half of a block
    x[0, 2:, 2:] = np.nan
    x[0, 3, 3] = 5.0  # a quarter of a block
    found = resample(x, 2, 2)[0]
    assert np.isclose(found[0, 0], x[0, 1, :2].mean()) and np.isnan(found[1, 1])
    assert np.isclose(found[0, 1], x[0, :2, 2:].mean())


def test_gaps_are_filled_with_their_own_median():
    values = torch.from_numpy(numbers(0, 2, 2, 5, 5))
    values[0, 1, 2, 2] = values[0, 1, 0, 0] = torch.nan
    fields = Fields(("a", "b"), values)
    full = fill(fields)
    gap = values.isnan()
    assert torch.equal(full[~gap], values[~gap]) and gap.sum() == 2
    lower = np.sort(values[0, 1][~gap[0, 1]].numpy())[11]  # of 23
    assert torch.equal(full[gap], torch.full((2,), lower, dtype=torch.float64))
    values[1, 0] = torch.nan
    with pytest.raises(FarfieldError, match="b: every pixel of a channel is masked"):
        fill(Fields(("a", "b"), values))


def test_fields_are_an_artifact(tmp_path):
    values = torch.from_numpy(numbers(0, 2, 1, 4, 4))
    values[0, 0, 0, 0] = torch.nan
    fields = Fields(("m/0000", "m/0001"), values, "K", "fits", {"m": "BUNIT = 'K'"}, 2.0)
    save(fields, tmp_path)
    found = load(tmp_path, Fields)
    assert found.attributes() == fields.attributes() and torch.equal(found.values.nan_to_num(7), values.nan_to_num(7))
    one = found.select(["m/0001"])
    assert one.header("m/0001") == "BUNIT = 'K'" and one.unit == "K" and torch.equal(one.values[0], values[1])


def test_fields_and_pictures_are_told_apart(tmp_path):
    import tifffile

    made = {
        "a.fits": True,
        "a.npy": False,
        "wide.npy": True,
        "wide.h5": True,
        "bytes.npy": False,
        "bytes.h5": False,
        "wide.npz": True,
        "narrow.npz": False,
        "bytes.npz": False,
        "unit.tif": False,
        "wide.tif": True,
        "nan.tif": False,
        "sixteen.tif": False,
        "signed.tif": True,
    }
    unit = np.random.default_rng(0).random((8, 8))
    arrays = {"narrow": unit[None] * 2 - 1, "unit": unit.astype("f4"), "wide": numbers(0, 8, 8).astype("f4") * 9}
    arrays |= {"bytes": np.zeros((1, 8, 8), np.uint8), "sixteen": np.full((8, 8), 65535, np.uint16)}
    arrays |= {"signed": np.full((8, 8), -3, np.int16), "nan": np.full((8, 8), np.nan, np.float32), "a": unit}
    for name in made:
        stem, _, end = name.partition(".")
        array = arrays[stem]
        tifffile.imwrite(tmp_path / name, array) if end == "tif" else write(tmp_path / name, array)
    assert {name: is_physical(tmp_path / name) for name in made} == made
    assert is_physical(f"{tmp_path}/a.fits[0]") and not is_physical(tmp_path / "absent.fits")
    for i in range(4):
        write(tmp_path / "sky" / f"{i}.fits", numbers(i, 8, 8))
    make_images(tmp_path / "sky", 1)  # a picture among many fields is passed over
    assert is_physical(tmp_path / "sky")
    make_images(tmp_path / "sky", 9)
    with pytest.raises(FarfieldError, match=r"two kinds of data; give '.*/\*\*/\*\.fits' or '.*/\*\*/\*\.png'"):
        is_physical(tmp_path / "sky")


def test_what_cannot_be_read_is_left_out_and_named(tmp_path):
    write(tmp_path / "good.fits", numbers(0, 8, 8))
    whole = write(tmp_path / "cut.fits", numbers(1, 64, 64)).read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[:10000])
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    (tmp_path / "junk.npy").write_bytes(b"hello")
    with pytest.warns(FarfieldWarning, match=r"3 of 4 files unreadable: cut.fits .*empty.fits \(no HDU with an image"):
        assert load_fields(tmp_path, (3, 8, 8)).keys == ("good",)
    with pytest.raises(FarfieldError, match="3 of 4 files unreadable"):
        load_fields(tmp_path, (3, 8, 8), strict=True)
    with pytest.raises(FarfieldError, match=r"empty.fits: expected readable fields, .*no HDU with an image"):
        load_fields(tmp_path / "empty.fits", (3, 8, 8))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.npy", np.full((8, 8), np.nan), r"a.npy: expected a field that has a spread, found a \(100% masked\)"),
        ("a.npy", np.full((8, 8), 2.0), r"a.npy: expected a field that has a spread, found a \(constant\)"),
        ("a.npy", np.zeros(8), r"a.npy .*expected \[H, W\]"),
        ("a.npy", np.zeros((8, 8), complex), "complex128"),
        ("a.npy", np.array([[None]]), "unreadable: a.npy"),
        ("a.npy", numbers(0, 2, 5, 8, 8), r"\[n, C, H, W\] of 1, 3 or 3 channels"),
        ("a.fits", np.full((8, 8), np.nan), "a.fits: expected a field that has a spread"),
    ],
)
def test_bad_fields_are_refused_by_name(tmp_path, name, array, message):
    with pytest.raises(FarfieldError, match=message):
        load_fields(write(tmp_path / name, array), (3, 8, 8))


def test_folders_that_do_not_go_together(tmp_path):
    write(tmp_path / "a" / "x.npy", numbers(0, 8, 8))
    write(tmp_path / "a" / "y.npy", numbers(0, 3, 8, 8))
    with pytest.raises(FarfieldError, match=r"as many channels in every field, found \[1, 3\]"):
        load_fields(tmp_path / "a", (3, 8, 8))
    for name, unit in (("x", "K"), ("y", "Jy")):
        write(tmp_path / "b" / f"{name}.fits", numbers(0, 8, 8))
        fits.setval(tmp_path / "b" / f"{name}.fits", "BUNIT", value=unit)
    with pytest.raises(FarfieldError, match=r"expected one unit, found \['Jy', 'K'\]"):
        load_fields(tmp_path / "b", (3, 8, 8))
    write(tmp_path / "c" / "x.npy", numbers(0, 8, 8))
    write(tmp_path / "c" / "y.npy", numbers(1, 16, 16))
    with pytest.warns(FarfieldWarning, match=r"several sizes \(8 × 8, 16 × 16\)"):
        load_fields(tmp_path / "c", (3, 8, 8))
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file["p"] = file["q"] = numbers(0, 8, 8)
    with pytest.raises(FarfieldError, match=r"expected an array 'images', 'data' or a single one, found \['p', 'q'\]"):
        load_fields(tmp_path / "h.h5", (3, 8, 8))
    assert len(load_fields(f"{tmp_path}/h.h5[q]", (3, 8, 8))) == 1


@pytest.mark.skipif(not HSC.exists(), reason="development data")
def test_real_galaxies():
    found = load_fields(HSC, (3, 32, 32))
    assert found.values.shape == (200, 1, 32, 32) and found.scale == 2 and found.source == "fits"
    native = fits.getdata(HSC / f"{found.keys[17]}.fits").astype(float)
    assert np.allclose(found.values[17, 0].numpy(), native.reshape(32, 2, 32, 2).mean((1, 3)), rtol=1e-12)


@pytest.mark.skipif(not ISM.exists(), reason="development data")
def test_real_maps():
    whole = np.load(ISM / "pywph_I_1.npy").astype(float)
    found = load_fields(ISM / "pywph_I_1.npy", (3, 64, 64), patch=64)
    assert len(found) == 64 and torch.isclose(found.values.mean(), torch.tensor(whole.mean()), rtol=1e-13)
    assert np.array_equal(found.select(["pywph_I_1/0064-0128"]).values[0, 0].numpy(), whole[64:128, 128:192])
    with pytest.warns(FarfieldWarning, match="constant"):  # the corners are filled with zeros
        load_fields(ISM / "perseus_2d_400.npy", (3, 32, 32), patch=50)
    assert load_fields(ISM / "turbustat_dataset1_cube.npy", (3, 32, 32)).values.shape == (221, 1, 32, 32)
