"""A generated file says that it is one, and by what it was made, in every format; what is real does not say so."""

import json

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from tiny import contents, farfield, make_images, make_model

from farfield.core.artifact import Images
from farfield.core.provenance import SYNTHETIC, Provenance
from farfield.data.dataset import open_dataset
from farfield.data.field_source import is_physical
from farfield.data.field_write import pixel_side, write_fits, write_npz
from farfield.data.image import load_images
from farfield.data.picture import save_png, save_pngs
from farfield.data.samples import open_samples
from farfield.data.science import load_fields
from farfield.data.write import write_dataset

pytestmark = pytest.mark.usefixtures("without_the_page", "few_views")

REQUEST = {"command": "expand", "model": "cifar10-32", "model_digest": "ab" * 32, "seed": 0}
MADE = Provenance.of(REQUEST)

OBSERVED = {
    "TELESCOP": "HST", "INSTRUME": "ACS", "OBSERVER": "Hubble", "OBJECT": "M 31", "DATE-OBS": "2004-01-16", "MJD-OBS": 53020.0,
    "EXPTIME": 1200.0, "FILTER": "F814W", "AIRMASS": 1.2, "RA": 10.68, "DEC": 41.27, "RADESYS": "ICRS", "EQUINOX": 2000.0,
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.68, "CRVAL2": 41.27, "CRPIX1": 8.0, "CRPIX2": 8.0, "LONPOLE": 180.0,
    "MAGZERO": 25.9, "PROPOSID": 9453, "ORIGIN": "STScI", "WCSNAME": "TWEAK", "CTYPE1A": "RA---TAN", "CRVAL1A": 10.68,
}  # fmt: skip


def header(**cards) -> str:
    found = fits.Header()
    for name, value in cards.items():
        found[name] = value
    found.add_history("flat-fielded")
    return found.tostring(sep="\n", endcard=False, padding=False)


def written(path, template="", **kwargs) -> fits.Header:
    values = np.arange(16.0).reshape(1, 4, 4)
    write_fits(path, values, MADE, template=template, **{"key": "000007", **kwargs})
    with fits.open(path) as opened:
        opened.verify("exception")
        assert np.array_equal(opened[0].data, values[0])
        return opened[0].header


