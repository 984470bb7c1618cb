"""Pictures of more than 8 bits, by the right value of each pixel; and what a decoder passes over, which is said."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, features
from test_image import png16

from farfield.core.error import FarfieldError, FarfieldNote, FarfieldWarning
from farfield.data.decode import decode, is_cut
from farfield.data.header import header_shape

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
DEEP = RGB.astype(np.uint16) * 257
GREY, GREY16 = RGB[..., 0], DEEP[..., 0]


def tif(array, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def seen(data: bytes, lines: list[str] | None = None) -> np.ndarray:
    """The picture in units of its white; its header must say the same size. ``lines`` takes what is said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture, _ = decode(data, "set: a")
    lines = lines if lines is not None else []
    lines += [str(w.message) for w in caught if w.category in (FarfieldNote, FarfieldWarning)]
    channels, height, width = header_shape(io.BytesIO(data))
    assert picture.shape == (height, width, channels)
    return picture / 255 if picture.dtype == np.uint8 else (picture.astype(np.float64) + 1) / 2


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", [False, True])
def test_16_bit_colour_tiffs_keep_their_colours_and_depth(planar, compression):
    exact = np.random.default_rng(1).integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    array = np.moveaxis(exact, 2, 0).copy() if planar else exact
    found = seen(
        tif(array, photometric="rgb", planarconfig="separate" if planar else "contig", compression=compression)
    )
    assert np.abs(found * 65535 - exact).max() < 0.01


@pytest.mark.parametrize("array", [GREY, GREY16])
def test_white_is_zero_is_no_negative(array):
    found = seen(tif(array, photometric="miniswhite"))[..., 0]
    assert np.allclose(found, 1 - GREY / 255, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_as_8_are(orientation):
    tags = [(274, "H", 1, orientation, True)]
    flat, deep = (seen(tif(a, photometric="rgb", extratags=tags)) for a in (RGB, DEEP))
    assert np.allclose(flat, deep, atol=1e-6)


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_transparency_of_16_bits_is_that_of_8(photometric):
    for kind in ("unassalpha", "assocalpha"):
        colour = RGB if photometric == "rgb" else RGB[..., :1]
        alpha = np.full_like(colour[..., :1], 128)
        alpha[:3] = 0
        colour = colour // 4 if kind == "assocalpha" else colour
        array = np.concatenate([colour * (alpha > 0), alpha], -1).astype(np.uint8)
        found = seen(tif(array.astype(np.uint16) * 257, photometric=photometric, extrasamples=[kind]))
        opacity = alpha / 255
        expected = array[..., :-1] / 255 * (opacity if kind == "unassalpha" else 1) + 1 - opacity
        assert np.allclose(found, expected, atol=1e-6) and (found[:3] == 1).all()


def test_cmyk_and_floats_of_colour():
    inks = np.zeros((2, 2, 4), np.uint16)
    inks[..., 1:3] = 65535  # magenta and yellow make red
    assert seen(tif(inks, photometric="separated"))[0, 0].tolist() == [1, 0, 0]
    unit = (RGB / 255).astype(np.float32)
    assert np.allclose(seen(tif(unit, photometric="rgb")), unit, atol=1e-6)
    with pytest.raises(FarfieldError, match=r"a: expected values in \[0, 1\]"):
        seen(tif(unit * 3, photometric="rgb"))


def twelve_bits(values: np.ndarray) -> bytes:
    """A grey TIFF of 12 bits a sample, packed, by the format's own rules."""
    height, width = values.shape
    bits = "".join("".join(f"{v:012b}" for v in row) for row in values)  # of an even width: rows end with a byte
    strip = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = [
        (256, width),
        (257, height),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(strip)),
    ]
    entries = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def test_the_white_of_12_bits_is_4095():
    values = np.array([[0, 1], [2048, 4095]], np.uint16)
    assert np.allclose(seen(twelve_bits(values))[..., 0] * 4095, values, atol=1e-3)
    ome = '<?xml version="1.0"?><OME><Image><Pixels SignificantBits="12"/></Image></OME>'
    assert np.allclose(seen(tif(values, description=ome, metadata=None))[..., 0] * 4095, values, atol=1e-3)


