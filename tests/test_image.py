"""Files to tensors and back: every mode and container, and every way in which they can be wrong."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from farfield.core.artifact import Images
from farfield.core.error import FarfieldError, FarfieldWarning, NonFiniteError
from farfield.data.image import list_keys, load_images
from farfield.data.picture import fit, save_png, save_pngs, to_uint8
from farfield.data.source import open_collection

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 10), dtype=np.uint8)


def one(path, shape):
    values = load_images(path, shape).values
    assert values.shape == (1, *shape) and values.dtype == torch.float32
    return values[0]


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def png16(array):
    """A PNG of 16 bits a channel, by the file format's own rules: Pillow writes none in colour."""
    h, w, c = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", w, h, 16, {1: 0, 3: 2}[c], 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    parts.append((b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_every_8_bit_value_returns_to_the_bit():
    every = torch.arange(256, dtype=torch.uint8)
    picture = every.numpy().reshape(16, 16, 1)
    assert torch.equal(to_uint8(fit(picture, (1, 16, 16), "")).ravel(), every)


@pytest.mark.parametrize(("array", "channels"), [(RGB, 3), (GREY, 1)])
def test_png_round_trip_is_the_identity(tmp_path, array, channels):
    source = save(tmp_path / "a.png", array)
    image = one(source, (channels, 12, 10))
    assert image.min() >= -1 and image.max() <= 1
    save_png(image, tmp_path / "out" / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "b.png")), array)


def test_to_uint8_clips_and_rounds_to_the_nearest():
    values = torch.tensor([-7.0, -1.0, (100.4 / 127.5) - 1, (100.6 / 127.5) - 1, 1.0, 1.5])
    assert to_uint8(values).tolist() == [0, 0, 100, 101, 255, 255]
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        to_uint8(torch.tensor([0.0, float("nan")]))