class TestFits:
    def test_nothing_of_the_observation_stays(self, tmp_path):
        found = written(tmp_path / "a.fits", header(**OBSERVED, CDELT1=-0.01, CDELT2=0.01), unit="nJy", scale=2.0)
        linear = {"CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "OBJECT"}
        assert set(OBSERVED) & set(found) == linear and "flat-fielded" not in str(found["HISTORY"])
        assert (found["OBJECT"], found["FFSYNTH"], found["BUNIT"]) == ("SYNTHETIC", True, "nJy")
        assert not WCS(found).has_celestial and found["CTYPE1"] == found["CTYPE2"] == "LINEAR"
        assert [found[f"{name}1"] for name in ("CRPIX", "CRVAL", "CDELT", "CUNIT")] == [2.5, 0.0, 0.02, "deg"]

    def test_it_says_what_made_it(self, tmp_path):
        found = written(tmp_path / "a.fits", cards={"FFSTRET": ("asinh", "stretch")})
        assert (found["FFSEED"], found["FFMODEL"], found["FFSTRET"]) == (7, "cifar10-32", "asinh")
        assert (found["FFMODSHA"], found["FFRUN"]) == ("ab" * 32, MADE.run) and "CTYPE1" not in found
        assert "not an observation" in str(found["HISTORY"])

    def test_the_same_field_gives_the_same_bytes(self, tmp_path):
        for name in ("a.fits", "b.fits"):
            written(tmp_path / name, header(**OBSERVED))
        assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()

    @pytest.mark.parametrize(
        ("cards", "expected"),
        [
            ({"CDELT1": -0.1, "CDELT2": 0.2, "CUNIT1": "arcsec", "CUNIT2": "arcsec"}, (0.1, 0.2, "arcsec")),
            ({"CD1_1": 0.03, "CD1_2": 0.04, "CD2_1": -0.04, "CD2_2": 0.03, "CTYPE1": "RA---TAN"}, (0.05, 0.05, "deg")),
            ({"CDELT1": 0.5, "CDELT2": 0.5, "PC1_1": 0.6, "PC1_2": -0.8, "PC2_1": 0.8, "PC2_2": 0.6}, (0.5, 0.5, None)),
            ({"CDELT1": -1.0, "CDELT2": 2.0, "CROTA2": 30.0, "CTYPE1": "GLON-CAR"}, (1.0, 2.0, "deg")),
            ({"CDELT1": 2.0, "CTYPE1": "LINEAR", "CUNIT1": "pc"}, (2.0, None, "pc")),
            ({}, (None, None, None)),
        ],
    )
    def test_a_pixel_keeps_its_size(self, tmp_path, cards, expected):
        found = written(tmp_path / "a.fits", header(**cards))
        sizes = [found.get(f"CDELT{i}") for i in (1, 2)]
        assert all(a is b or abs(a - b) < 1e-12 for a, b in zip(sizes, expected[:2], strict=True))
        assert found.get("CUNIT1") == expected[2] and not {"CD1_1", "PC1_1", "CROTA2"} & set(found)

    def test_names_that_no_card_can_hold_do_not_stop_a_field(self, tmp_path):
        made = Provenance("expand", "modèle\n" + 90 * "x", "", "")
        write_fits(tmp_path / "a.fits", np.ones((1, 4, 4)), made, key="galáxia", unit="µJy")
        with fits.open(tmp_path / "a.fits") as opened:
            found = opened[0].header
        assert found["FFMODEL"] == "mod?le?" + 90 * "x" and (found["FFSEED"], found["BUNIT"]) == ("gal?xia", "?Jy")


class TestNpz:
    def test_fields_read_back(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(3, 1, 4, 4))
        write_npz(tmp_path / "a.npz", ["x", "y", "z"], values, "cm-2", MADE)
        found = load_fields(tmp_path / "a.npz", (3, 4, 4))
        assert found.keys == ("x", "y", "z") and found.unit == "cm-2" and np.array_equal(found.values.numpy(), values)
        assert is_physical(tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
            assert json.loads(str(arrays["provenance"])) == MADE.record()

    def test_real_fields_are_not_marked(self, tmp_path):
        write_npz(tmp_path / "a.npz", ["x"], np.ones((1, 1, 4, 4)))
        with np.load(tmp_path / "a.npz") as arrays:
            assert arrays.files == ["images", "keys"]


class TestPng:
    def test_its_chunks_say_so(self, tmp_path):
        save_pngs(Images(("000007", "sub/b"), torch.zeros(2, 3, 4, 4)), tmp_path, MADE)
        told = Image.open(tmp_path / "sub" / "b.png").text
        assert told == MADE.record("sub/b") and told[SYNTHETIC] == "true" and told["farfield_model_sha256"] == "ab" * 32
        assert Image.open(tmp_path / "000007.png").text["farfield_key"] == "000007"
        assert torch.equal(
            load_images(tmp_path / "000007.png", (3, 4, 4)).values, load_images(tmp_path / "sub", (3, 4, 4)).values
        )

    def test_an_image_s_bytes_depend_on_its_seed_and_model_alone(self):
        other = Provenance.of({**REQUEST, "batch_size": 3})
        assert other.run != MADE.run and other.record("7") == MADE.record("7") and other.record() != MADE.record()

    def test_any_name_can_be_written(self, tmp_path):
        made = Provenance.of({**REQUEST, "model": "mod\udce9le ★"})
        save_png(torch.zeros(1, 4, 4), tmp_path / "a.png", made.record("\udcff"))
        assert Image.open(tmp_path / "a.png").text["farfield_model"] == "mod?le ★"

    def test_where_a_model_lies_is_not_told(self, tmp_path):
        (tmp_path / "mine").mkdir()
        assert Provenance.of({**REQUEST, "model": str(tmp_path / "mine")}).model == "mine"
        assert Provenance.of({**REQUEST, "model": "google/ddpm-cat-256"}).model == "google/ddpm-cat-256"


def test_real_data_are_never_marked(tmp_path):
    make_images(tmp_path / "in", 2)
    data = open_dataset(tmp_path / "in")
    for form in ("folder", "npz"):
        write_dataset(tmp_path / form, zip(data.keys, data.images, strict=True), {}, form)
    assert not any(b"farfield_" in content for content in contents(tmp_path).values())


@pytest.mark.parametrize("form", ["png", "npz"])
def test_what_generate_leaves_is_marked_and_reads_back(tmp_path, form):
    model = make_model(tmp_path / "model", (3, 8, 8))
    assert (
        farfield("generate", model, "--seeds", "0-2", "--steps", 2, "--format", form, "-o", tmp_path / "run").code == 0
    )
    sheet = Image.open(tmp_path / "run" / "sheet.png").text
    assert sheet[SYNTHETIC] == "true" and sheet["farfield_model"] == "model" and len(sheet["farfield_run_sha256"]) == 64
    assert open_samples(tmp_path / "run").keys == ("0", "1", "2")
    if form == "png":
        told = Image.open(tmp_path / "run" / "samples" / "000002.png").text
        assert told["farfield_key"] == "2" and told["farfield_command"] == "generate"
    else:
        with np.load(tmp_path / "run" / "images.npz") as arrays:
            assert json.loads(str(arrays["provenance"])) == sheet
        assert open_samples(tmp_path / "run" / "images.npz").keys == ("0", "1", "2")


@pytest.mark.parametrize(
    ("cards", "side"),
    [
        ({"CDELT1": -0.01, "CDELT2": 0.01, "CUNIT1": "deg", "CUNIT2": "deg"}, (72.0, "arcsec")),
        ({"CD1_1": -0.3, "CD2_2": 0.3, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, (2160.0, "arcsec")),
        ({"CDELT1": 3.0, "CDELT2": 3.0, "CUNIT1": "pc", "CUNIT2": "pc"}, (6.0, "pc")),
        ({"CDELT1": 0.1, "CDELT2": 0.2, "CUNIT1": "arcsec", "CUNIT2": "arcsec"}, (None, "")),  # no square
        ({"CDELT1": 0.1, "CDELT2": 0.1}, (None, "")),  # of no unit
        ({}, (None, "")),
    ],
)
def test_the_side_of_a_pixel_is_said_where_the_header_states_it(cards, side):
    found = pixel_side(header(**cards), 2.0)
    assert found == (side[0] and pytest.approx(side[0]), side[1])