@pytest.mark.parametrize("save", [tif, lambda a: png16(a[..., None])])
def test_counts_of_12_bits_in_16_are_hinted_at(save):
    lines = []
    found = seen(save(np.array([[0, 4095], [9, 7]], np.uint16)), lines)
    assert found.max() == pytest.approx(4095 / 65535)
    assert "below 4,096 of 65,535 are read as dark; if they hold 12 bits, multiply them by 16" in lines[0]
    lines = []
    seen(save(np.array([[0, 60000], [9, 7]], np.uint16)), lines)
    assert not lines


def test_a_transparent_grey_of_16_bits_shows_the_background():
    chunk = b"tRNS" + struct.pack(">H", int(GREY16[1, 1]))
    data = png16(GREY16[..., None])
    at = data.index(b"IDAT") - 4
    data = data[:at] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]
    expected = np.where(GREY[1, 1] == GREY, 255, GREY) / 255
    assert np.allclose(seen(data)[..., 0], expected, atol=1e-6)
    colours = png16(DEEP)
    chunk = b"tRNS" + struct.pack(">HHH", *DEEP[1, 1].tolist())
    at = colours.index(b"IDAT") - 4
    with pytest.raises(OSError, match="save it with an alpha channel"):
        decode(
            colours[:at] + struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk)) + colours[at:], "set: a"
        )


def test_pages_frames_and_no_data_that_are_passed_over_are_said():
    for data, expected in [
        (
            tif(np.stack([GREY16, GREY16])),
            "set: of a TIFF of several pages the first is read, pages 2 … are passed over",
        ),
        (tif(GREY, extratags=[(42113, "s", 0, "0", False)]), "GDAL_NODATA is not used for pictures"),
    ]:
        lines = []
        seen(data, lines)
        assert len(lines) == 1 and expected in lines[0]
    pyramid = io.BytesIO()
    with tifffile.TiffWriter(pyramid) as file:
        file.write(GREY16)
        file.write(GREY16[::2, ::2], subfiletype=1)
    lines = []
    seen(pyramid.getvalue(), lines)
    assert not lines  # a smaller copy of the same picture


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(kind):
    file, lines = io.BytesIO(), []
    frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (250, 10)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], lossless=True)
    assert (seen(file.getvalue(), lines) > 0.9).all() and lines == ["set: of an animation the first frame is read"]


def jp2(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG2000")
    return file.getvalue()


@pytest.mark.skipif(not features.check("jpg_2000"), reason="a Pillow without JPEG 2000")
def test_jpeg_2000_of_16_bits():
    assert np.allclose(seen(jp2(GREY16))[..., 0], GREY / 255, atol=1e-6)
    colour = jp2(RGB)
    at = colour.index(b"\xff\x51") + 40
    deeper = colour[:at] + b"\x0f" + colour[at + 1 :]  # the depth of the first component, less one
    with Image.open(io.BytesIO(colour)) as opened:
        assert is_cut(opened, deeper) and not is_cut(opened, colour)


def test_formats_whose_colours_pillow_cuts_are_known():
    ppm = b"P6\n2 1\n65535\n" + np.arange(6).astype(">u2").tobytes()
    assert decode(ppm, "set: a")[1] and not decode(b"P6\n2 1\n255\n" + bytes(6), "set: a")[1]
    assert decode(png16(DEEP), "set: a")[1]


@pytest.mark.skipif(not features.check("avif"), reason="a Pillow without AVIF")
def test_avif_of_10_bits_is_known_as_cut():
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "AVIF")
    data = bytearray(file.getvalue())
    with Image.open(io.BytesIO(data)) as opened:
        assert not is_cut(opened, bytes(data))
        data[data.index(b"av1C") + 6] |= 0x40
        assert is_cut(opened, bytes(data))