def test_grey_is_repeated_and_rgb_becomes_luminance(tmp_path):
    grey = one(save(tmp_path / "g.png", GREY), (3, 12, 10))
    assert torch.equal(grey[0], grey[1]) and torch.equal(to_uint8(grey[2]), torch.from_numpy(GREY))
    colour = to_uint8(one(save(tmp_path / "c.png", RGB), (1, 12, 10)))[0].double().numpy()
    assert np.abs(colour - RGB @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_luminance_of_floats_is_that_of_bytes(tmp_path):
    np.savez(tmp_path / "f.npz", RGB[None] / np.float64(255))
    expected = RGB @ np.array([0.299, 0.587, 0.114]) / 127.5 - 1
    assert np.abs(one(tmp_path / "f.npz", (1, 12, 10))[0].numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_fine_checkerboard_becomes_mid_grey(dtype):
    board = (np.indices((96, 96)).sum(0) % 2)[..., None]
    board = (board * 255).astype(np.uint8) if dtype == np.uint8 else (board * 2 - 1).astype(np.float32)
    small = fit(board, (1, 24, 24), "")
    assert small[:, 2:-2, 2:-2].abs().max() < 0.02


@pytest.mark.parametrize("tall", [False, True])
def test_the_crop_is_centred_and_keeps_the_model_aspect(tall):
    # 8 × 20 with a white middle of 8 × 12: at aspect 2:3 exactly the middle remains
    wide = np.zeros((8, 20, 1), np.uint8)
    wide[:, 4:16] = 255
    picture, shape = (wide.transpose(1, 0, 2), (1, 12, 8)) if tall else (wide, (1, 8, 12))
    assert torch.equal(fit(picture, shape, ""), torch.ones(shape))
    smaller = (1, shape[1] // 4, shape[2] // 4)
    assert torch.equal(fit(picture, smaller, ""), torch.ones(smaller))


def test_resizing_floats_stays_in_range():
    edge = np.where(np.arange(9) < 4, -1, 1).astype(np.float32)[None, :, None].repeat(9, 0)
    large = fit(edge, (1, 31, 31), "")
    assert large.min() == -1 and large.max() == 1


def test_a_palette_is_resized_as_colours_not_as_indices(tmp_path):
    picture = Image.fromarray((np.indices((32, 32)).sum(0) % 2).astype(np.uint8), "L").convert("P")
    picture.putpalette([255, 0, 0, 0, 0, 255] + [0, 255, 0] * 254)
    picture.save(tmp_path / "p.png")
    middle = to_uint8(one(tmp_path / "p.png", (3, 8, 8)))[:, 2:-2, 2:-2].float()
    assert (middle[0] - 127.5).abs().max() < 4 and middle[1].max() == 0 and (middle[2] - 127.5).abs().max() < 4


# --- modes ------------------------------------------------------------------------------------------------------------


def test_transparent_pixels_show_the_background(tmp_path):
    for mode in ("RGBA", "LA"):
        clear = Image.new("RGBA", (4, 4), (10, 10, 10, 0)).convert(mode)
        clear.paste(Image.new("RGBA", (2, 4), (10, 10, 10, 255)).convert(mode), (0, 0))
        clear.save(tmp_path / f"{mode}.png")
        pixels = to_uint8(one(tmp_path / f"{mode}.png", (3, 4, 4)))
        assert (pixels[:, :, :2] == 10).all() and (pixels[:, :, 2:] == 255).all()


def test_a_transparent_palette_entry_shows_the_background(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([9, 9, 9, 7, 8, 9])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "p.png", transparency=0)
    pixels = to_uint8(one(tmp_path / "p.png", (3, 4, 4)))
    assert pixels[:, 0, 0].tolist() == [255] * 3 and pixels[:, 3, 3].tolist() == [7, 8, 9]


def test_bilevel_and_cmyk(tmp_path):
    Image.fromarray(GREY).convert("1").save(tmp_path / "b.png")
    assert set(to_uint8(one(tmp_path / "b.png", (1, 12, 10))).unique().tolist()) == {0, 255}
    Image.new("CMYK", (6, 6), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    red = to_uint8(one(tmp_path / "c.tif", (3, 6, 6)))[:, 3, 3].tolist()
    assert red[0] > 200 and red[1] < 60 and red[2] < 60


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_of_grey_keep_their_precision(tmp_path, ending):
    values = np.array([[0, 1, 256, 257], [32767, 32768, 65534, 65535]], np.uint16)
    image = one(save(tmp_path / f"a.{ending}", values), (1, 2, 4))[0].double().numpy()
    assert np.abs((image + 1) * 32767.5 - values).max() < 0.01
    ramp = np.linspace(30000, 30255, 64 * 64).astype(np.uint16).reshape(64, 64)  # one step of 8 bits, nearly
    assert len(one(save(tmp_path / f"r.{ending}", ramp), (1, 16, 16)).unique()) > 100


def test_16_bits_of_colour_are_named_as_cut(tmp_path):
    values = RNG.integers(0, 65536, (5, 4, 3))
    (tmp_path / "a.png").write_bytes(png16(values))
    with pytest.warns(FarfieldWarning, match=r"1 images of 16 bits a colour .*a\.png; an npz"):
        pixels = to_uint8(one(tmp_path / "a.png", (3, 5, 4)))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), values >> 8)


def test_float_and_integer_tiffs(tmp_path):
    unit = RNG.random((6, 5)).astype(np.float32)
    assert np.allclose(one(save(tmp_path / "f.tif", unit), (1, 6, 5))[0], unit * 2 - 1, atol=1e-6)
    for name, array in [("flux", unit * 40), ("negative", unit - 5), ("nan", unit * np.nan), ("int", unit * 1e6)]:
        path = save(tmp_path / f"{name}.tif", array.astype(np.int32) if name == "int" else array.astype(np.float32))
        with pytest.raises(FarfieldError, match=rf"{name}\.tif: expected .*physical"):
            load_images(path, (1, 6, 5))


def test_exif_orientation_turns_the_picture(tmp_path):
    half = np.zeros((16, 32, 3), np.uint8)
    half[:, :16] = 255  # white on the left; orientation 6 = turn right to view: white comes on top
    exif = Image.Exif()
    exif[0x0112] = 6
    image = one(save(tmp_path / "a.jpg", half, exif=exif, quality=95), (3, 32, 16))
    assert image[:, :14].min() > 0.9 and image[:, 18:].max() < -0.9


# --- folders and zips -------------------------------------------------------------------------------------------------


def test_folder_keys_are_sorted_stems_and_images_follow_them(tmp_path):
    for level, name in enumerate(["b.png", "a.png", "b-2.png"]):
        save(tmp_path / name, np.full((4, 4), level * 50, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    save(tmp_path / "deeper" / "z.png", GREY)
    images = load_images(tmp_path, (1, 4, 4))
    assert images.keys == ("a", "b", "b-2", "deeper/z") == tuple(list_keys(tmp_path))
    assert to_uint8(images.values)[:3, 0, 0, 0].tolist() == [50, 0, 100]  # by key; by file name b-2 comes before b


def test_shared_stems_keep_full_names(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        save(tmp_path / name, GREY)
    assert list_keys(tmp_path) == ["a.jpg", "a.png", "b"]
    save(tmp_path / "a.png.gif", GREY)
    assert list_keys(tmp_path) == ["a.jpg", "a.png", "a.png.gif", "b.png"]


def test_everything_below_a_folder_is_read(tmp_path):
    for name in ("x/1.png", "x/2.png", "y/z/1.png"):
        save(tmp_path / name, GREY)
    assert load_images(tmp_path, (1, 12, 10)).keys == ("x/1", "x/2", "y/z/1")


def test_only_what_is_asked_for_is_decoded(tmp_path):
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "c.png", GREY)
    (tmp_path / "b.png").write_text("would fail if it were decoded")
    assert list_keys(tmp_path) == ["a", "b", "c"]
    assert load_images(tmp_path, (1, 4, 4), keys=["c", "a"], strict=True).keys == ("c", "a")
    assert load_images(tmp_path, (1, 4, 4), limit=1, strict=True).keys == ("a",)
    with pytest.raises(FarfieldError, match=r"expected images named d, e, found none so among its 3"):
        load_images(tmp_path, (1, 4, 4), keys=["a", "d", "e"])
    with pytest.raises(FarfieldError, match="limit 0"):
        load_images(tmp_path, (1, 4, 4), limit=0)


def test_report_counts_every_image(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", GREY)
    np.savez(tmp_path / "a.npz", np.stack([GREY, GREY]))
    for path, n in [(tmp_path, 5), (tmp_path / "a.npz", 2)]:
        seen = []
        with open_collection(path) as collection:
            assert len([*collection.each(lambda key, picture: key, collection.keys, report=seen.append)]) == n
        assert seen == [1] * n


def test_zip_gives_what_its_folder_gives_and_unpacks_nothing(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    path = tmp_path / "work" / "images.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "in" / "b.png", "set/b.png")
        archive.write(tmp_path / "in" / "a.png", "set/a.png")
        archive.writestr("__MACOSX/set/._a.png", "x")
        archive.writestr("set/readme.txt", "x")
    zipped, plain = load_images(path, (3, 6, 6)), load_images(tmp_path / "in", (3, 6, 6))
    assert zipped.keys == ("a", "b") and zipped.digest() == plain.digest()
    assert [p.name for p in path.parent.iterdir()] == ["images.zip"]


def test_zip_members_with_hostile_names_stay_in_memory(tmp_path):
    path = tmp_path / "deep" / "evil.zip"
    path.parent.mkdir()
    data = io.BytesIO()
    Image.fromarray(GREY).save(data, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../up.png", "/abs.png", "C:\\win\\x.png"):
            archive.writestr(name, data.getvalue())
    images = load_images(path, (1, 12, 10))
    assert set(images.keys) == {"up", "abs", "C:/win/x"} and len(list(tmp_path.rglob("*.png"))) == 0
    written = save_pngs(images, tmp_path / "out")
    assert {p.relative_to(tmp_path).as_posix() for p in written} == {"out/up.png", "out/abs.png", "out/C_/win/x.png"}


# --- npz --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        RGB[None],
        RGB.transpose(2, 0, 1)[None],
        (RGB[None] / 255).astype(np.float32),
        (RGB[None] / 127.5 - 1).astype(np.float64),
        RGB[None].astype(np.uint16) * 257,
    ],
    ids=["NHWC", "NCHW", "unit", "symmetric", "uint16"],
)
def test_npz_layouts_and_types_hold_the_same_picture(tmp_path, array):
    np.savez(tmp_path / "a.npz", array)
    assert torch.equal(to_uint8(one(tmp_path / "a.npz", (3, 12, 10))).permute(1, 2, 0), torch.from_numpy(RGB))


def test_npz_without_channels_bool_and_many_channels(tmp_path):
    np.savez(tmp_path / "g.npz", GREY[None])
    assert torch.equal(to_uint8(one(tmp_path / "g.npz", (1, 12, 10)))[0], torch.from_numpy(GREY))
    np.savez(tmp_path / "b.npz", GREY[None] > 99)
    assert torch.equal(one(tmp_path / "b.npz", (1, 12, 10))[0] > 0, torch.from_numpy(GREY > 99))
    five = RNG.uniform(-1, 1, (2, 5, 12, 10)).astype(np.float32)
    np.savez(tmp_path / "5.npz", five)
    assert torch.equal(load_images(tmp_path / "5.npz", (5, 12, 10)).values, torch.from_numpy(five))
    assert load_images(tmp_path / "5.npz", (5, 6, 5)).values.shape == (2, 5, 6, 5)


def test_npz_keys(tmp_path):
    images = np.stack([np.full((2, 2), v, np.uint8) for v in (10, 20, 30)])
    np.savez(tmp_path / "plain.npz", images)
    assert list_keys(tmp_path / "plain.npz") == ["000000", "000001", "000002"]
    np.savez(tmp_path / "named.npz", images=images, objid=np.array([33, 11, 22]))
    loaded = load_images(tmp_path / "named.npz", (1, 2, 2))
    assert loaded.keys == ("11", "22", "33") == tuple(list_keys(tmp_path / "named.npz"))
    assert to_uint8(loaded.values)[:, 0, 0, 0].tolist() == [20, 30, 10]
    assert load_images(tmp_path / "named.npz", (1, 2, 2), keys=["33"]).keys == ("33",)
    np.savez(tmp_path / "twice.npz", images=images, keys=np.array(["a", "a", "b"]))
    assert list_keys(tmp_path / "twice.npz") == ["000000", "000001", "000002"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": GREY[None], "b": GREY[None]}, r"expected an array 'images' or a single array, found \['a', 'b'\]"),
        ({"a": np.array([{}, {}], object)}, r"object \(pickled\)"),
        (
            {"a": GREY[None].astype(np.int64)},
            "int64 from 0 to 254 can be pictures or counts; save pictures as uint8",
        ),
        ({"a": GREY}, r"expected images \[n, H, W\].*found shape \(12, 10\)"),
        ({"a": GREY[:0, None]}, r"found shape \(0, 1, 10\)"),
        ({"a": np.zeros((2, 4, 8, 8), np.uint8)}, r"expected 3 channels .the model's., found 4"),
        ({"a": np.full((1, 4, 4), 7.5)}, r"expected images, found physical fields; .* --stretch"),
        (
            {"a": np.linspace(-0.2, 1, 16).reshape(1, 4, 4)},
            r"floats from -0\.2 to 1 can be pictures in .* array `range`",
        ),
        ({"a": np.full((1, 4, 4), -1.1)}, "found physical fields"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FarfieldError, match=r"a\.npz: .*" + message):
        load_images(tmp_path / "a.npz", (3, 8, 8))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_npz_names_its_non_finite_rows(tmp_path, bad):
    images = np.zeros((3, 4, 4))
    images[1, 2, 2] = bad
    np.savez(tmp_path / "a.npz", images=images, keys=["x", "y", "z"])
    with pytest.raises(FarfieldError, match="found NaN or infinity in y; mend"):
        load_images(tmp_path / "a.npz", (1, 4, 4))


def test_damaged_npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", RNG.integers(0, 256, (4, 32, 32), dtype=np.uint8))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:1000])
    with pytest.raises(FarfieldError, match="expected an npz"):
        list_keys(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(whole[:1000] + bytes(200) + whole[1200:])
    with pytest.raises(FarfieldError, match="damaged"):
        list_keys(tmp_path / "a.npz")


# --- bad sources ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """Two good images among a truncated one and a text file."""
    folder = tmp_path / "mixed"
    for name in ("a.png", "d.png"):
        save(folder / name, GREY)
    whole = save(folder / "b.png", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).read_bytes()
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "c.png").write_text("hello")
    return folder


def test_broken_images_are_named_and_left_out(mixed):
    with pytest.warns(FarfieldWarning, match=r"2 of 4 unreadable: b\.png \(.+\), c\.png \(.+\); left out") as seen:
        images = load_images(mixed, (1, 12, 10))
    assert len(seen) == 1 and images.keys == ("a", "d")
    assert torch.equal(to_uint8(images.values[1, 0]), torch.from_numpy(GREY))


def test_strict_makes_broken_images_an_error(mixed):
    with pytest.raises(FarfieldError, match=r"2 of 4 unreadable: b\.png"):
        load_images(mixed, (1, 12, 10), strict=True)
    with pytest.raises(FarfieldError, match=r"2 of 4 unreadable: b\.png"):
        list_keys(mixed, strict=True)
    assert list_keys(mixed) == ["a", "b", "c", "d"]


def test_a_source_with_broken_images_only_is_an_error(mixed):
    with pytest.raises(FarfieldError, match=r"expected readable images, found 2 of 2 unreadable"):
        load_images(mixed, (1, 4, 4), keys=["b", "c"])


def test_a_broken_zip_member_is_left_out(tmp_path):
    data = io.BytesIO()
    Image.fromarray(GREY).save(data, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.png", data.getvalue())
        archive.writestr("bad.png", data.getvalue()[:40])
    with pytest.warns(FarfieldWarning, match=r"1 of 2 unreadable: bad\.png"):
        assert load_images(tmp_path / "a.zip", (1, 4, 4)).keys == ("good",)


def test_missing_empty_and_foreign_sources(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "bad.zip").write_text("hello")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    cases = {
        "absent": "expected an image file, a folder .* found nothing there; check the path",
        "empty": r"expected images \(.*\), found none",
        "texts": r"expected images \(.*\), found none",
        "notes.txt": "expected readable images, .* unreadable",
        "bad.zip": "expected a zip of images, found damage",
        "none.zip": r"expected images \(.*\), found none",
    }
    for name, message in cases.items():
        with pytest.raises(FarfieldError, match=f"{name}: {message}"):
            load_images(tmp_path / name, (3, 8, 8))


def test_channels_that_do_not_fit_name_file_and_model(tmp_path):
    save(tmp_path / "in" / "a.png", RGB)
    with pytest.raises(FarfieldError, match=r"a\.png: expected 4 channels \(the model's\), found 3"):
        load_images(tmp_path / "in", (4, 8, 8))
    for shape in [(3, 8), (3, 8, 0)]:
        with pytest.raises(FarfieldError, match=r"expected the model's \(C, H, W\)"):
            load_images(tmp_path / "in", shape)


@pytest.mark.parametrize("limit", [300, 100])  # 400 pixels: above the limit, and above the double at which Pillow stops
def test_decompression_bombs_are_refused(tmp_path, monkeypatch, recwarn, limit):
    save(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(FarfieldError, match=r"a\.png \(.*limit of \d+ pixels"):
        load_images(tmp_path / "a.png", (1, 4, 4))
    assert not [w for w in recwarn if issubclass(w.category, FarfieldWarning)]  # Pillow has its own, which is not shown


def test_a_zip_member_that_unpacks_too_large_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(3 << 20))
    monkeypatch.setattr("farfield.data.budget.FLOOR", 1 << 14)
    with pytest.raises(FarfieldError, match=r"unpacks to 3 MiB from .* expected at most 2 MiB"):
        load_images(tmp_path / "a.zip", (1, 4, 4))


# --- writing ----------------------------------------------------------------------------------------------------------


def test_saved_keys_come_back(tmp_path):
    values = torch.rand(3, 3, 5, 7) * 2 - 1
    paths = save_pngs(Images(("s/a", "s/b", "t/a.v2"), values), tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in paths] == ["s/a.png", "s/b.png", "t/a.v2.png"]
    back = load_images(tmp_path / "out", (3, 5, 7))
    assert back.keys == ("s/a", "s/b", "t/a.v2") and torch.equal(to_uint8(back.values), to_uint8(values))
    assert {p.suffix for p in (tmp_path / "out").rglob("*") if p.is_file()} == {".png"}


def test_unsafe_keys_stay_inside_the_folder(tmp_path):
    paths = save_pngs(Images(("../a", "/b", ".c", "d:?"), torch.zeros(4, 1, 2, 2)), tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in paths] == ["__/a.png", "_/b.png", "_c.png", "d__.png"]


def test_only_grey_and_rgb_become_png(tmp_path):
    for shape in [(4, 8, 8), (8, 8)]:
        with pytest.raises(FarfieldError, match=r"expected \[1, H, W\] or \[3, H, W\]"):
            save_png(torch.zeros(shape), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
