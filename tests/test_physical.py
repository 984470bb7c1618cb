"""Physical data through the command line: in by a stretch fitted on the examples, out in physical units."""

import json
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Outcome, farfield, make_images, make_model, read_stretch, summary, undrawn

from farfield.command.shared import Reading
from farfield.core.artifact import Images, Latents, load, read_json
from farfield.core.error import FarfieldError
from farfield.data.picture import channel_law, grey
from farfield.data.science import Fields, load_fields
from farfield.data.stretch import Stretch, fit_stretch
from farfield.study.bench.domain import Domain, Physical, Split, open_domain

pytestmark = pytest.mark.usefixtures("few_views")

fits = pytest.importorskip("astropy.io.fits")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUICK = ("--steps", 2, "--sigma", 5, "-n", 3, "--no-control", "--no-patches", "--descriptor", "pixels", "-q")


def sky(seed: int, side: int = 32) -> np.ndarray:
    """A bright blob on a noisy background, with negative pixels."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    blob = 50 * g.random() * np.exp(-(y**2 + x**2) / (2 * (2 + 4 * g.random()) ** 2))
    return (blob + 0.2 * g.standard_normal((side, side))).astype(np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("physical")
    make_model(folder / "model")
    (folder / "sky").mkdir()
    for seed in range(24):
        hdu = fits.PrimaryHDU(sky(seed))
        hdu.header["BUNIT"], hdu.header["TELESCOP"], hdu.header["CDELT1"] = "nJy", f"T{seed}", 0.5
        hdu.writeto(folder / "sky" / f"sky-{seed:02d}.fits")
    return folder


@pytest.fixture(scope="module")
def finished(root: Path) -> Path:
    outcome = run(root, "sky", "--examples", 8, drawn=True)
    assert outcome.code == 0, outcome
    return root / "run-sky"


def run(root: Path, source: object, *options: object, to: str = "", drawn: bool = False) -> Outcome:
    name = to or f"run-{Path(str(source)).name}"
    path = root / str(source) if (root / str(source).partition("[")[0]).exists() else source
    with nullcontext() if drawn else undrawn():
        return farfield("expand", root / "model", path, "-o", root / name, *QUICK, *options)


class TestNoise:
    """Point sources on a sky of known noise: it is told, and new fields have it; they are made of the signal alone."""

    @pytest.fixture(scope="class")
    @classmethod
    def runs(cls, root: Path) -> dict[str, Path]:
        (root / "survey").mkdir()
        g = np.random.default_rng(0)
        y, x = np.mgrid[:16, :16]
        for i in range(40):
            down, across = g.uniform(2, 14, 2)
            source = 30 * g.random() * np.exp(-((y - down) ** 2 + (x - across) ** 2) / 2)
            np.save(root / "survey" / f"{i:02d}.npy", source + 0.2 * g.standard_normal((16, 16)))
        found = {}
        for name, options in {"with": (), "without": ("--no-fresh-noise",)}.items():
            outcome = run(root, "survey", "--examples", 24, *options, to=name)
            assert outcome.code == 0, outcome
            said = [line for line in summary(root / name)["reading"] if line.startswith("noise: ")]
            assert len(said) == (name == "with"), said
            found[name] = root / name
        return found

    def test_the_law_is_in_the_summary(self, runs):
        law = summary(runs["with"])["physical"]["noise"]
        assert law["sigma"][0] == pytest.approx(0.2, rel=0.06) and law["length"][0] < 1 and 12 < law["fields"] <= 24
        assert law["least"][0] < law["sigma"][0] < law["most"][0] and 0.4 < law["flat"] < 1
        assert summary(runs["without"])["physical"].get("noise") is None

    def test_examples_stay_as_they_were_read_and_samples_get_noise(self, runs):
        same = load(runs["with"] / "examples", Images), load(runs["without"] / "examples", Images)
        assert torch.equal(same[0].values, same[1].values)
        made = [load(runs[name] / "samples", Images) for name in ("with", "without")]
        assert made[0].keys == made[1].keys and not torch.equal(made[0].values, made[1].values)


class TestFits:
    def test_the_stretch_is_fitted_on_the_examples_alone(self, root, finished):
        kept = read_stretch(finished / "stretch.json")
        examples = load(finished / "examples", Images)
        fields = load_fields(root / "sky", (3, 16, 16)).select(examples.keys)
        assert kept == fit_stretch("auto", fields.values, unit="nJy") and kept.kind == "asinh"
        assert torch.equal(examples.values, kept.forward(fields.values).float().expand(-1, 3, -1, -1))
        native = np.stack([sky(int(k[-2:])).astype(float).reshape(16, 2, 16, 2).mean((1, 3)) for k in examples.keys])
        with np.load(finished / "physical" / "examples.npz") as found:
            assert found["keys"].tolist() == list(examples.keys) and str(found["unit"]) == "nJy"
            assert np.allclose(found["images"][:, 0], native, rtol=1e-12)

    def test_the_other_sets_go_through_the_same_stretch(self, root, finished):
        kept = read_stretch(finished / "stretch.json")
        references = load(finished / "references", Images)
        fields = load_fields(root / "sky", (3, 16, 16)).select(references.keys)
        assert torch.equal(references.values[:, :1], kept.forward(fields.values).float())
        assert not set(references.keys) & set(load(finished / "examples", Images).keys)

    def test_samples_leave_as_fits_in_physical_units_without_a_tint(self, finished):
        kept = read_stretch(finished / "stretch.json")
        samples = load(finished / "samples", Images)
        assert torch.equal(samples.values, samples.values[:, :1].expand(-1, 3, -1, -1)) and samples.values.std() > 0
        # the network itself has tints: the rule did this
        own = load(finished / "base", Images).values
        assert not torch.equal(own, own[:, :1].expand(-1, 3, -1, -1))
        for key, values in zip(samples.keys, samples.values, strict=True):
            with fits.open(finished / "physical" / f"{key}.fits") as opened:
                opened.verify("exception")
                header, found = opened[0].header, opened[0].data
            back = kept.inverse(values[None, :1])[0, 0].numpy()
            assert np.allclose(found, back, rtol=1e-6) and found.shape == (16, 16)
            assert header["FFSEED"] == int(key) and header["BUNIT"] == "nJy" and header["CDELT1"] == 1.0
            assert (header["OBJECT"], header["FFSYNTH"], "TELESCOP" in header) == ("SYNTHETIC", True, False)
            assert "not an observation" in str(header["HISTORY"]) and header["FFSTRET"] == "asinh"
        with np.load(finished / "physical" / "samples.npz") as made:
            assert made["images"].shape == (3, 1, 16, 16) and np.array_equal(made["images"][-1, 0], found)
            told = json.loads(str(made["provenance"]))
        assert told["farfield_synthetic"] == "true" and told["farfield_run_sha256"] == header["FFRUN"]
        for name in ("examples", "real", "references"):
            with np.load(finished / "physical" / f"{name}.npz") as real:
                assert "provenance" not in real.files
        assert len(list((finished / "png").glob("*.png"))) == 3

    def test_the_summary_says_so(self, finished):
        found = summary(finished)
        assert found["physical"]["source"] == "fits" and found["physical"]["unit"] == "nJy"
        assert found["physical"]["stretch"] == read_json(finished / "stretch.json")
        assert set(found["fields"]) == {"samples", "real", "unit"} and found["fields"]["samples"]["n"]["generated"] == 3
        parts = found["local_copies"]["parts"]
        assert {part["space"] for part in parts} == {"pixels", "physical units", "whitened units"} and len(parts) == 9
        assert "whitened units" in (finished / "report.html").read_text()

    def test_another_stretch_is_another_run(self, root, finished):
        outcome = run(root, "sky", "--examples", 8, "--stretch", "linear")
        assert outcome.code == 2 and "--stretch was not given, now linear" in outcome.err

    def test_log_of_negatives_is_refused(self, root):
        outcome = run(root, "sky", "--examples", 8, "--stretch", "log", to="no")
        assert outcome.code == 2 and outcome.err.count("\n") == 1 and not (root / "no").exists()
        assert "stretch log: expected values above 0" in outcome.err and "use --stretch asinh" in outcome.err

    @pytest.mark.parametrize("kind", ["linear", "percentile"])
    def test_every_stretch_runs(self, root, kind):
        assert run(root, "sky", "--stretch", kind, "--examples", 20, to=f"run-{kind}").code == 0
        found = summary(root / f"run-{kind}")
        assert found["physical"]["stretch"]["kind"] == kind and found["fields"] is None  # four are too few to hold out
        assert "references" not in [p.stem for p in (root / f"run-{kind}" / "physical").iterdir()]


def _held(domain: Domain) -> list[str]:
    return [k for part in domain.held.values() for k in part.keys]


class TestOtherSources:
    def test_a_cube_in_an_hdu(self, root):
        cube = np.stack([sky(s, 16) for s in range(8)])
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube), fits.ImageHDU(-cube)]).writeto(root / "cube.fits")
        assert run(root, "cube.fits[2]", to="hdu").code == 0
        assert run(root, "cube.fits", "--hdu", 2, to="hdu2").code == 0
        with (
            np.load(root / "hdu" / "physical" / "examples.npz") as a,
            np.load(root / "hdu2" / "physical" / "examples.npz") as b,
        ):
            assert np.array_equal(a["images"][:, 0], -cube.astype(float)) and np.array_equal(a["images"], b["images"])
            assert a["keys"].tolist() == [f"cube/{i:04d}" for i in range(8)]
        assert fits.getdata(root / "hdu" / "physical" / "000000.fits").shape == (16, 16)

    def test_patches_of_a_map_with_gaps(self, root):
        whole = np.exp(np.random.default_rng(0).standard_normal((64, 96)))
        whole[5, 5], whole[40, 40] = np.nan, np.inf
        np.save(root / "map.npy", whole)
        outcome = run(root, "map.npy", "--patch", 16, "--examples", 10, "--stretch", "log")
        assert outcome.code == 0, outcome
        found = summary(root / "run-map.npy")
        assert found["examples"]["available"] == 24 and found["physical"]["patch"] == 16
        assert any("come from the same maps" in note for note in found["notes"])
        made = np.load(root / "run-map.npy" / "physical" / "samples.npz")["images"]
        assert (made > 0).all() and not list((root / "run-map.npy" / "physical").glob("*.fits"))
        sets = [np.load(p) for p in (root / "run-map.npy" / "physical").glob("[er]*.npz")]
        assert sum(np.isnan(s["images"]).sum() for s in sets) == 2  # gaps stay gaps

    def test_no_map_is_on_both_sides(self, root):
        (root / "maps").mkdir()
        for seed in range(4):
            np.save(root / "maps" / f"m{seed}.npy", sky(seed, 64))
        for count, maps in ((10, 1), (16, 1), (20, 2), (None, 4)):  # 16 patches a map
            domain = open_domain(str(root / "maps"), (3, 16, 16), Reading(patch=16), Split(count, most=99))
            ours, others = ({k[:2] for k in keys} for keys in (domain.examples.keys, _held(domain)))
            assert len(ours) == maps and len(domain.examples) == (count or 64)
            assert not ours & others and len(_held(domain)) == 16 * (4 - maps) and domain.notes == ()
        mixed = open_domain(str(root / "maps"), (3, 16, 16), Reading(patch=16), Split(50))  # takes a part of every map
        assert any("come from the same maps" in note for note in mixed.notes)

    def test_clouds(self, root, monkeypatch):
        monkeypatch.setattr("farfield.data.bundled.CLOUDS", 20)
        assert run(root, "clouds", "--examples", 8).code == 0
        found = summary(root / "run-clouds")
        assert found["physical"]["stretch"]["kind"] == "log" and found["physical"]["unit"] == "cm-2"
        assert np.load(root / "run-clouds" / "physical" / "samples.npz")["images"].min() > 1e19

    def test_images_can_be_forced(self, root):
        import tifffile

        (root / "tif").mkdir()
        for seed in range(4):
            tifffile.imwrite(root / "tif" / f"{seed}.tif", (sky(seed) * 100 + 500).astype(np.uint16))
        assert run(root, "tif", to="as-image").code == 0 and summary(root / "as-image")["physical"] is None
        assert run(root, "tif", "--stretch", "auto", to="as-field").code == 0
        assert summary(root / "as-field")["physical"]["range"][1] > 1000

    def test_three_channels_stay_three(self, root):
        values = np.stack([np.stack([sky(3 * s + c, 16) * 10**c for c in range(3)]) for s in range(4)])
        np.savez(root / "colour.npz", images=values)
        domain = open_domain(str(root / "colour.npz"), (3, 16, 16))
        assert domain.finish is None and len(domain.physical.stretch.channels) == 3
        back = domain.physical.to_fields(domain.examples)
        assert torch.allclose(back.values, torch.from_numpy(values).double(), rtol=1e-4, atol=1e-4)


def fields_of(root: Path, stretch: Stretch) -> torch.Tensor:
    """All of the sky folder, after a check that the stretch was fitted on all of it."""
    fields = load_fields(root / "sky", (3, 16, 16))
    assert stretch == fit_stretch("auto", fields.values, unit="nJy")
    return fields.values


class TestOtherCommands:
    def test_reconstruct_states_the_error_in_both_units(self, root):
        out = root / "back"
        assert farfield("reconstruct", root / "model", root / "sky", "-o", out, "--steps", 8, "-q").code == 0
        found, kept = summary(out), read_stretch(out / "stretch.json")
        values, returned = fields_of(root, kept), load(out / "reconstructions", Images).values
        apart = (kept.inverse(returned.double().mean(1, keepdim=True)) - values).abs().flatten(1).amax(1)
        stated = found["reconstruction"]["max_error_physical"]
        assert [stated[k] for k in ("min", "max")] == pytest.approx([float(apart.min()), float(apart.max())])
        error = (returned - load(out / "images", Images).values).flatten(1).double()
        psnr = 10 * (4 / error.square().mean(1)).log10()
        assert found["reconstruction"]["psnr"]["min"] == pytest.approx(float(psnr.min()), rel=1e-4)
        assert found["physical"]["unit"] == "nJy" and found["physical"]["stretch"] == read_json(out / "stretch.json")
        html = (out / "report.html").read_text()
        words = re.sub('base64,[^"]*', "", html.split("<body>")[1].split('id="settings"')[0])
        assert "nan" not in words.lower()

    def test_gaps_do_not_count_as_errors(self, root):
        values = torch.linspace(1, 9, 64, dtype=torch.float64).reshape(1, 1, 8, 8).repeat(2, 1, 1, 1)
        values[0, 0, 3, 3], values[1] = torch.nan, -values[1]
        physical = Physical.fit("linear", Fields(("a", "b"), values))
        images = physical.to_model(physical.fields["examples"], 3)
        images.values[0, :, 3, 3] += 0.7  # in the gap
        images.values[1, :, 0, 0] += 0.2  # the ends are -9 and 9: a unit of the model is 9
        swapped = images.select(("b", "a"))
        assert physical.max_error(swapped).tolist() == pytest.approx([1.8, 0], abs=1e-5)

    def test_invert_takes_the_first_patches_of_a_map(self, root):
        np.save(root / "plain.npy", np.exp(np.random.default_rng(1).standard_normal((48, 48))))
        options = ("-o", root / "up", "--patch", 16, "--limit", 3, "--stretch", "log", "--steps", 4, "-q")
        assert farfield("invert", root / "model", root / "plain.npy", *options).code == 0
        keys, kept = (
            load(root / "up" / "latents", Latents).keys,
            read_stretch(root / "up" / "stretch.json"),
        )
        assert keys == ("plain/0000-0000", "plain/0000-0016", "plain/0000-0032") and kept.kind == "log"
        ours = np.log(np.load(root / "plain.npy")[:16])
        assert (kept.channels[0].low, kept.channels[0].high) == pytest.approx((ours.min(), ours.max()))
        found = summary(root / "up")
        assert found["n"] == 3 and found["physical"]["patch"] == 16 and "reconstruction" not in found
        request = read_json(root / "up" / "config.json")["request"]
        assert (request["stretch"], request["patch"], request["hdu"]) == ("log", 16, None)

    def test_analyse_draws_from_the_fields(self, root):
        few = ("--levels", 5, "--eta", "0.5", "--noise", "1", "--decoded", 2, "--down-steps", 4, "--steps", 4, "-q")
        out = root / "looked"
        pictures = make_images(root / "known", 8)
        given = ("analyse", root / "model", root / "sky", "--in-domain", pictures, "-o", out, "--examples", 9, *few)
        with undrawn():
            assert farfield(*given).code == 0
        examples, kept = load(out / "examples", Images), read_stretch(out / "stretch.json")
        fields = load_fields(root / "sky", (3, 16, 16)).select(examples.keys)
        assert kept == fit_stretch("auto", fields.values, unit="nJy")
        assert torch.equal(examples.values, kept.forward(fields.values).float().expand(-1, 3, -1, -1))
        found = summary(out)
        assert (found["examples"]["n"], found["examples"]["available"]) == (9, 24)
        assert found["physical"]["unit"] == "nJy" and found["in_domain"]["source"] == str(pictures)
        assert found["examples"]["digest"] == fields.digest()

    @pytest.mark.parametrize(
        ("command", "source", "options", "says"),
        [
            ("reconstruct", "pictures", ("--patch", 8), "--patch, --hdu and --field-mask are for physical fields"),
            ("invert", "pictures", ("--stretch", "auto"), "pictures: expected files of fields"),
            ("invert", "sky", ("--limit", 0), "--limit 0: expected a whole number, at least 1"),
            ("reconstruct", "sky", ("--stretch", "log"), "use --stretch asinh"),
            ("reconstruct", "sky", ("--hdu", 3), "expected an image in HDU 3"),
            ("analyse", "sky", ("--examples", 25), "25 examples asked for, but it holds 24"),
            ("analyse", "sky", ("--examples", 5), "expected at least 8 examples to analyse, found 5"),
            ("analyse", "sky", ("--stretch", "sqrt"), "stretch 'sqrt': expected auto"),
        ],
    )
    def test_bad_requests_are_one_clear_line(self, root, command, source, options, says):
        if source == "pictures":
            make_images(root / source, 2)
        outcome = farfield(command, root / "model", root / source, "-o", root / "refused", *options)
        assert outcome.code == 2 and says in outcome.err and outcome.err.count("\n") == 1, outcome
        assert not (root / "refused").exists()


def test_there_and_back_is_the_field(root):
    fields = load_fields(root / "sky", (3, 32, 32))
    physical = Physical.fit("auto", fields)
    for channels in (1, 3, 4):
        back = physical.to_fields(physical.to_model(fields, channels))
        assert back.keys == fields.keys and back.values.shape == fields.values.shape
        assert torch.allclose(back.values, fields.values, rtol=2e-6, atol=1e-6)  # float32 lies between


def bad(root: Path, name: str) -> Path:
    """A folder of four good fields and whatever the name says."""
    folder = root / name
    folder.mkdir()
    for seed in range(4):
        np.save(folder / f"good-{seed}.npy", sky(seed, 16))
    arrays = {
        "all-nan": np.full((16, 16), np.nan),
        "flat": np.ones((16, 16)),
        "colour": np.ones((3, 16, 16)) * sky(9, 16),
    }
    if name in arrays:
        np.save(folder / "odd.npy", arrays[name])
    return folder


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("all-nan", "odd.npy: expected a field that has a spread, found odd (100% masked)"),
        ("flat", "odd.npy: expected a field that has a spread, found odd (constant)"),
        ("colour", "expected as many channels in every field, found [1, 3]"),
    ],
)
def test_bad_fields_are_one_clear_line(root, name, says):
    outcome = run(root, bad(root, name).name, to=f"out-{name}")
    assert outcome.code == 2 and says in outcome.err and outcome.err.count("\n") == 1
    assert not (root / f"out-{name}").exists()


def test_bad_requests_are_one_clear_line(root):
    make_images(root / "png", 4)
    fits.HDUList([fits.PrimaryHDU()]).writeto(root / "empty.fits")
    cases = [
        (("png", "--patch", 8), "--patch, --hdu and --field-mask are for physical fields"),
        (("png", "--stretch", "auto"), "png: expected files of fields"),
        (("sky", "--stretch", "sqrt"), "stretch 'sqrt': expected auto, linear, log, asinh, percentile"),
        (("sky", "--patch", 1), "patch 1: expected a side of at least 2 pixels"),
        (("sky", "--patch", 64), "smaller than a patch of 64 × 64"),
        (("sky", "--hdu", 3), "expected an image in HDU 3, found none; those with one: [0]"),
        (("sky", "--heldout", root / "png"), "png: expected files of fields"),
        (("png", "--heldout", root / "sky"), "holds physical fields, but"),
        (("empty.fits",), "no HDU with an image; it holds 0 (PRIMARY)"),
        (("clouds", "--patch", 8), "clouds: --patch, --hdu and --field-mask are for files"),
        (("hubble", "--stretch", "log"), "hubble: expected physical fields, found a domain of pictures"),
    ]
    for i, (arguments, says) in enumerate(cases):
        outcome = run(root, *arguments, to=f"refused-{i}")
        assert outcome.code == 2 and says in outcome.err and outcome.err.count("\n") == 1, (arguments, outcome)
        assert not (root / f"refused-{i}").exists()


class TestGrey:
    def test_the_law_is_the_examples(self):
        image = torch.rand(4, 3, 5, 5)
        assert channel_law(image) is None and channel_law(image[:, :1]) is None
        assert channel_law(grey(image)) is grey
        assert channel_law(torch.cat([grey(image[:3]), image[3:]])) is None  # one in colour is enough
        assert torch.allclose(grey(image)[:, 2], image.mean(1)) and torch.allclose(grey(grey(image)), grey(image))

    def test_grey_pictures_make_grey_samples(self, root):
        (root / "grey").mkdir()
        for seed in range(4):
            Image.fromarray((sky(seed, 16) * 4).clip(0, 255).astype(np.uint8)).save(root / "grey" / f"{seed}.png")
        assert run(root, "grey").code == 0
        samples = load(root / "run-grey" / "samples", Images).values
        assert torch.equal(samples, samples[:, :1].expand(-1, 3, -1, -1)) and samples.std() > 0
        assert run(root, "png").code == 0  # and colour stays
        coloured = load(root / "run-png" / "samples", Images).values
        assert not torch.allclose(coloured, grey(coloured), atol=0.01)

    def test_candidates_are_grey_when_they_are_chosen(self, root):
        assert run(root, "sky", "--candidates", 2, "--examples", 8, to="chosen").code == 0
        pilot = load(root / "chosen" / "pilot", Images).values
        assert torch.equal(pilot, pilot[:, :1].expand(-1, 3, -1, -1))


@pytest.mark.skipif(not (DATA / "hsc-wide-fits").exists(), reason="development data")
def test_real_galaxies_come_in():
    domain = open_domain(str(DATA / "hsc-wide-fits"), (3, 32, 32), split=Split(100))
    assert (len(domain.examples), len(domain.held["references"]), len(domain.held["real"])) == (100, 67, 33)
    assert domain.physical.stretch.kind == "asinh" and domain.finish is grey
    assert float(domain.examples.values.min()) == -1 and float(domain.examples.values.max()) == 1
    for name in ("references", "real"):
        back = domain.physical.to_fields(domain.held[name])
        assert torch.allclose(back.values, domain.physical.fields[name].values, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not (DATA / "ism-fields").exists(), reason="development data")
def test_real_maps_come_in():
    source, other = (str(DATA / "ism-fields" / f"pywph_I_{i}.npy") for i in (1, 2))
    domain = open_domain(source, (3, 32, 32), Reading(patch=64), Split(40), heldout=other)
    assert domain.physical.stretch.kind == "log" and domain.notes == ()
    assert all(k.startswith("pywph_I_2/") for k in domain.held["references"].keys)
    with pytest.raises(FarfieldError, match="above 0"):
        open_domain(str(DATA / "ism-fields" / "pywph_Q_1.npy"), (3, 32, 32), Reading(patch=64, stretch="log"))
