"""`farfield blind`: what answers are worth, and a page that gives nothing away."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from tiny import farfield, make_images, make_model

from farfield.audit.discrimination import discriminate
from farfield.core.artifact import Images, load, save
from farfield.core.error import FarfieldError
from farfield.core.interval import exact_proportion
from farfield.data.picture import to_uint8
from farfield.present.blind import page
from farfield.study.unseen.blind import draw

DATA = re.compile(r'"data:image/png;base64,([^"]+)"')


@pytest.mark.parametrize(("hits", "n"), [(0, 6), (6, 6), (5, 5), (27, 40), (20, 40), (1, 1), (300, 1000)])
def test_the_exact_interval_is_scipys(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="exact")
    found = exact_proportion(hits, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert (found.value, found.n) == (hits / n, n)
    # it holds one half just where the two-sided test does not reject it
    assert (found.low <= 0.5 <= found.high) == (binomtest(hits, n).pvalue > 0.05)


def test_answers_are_worth_what_they_are():
    truth = {str(i): "real" if i % 2 else "made" for i in range(1, 41)}
    other = {"real": "made", "made": "real"}
    perfect = discriminate(truth, truth)
    assert (perfect.right.value, perfect.real.value, perfect.made.value) == (1, 1, 0) and perfect.verdict == "told"
    swapped = discriminate(truth, {k: other[kind] for k, kind in truth.items()})
    assert (swapped.right.value, swapped.real.value, swapped.made.value) == (0, 0, 1) and swapped.verdict == "reversed"
    always = discriminate(truth, dict.fromkeys(truth, "real"))
    assert (always.right.value, always.real.value, always.made.value) == (0.5, 1, 1) and always.verdict == "not told"
    # 15 of 20 real ones, and 8 of 20 made ones, taken for real: 27 of 40 are right
    order = sorted(truth, key=lambda k: (truth[k], int(k)))
    some = {k: "real" if i < 8 or 20 <= i < 35 else "made" for i, k in enumerate(order)}
    found = discriminate(truth, some)
    assert (found.right.value, found.real.value, found.made.value) == (27 / 40, 15 / 20, 8 / 20)
    assert found.verdict == "told" and found.right.low == pytest.approx(binomtest(27, 40).proportion_ci().low)
    for bad in ({}, {**truth, "41": "real"}, dict(list(truth.items())[:-1])):
        with pytest.raises(FarfieldError, match="expected one to each"):
            discriminate(truth, bad)
    with pytest.raises(FarfieldError, match="expected half of them"):
        discriminate(dict.fromkeys(truth, "real"), truth)


def test_who_guesses_is_told_so_in_nineteen_of_twenty_tries():
    truth = {str(i): "real" if i < 20 else "made" for i in range(40)}
    g = torch.Generator().manual_seed(3)
    coins = torch.randint(2, (400, 40), generator=g).tolist()
    verdicts = [discriminate(truth, {k: ("real", "made")[c] for k, c in zip(truth, row, strict=True)}) for row in coins]
    missed = sum(v.verdict != "not told" for v in verdicts)
    assert missed <= 33  # exactly 3.8 % of guessers are off, 15 of 400; so many in one of 100,000 draws


def test_both_kinds_are_drawn_alike_and_shown_alike():
    g = torch.Generator().manual_seed(0)
    levels = torch.randint(256, (9, 1, 4, 6), generator=g) / 127.5 - 1
    real = Images(tuple(f"r{i}" for i in range(9)), levels.expand(-1, 3, -1, -1).float())
    tinted = real.values.clone()
    tinted[:, 0] = (tinted[:, 0] + 1 / 127.5).clamp(max=1)  # as JPEG leaves grey pictures
    made = Images(tuple(f"m{i}" for i in range(7)), (real.values[:7] * 1.1).contiguous())
    truth, shown = draw(Images(real.keys, tinted), made, 5, 1)
    assert list(truth) == [str(i) for i in range(1, 11)] and shown.keys == tuple(truth)
    assert sorted(kind for kind, _ in truth.values()) == ["made"] * 5 + ["real"] * 5
    assert len(set(truth.values())) == 10
    pixels = to_uint8(shown.values)
    assert bool((pixels[:, :1] == pixels).all())  # no tint in either
    assert draw(Images(real.keys, tinted), made, 5, 1)[1].digest() == shown.digest()
    assert draw(Images(real.keys, tinted), made, 5, 2)[0] != truth


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("blind")
    make_model(root / "model", (3, 8, 8))
    make_images(root / "pictures", 24, 8, 8)
    few = ("--examples", 6, "-n", 7, "--sigma", 1, "--candidates", 1, "--steps", 2, "--device", "cpu", "-q")
    done = farfield("expand", root / "model", root / "pictures", *few, "-o", root / "run")
    assert done.code == 0, done.err
    shutil.copytree(root / "run", root / "none", ignore=shutil.ignore_patterns("references"))
    return root


def test_a_page_asks_and_its_answers_are_scored(root, tmp_path):
    line = ("blind", root / "run", "-n", 12, "--seed", 987654, "-q")
    done = farfield(*line, "-o", tmp_path / "a")
    assert (
        done.code == 0
        and "12 pictures wait for a reader" in done.out
        and done.out.endswith(f"--answers answers.json\n{tmp_path / 'a' / 'blind.html'}\n")
    ), done.err
    html = (tmp_path / "a" / "blind.html").read_text()
    summary, truth = (json.loads((tmp_path / "a" / f"{n}.json").read_text()) for n in ("summary", "truth"))
    assert summary["answered"] is None and [t["kind"] for t in truth.values()].count("real") == 6

    # held-out pictures alone are real ones, and each leaves as its pixels and no more
    shown = [base64.b64decode(text) for text in DATA.findall(html)]
    sets = {"real": load(root / "run" / "references", Images), "made": load(root / "run" / "samples", Images)}
    examples = to_uint8(load(root / "run" / "examples", Images).values)
    assert len(shown) == 12
    for content, told in zip(shown, truth.values(), strict=True):
        kinds = [
            content[m.start() : m.end()]
            for m in re.finditer(rb"(IHDR|IDAT|IEND|tEXt|iTXt|zTXt|tIME|eXIf|pHYs)", content)
        ]
        assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
        picture = Image.open(io.BytesIO(content))
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        assert picture.mode == "RGB" and picture.info == {}
        assert torch.equal(pixels, to_uint8(sets[told["kind"]].select([told["key"]]).values)[0])
        assert told["kind"] == "made" or not bool((examples == pixels).flatten(1).all(1).any())

    # what is not a picture is the same whatever the pictures are
    bare = DATA.sub("", html)
    assert not any(told["key"] in bare for told in truth.values()) and "987654" not in bare
    assert re.findall(r"(?:src|href)=\"?http|https?://|import |fetch\(", bare) == []
    stored = load(tmp_path / "a" / "pictures", Images)
    assert page(stored, stored.digest(), "pictures") == html

    answers = {
        "made_by": "farfield blind",
        "pictures": summary["pictures"],
        "answers": {k: t["kind"] for k, t in truth.items()},
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    done = farfield(*line, "--answers", tmp_path / "answers.json", "-o", tmp_path / "a")
    assert done.code == 0 and "tells made from real" in done.out, done.err
    scored = json.loads((tmp_path / "a" / "summary.json").read_text())["answered"]
    assert scored["right"]["value"] == 1 and scored["verdict"] == "told" and scored["made"]["value"] == 0
    assert "Made, taken for made" in (tmp_path / "a" / "report.html").read_text()
    # the answers stay with the folder, and so does what its page says of them
    before = (tmp_path / "a" / "report.html").read_bytes()
    assert farfield("report", tmp_path / "a").code == 0 and (tmp_path / "a" / "report.html").read_bytes() == before
    assert "tells made from real" in farfield(*line, "-o", tmp_path / "a").out

    # and another reader's, or those to another page, are not taken for them
    answers["answers"]["1"] = {"real": "made", "made": "real"}[answers["answers"]["1"]]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    refused = farfield(*line, "--answers", tmp_path / "answers.json", "-o", tmp_path / "a")
    assert refused.code == 2 and "answers of another reader" in refused.err
    other = farfield("blind", root / "run", "-n", 12, "--answers", tmp_path / "answers.json", "-o", tmp_path / "b")
    assert other.code == 2 and "answers to other pictures" in other.err and not (tmp_path / "b").exists()
    del answers["answers"]["1"]
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    cut = farfield(*line, "--answers", tmp_path / "answers.json", "-o", tmp_path / "c")
    assert cut.code == 2 and "11 answers to 12 pictures" in cut.err


def test_what_cannot_be_asked_is_refused_in_a_line(root, tmp_path):
    for line, said in (
        (("none",), "a run without held-out images"),
        (("run", "-n", 16), "keeps 12 held-out images and 7 new ones; ask for at most -n 14"),
        (("run", "-n", 7), "expected an even number"),
        (("model",), "expected a run folder"),
    ):
        done = farfield("blind", root / line[0], *line[1:], "-o", tmp_path / "out")
        assert done.code == 2 and said in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "out").exists()


def test_fields_and_grey_pictures_are_shown_as_on_their_page(root, tmp_path):
    """Of one channel, beyond [-1, 1]: clipped alike."""
    g = torch.Generator().manual_seed(0)
    real, made = (Images(tuple(f"{k}{i}" for i in range(4)), 2 * torch.randn(4, 1, 5, 5, generator=g)) for k in "rm")
    truth, shown = draw(real, made, 4, 0)
    assert float(shown.values.abs().max()) == 1 and len(DATA.findall(page(shown, "d", "fields"))) == 8
    for number, (kind, key) in truth.items():
        of = {"real": real, "made": made}[kind].select([key])
        assert torch.equal(to_uint8(shown.select([number]).values), to_uint8(of.values))
    save(shown, tmp_path / "pictures")
    assert load(tmp_path / "pictures", Images).digest() == shown.digest()
