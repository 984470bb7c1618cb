"""The first minutes of a new user: what is wrong is said at once, and nothing stands in the way."""

import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import contents, farfield, make_images, make_model, summary

from farfield.cli.config import expanded
from farfield.command.commands import COMMANDS, settings_of
from farfield.command.expand import Expand
from farfield.command.settings import command_line, leaves
from farfield.core.error import FarfieldError
from farfield.core.progress import Meter, clock_time, metered
from farfield.core.runtime import progress
from farfield.diffusion.denoiser import evaluate

pytestmark = pytest.mark.usefixtures("few_views")

BAD = {
    "a path": ("expand cifar10-32 no/such/folder", "no/such/folder: expected an image file"),
    "a pattern": ("describe no/*.png -o out", "no/*.png: expected an image file"),
    "a domain": ("reconstruct cifar10-32 hubbel", "hubbel: expected a path or one of the bundled domains"),
    "held-out images": ("audit digits-memorizing digits --heldout no/such", "no/such: expected an image file"),
    "one of several": ("score matrix digits no/such", "no/such: expected an image file"),
    "data of a model": ("generate empirical:no/such@5", "no/such: expected an image file"),
    "a model": ("expand no-such-model hubble", "model 'no-such-model': no such folder"),
    "one of several models": ("gain hubble cifar10-32 nowhere", "model 'nowhere': no such folder"),
    "images as a model": ("gain hubble brick", "brick: images, of a bundled domain; expected a model"),
    "pictures as a model": ("expand photos hubble", "photos: a folder of pictures (a.png); expected a model"),
    "a picture as a model": ("inspect photos/a.png", "photos/a.png: a picture; expected a model"),
    "an empty folder as a model": ("rank nothing", "nothing: a folder without a file; expected a model"),
    "a device as a model": ("inspect /dev/null", "/dev/null: a device or a pipe; expected a model"),
    "a run as a model": (
        "inspect run",
        "run: a run of `farfield audit`, which is no model; `farfield report run --open`",
    ),
    "a run that goes on": ("gain hubble begun", "it is not finished: `farfield again begun` goes on with it"),
    "a descriptor": ("expand cifar10-32 hubble --descriptor squeezenet", "descriptor 'squeezenet': expected pixels"),
    "a sampler": ("expand cifar10-32 hubble --sampler interpolate", "--sampler interpolate: expected one of auto"),
    "a device": ("generate cifar10-32 --device gpu", "device 'gpu': expected auto, cpu, cuda, cuda:N or mps"),
    "a precision": ("generate cifar10-32 --dtype float8", "--dtype float8: expected one of float32"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> dict[str, str]:
    """What is said of each bad input, in one process that must not have torch in the end."""
    code = """if True:
        import contextlib, io, json, sys
        from farfield.cli import main
        said = {}
        for name, line in json.loads(sys.argv[1]).items():
            sys.argv, err = ["farfield", *line.split()], io.StringIO()
            with contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
                main()
            said[name] = err.getvalue()
        said["heavy"] = [m for m in ("torch", "diffusers", "skimage", "sklearn", "matplotlib") if m in sys.modules]
        print(json.dumps(said))
    """
    lines = json.dumps({name: line for name, (line, _) in BAD.items()})
    folder = tmp_path_factory.mktemp("bad")
    make_images(folder / "photos", 1)
    next((folder / "photos").iterdir()).rename(folder / "photos" / "a.png")
    (folder / "nothing").mkdir()
    for run in ("run", "begun"):
        (folder / run).mkdir()
        (folder / run / "config.json").write_text(json.dumps({"request": {"command": "audit"}}))
    (folder / "run" / "summary.json").write_text("{}")
    before = sorted(folder.iterdir())
    done = subprocess.run([sys.executable, "-c", code, lines], capture_output=True, text=True, check=True, cwd=folder)
    assert sorted(folder.iterdir()) == before, done.stdout
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_before_anything_is_loaded(refused, name):
    assert refused[name].startswith("farfield: ") and BAD[name][1] in refused[name] and refused[name].count("\n") == 1
    assert refused["heavy"] == []


def test_what_only_lists_loads_no_torch(tmp_path):
    code = """if True:
        import sys
        from farfield.cli import main
        for command in ("domains", "fetch"):
            sys.argv = ["farfield", command]
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, command
        sys.exit("torch" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("hubble", "sscd"))


QUICK = ("digits", "--limit", 6, "--descriptor", "pixels", "-q")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def described(*more):
    """The folder of a quick run."""
    done = farfield("describe", *QUICK, *more)
    assert done.code == 0, done.err
    return done.out.splitlines()[-1]


def test_a_run_without_a_folder_takes_the_next_free_one_and_continues_its_own(here):
    assert described() == "runs/describe" == described("--batch-size", 8)  # no setting of the request
    told = farfield("describe", *QUICK[:2], 5, *QUICK[3:])
    assert "farfield: runs/describe holds another run; this one goes to runs/describe-2" in told.err
    assert described("--limit", 4) == "runs/describe-3"
    assert described() == "runs/describe" and described("--limit", 5) == "runs/describe-2"
    (here / "runs" / "describe" / "config.json").write_text("no JSON")
    assert described() == "runs/describe-4"


def test_the_same_settings_on_other_data_take_a_folder_of_their_own(here):
    line = ("describe", make_images(here / "images", 4), "-q")
    assert farfield(*line).out == "runs/describe\n"
    make_images(here / "images", 6)
    assert farfield(*line).out == farfield(*line).out == "runs/describe-2\n"
    refused = farfield(*line, "-o", "runs/describe")
    assert refused.code == 2 and "other data under the same names (images_digest was" in refused.err


def test_a_refusal_names_all_that_differs_by_its_options(here):
    described("-o", "a")
    done = farfield("describe", "faces", "--limit", 4, "--descriptor", "copy", "-q", "-o", "a")
    assert done.code == 2
    for part in ("SOURCE was digits, now faces", "--limit was 6, now 4", "--descriptor was pixels"):
        assert part in done.err.splitlines()[-1]
    (here / "b").mkdir()
    (here / "b" / "mine.txt").write_text("mine")
    assert "not empty and not a farfield run" in farfield("describe", *QUICK, "-o", "b").err


def test_again_continues_a_run_or_begins_one_beside_it(here):
    described("-o", "a")
    before = contents(here / "a")
    assert farfield("again", "a", "--quiet").out == "a\n" and contents(here / "a").keys() == before.keys()
    assert farfield("again", "a", "--limit", 4, "--quiet").out == "a-2\n" and summary(here / "a-2")["n"] == 4
    assert farfield("again", "a", "--limit", 4, "-o", "c").code == 0 and summary(here / "c") == summary(here / "a-2")
    assert "--nothing: no option of `farfield describe`" in farfield("again", "a", "--nothing", 3).err
    assert "expected a run folder" in farfield("again", "nowhere").err
    done = farfield("again", "a", "--limit", 5, "--dry-run")
    assert done.code == 0 and "5 images of 8×8" in done.out and not (here / "a-3").exists()


def test_options_from_a_file_and_those_that_are_given_win(here):
    (here / "mine.toml").write_text('source = "digits"\nlimit = 6\ndescriptor = "pixels"\nbatch-size = 5\n')
    assert farfield("describe", "--config", "mine.toml", "-q", "-o", "a").code == 0 and summary(here / "a")["n"] == 6
    assert farfield("describe", "--config=mine.toml", "--limit", 4, "-q", "-o", "b").code == 0
    assert summary(here / "b")["n"] == 4
    (here / "run.toml").write_text('source = "digits"\nlimit = 5\ndescriptor = "pixels"\nout = "c"\nquiet = true\n')
    done = farfield("describe", "--config", "run.toml")
    assert done.code == 0 and summary(here / "c")["n"] == 5 and done.err == ""
    for wrong, said in {
        "levels = 3": "levels is no option of `farfield describe`",
        "limitt = 3": "did you mean --limit?",
        "limit: 3": "expected TOML",
        "limit = 0": "--limit 0: expected a whole number, at least 1",
        "out = 3": "out 3: expected a folder",
        "quiet = 3": "quiet 3: expected true or false",
        'descriptor = "pixels"\n[sampler]\ncount = 3': "[sampler] is no group of options of `farfield describe`",
    }.items():
        (here / "wrong.toml").write_text(wrong)
        refused = farfield("describe", "--config", "wrong.toml")
        assert refused.code == 2 and refused.err.startswith("farfield: --config wrong.toml: ") and said in refused.err
    assert "cannot be read" in farfield("describe", "--config", "nowhere.toml").err


def test_a_file_may_have_groups_of_options_as_tables(here):
    text = 'model = "m"\nexamples = "digits"\ncount = 12\nsteps = 7\n[sampler]\nsampler = "noise"\ncandidates = 2\n'
    (here / "f.toml").write_text(text + "[loading]\nbatch-size = 5\n")
    words = expanded(["expand", "--config", "f.toml", "--steps", "9"])
    assert words[:3] == ["expand", "m", "digits"] and words[-2:] == ["--steps", "9"]
    known = Expand.of(**Expand.parse(words[1:-2]))
    assert known.count == 12 and known.sampler.sampler == "noise" and known.sampler.candidates == 2
    assert known.numerics.steps == 7 and known.numerics.loading.batch_size == 5
    (here / "f.toml").write_text('model = "m"\nexamples = 12\n')  # as --examples says on the command line
    assert expanded(["expand", "--config=f.toml", "digits"])[1:] == ["m", "--examples", "12", "digits"]
    for wrong, said in {
        "[sampler]\nsteps = 7": "sampler.steps is no option of `farfield expand`",
        '[sampler]\nsampler = "no"': "--sampler no: expected one of",
        "batch-size = 7\n[loading]\nbatch-size = 8": "batch-size and loading.batch-size: one option twice",
        "[loading.x]\nsteps = 8": "[loading.x] is no group of options",
    }.items():
        (here / "f.toml").write_text(wrong)
        with pytest.raises(FarfieldError, match=re.escape(said)):
            expanded(["expand", "--config", "f.toml"])


def test_runs_are_listed_with_what_their_pages_say(here, monkeypatch):
    make_images(here / "images", 3)
    assert farfield("reconstruct", make_model(here / "model"), "images", "--steps", 4, "-q").code == 0
    described()
    (here / "runs" / "reconstruct" / "summary.json").rename(here / "kept.json")
    assert "not finished" in farfield("runs").out
    (here / "kept.json").rename(here / "runs" / "reconstruct" / "summary.json")
    done = farfield("runs", "--json")
    found = {Path(run["folder"]).name: run for run in json.loads(done.out)}
    assert set(found) == {"describe", "reconstruct"} and "not finished" not in done.out
    run = found["reconstruct"]
    assert "PSNR" in run["verdict"] and run["title"].startswith("model × images") and Path(run["picture"]).is_file()
    page = (here / "runs" / "index.html").read_text()
    assert 'href="reconstruct/report.html"' in page and f'src="{run["picture"].removeprefix("runs/")}"' in page
    assert "expected run folders" in farfield("runs", "model").err
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    for line in (("runs", "--open"), ("report", "runs/reconstruct", "--open"), ("describe", *QUICK, "--open")):
        assert farfield(*line).code == 0
    assert opened == [(here / "runs" / name).as_uri() for name in ("index.html", "reconstruct/report.html", "describe")]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_words_of_every_command_are_read_again(name):
    settings = COMMANDS[name].settings
    given = {leaf.name: ("digits", "hubble") if leaf.item else "digits" for leaf in leaves(settings) if leaf.required}
    more = {"train": {"length": "5k", "flips": True}, "edit": {"mask": "0,0,4,4"}, "train-descriptor": {"images": "5k"}}
    one = settings.of(**given | more.get(name, {}))
    assert settings_of(command_line(one, "-o", "a b")) == one


def test_a_run_says_first_what_it_reads_and_does_and_a_dry_run_stops_there(here):
    model, images = make_model(here / "model"), make_images(here / "images", 20, 24, 24)
    line = ("expand", model, images, "--examples", 6, "-n", 3, "--steps", 4, "--descriptor", "pixels")
    dry = farfield(*line, "--dry-run")
    assert dry.code == 0 and not (here / "runs").exists()
    said = "20 images of 24×24 → 16×16, 6 examples, 14 held out, 3 to make"
    assert re.fullmatch(said + r"; (about|under) .+, \d+\.\d GB\n", dry.out)
    done = farfield("reconstruct", model, images, "--limit", 2, "--steps", 4)
    assert done.code == 0 and re.search("^2 images of 24×24 → 16×16; (about|under) ", done.err, re.MULTILINE)
    assert summary(here / "runs/reconstruct")["read"] == "2 images of 24×24 → 16×16"
    assert "Read: 2 images of 24×24 → 16×16" in (here / "runs/reconstruct/report.html").read_text()
    verdict, page = done.out.splitlines()
    assert "PSNR" in verdict and page == "runs/reconstruct/report.html"
    told = farfield("generate", model, "--seeds", "0-4", "--dry-run").out
    assert told.startswith("5 images to make; ") and not (here / "runs/generate").exists()


def test_a_meter_counts_stages_and_time_of_all_that_is_expected():
    now = [0.0]
    meter = Meter(lambda: now[0])
    meter.expect({"calibrating": 60, "trying": 20, "sampling": 20})
    meter.enter("calibrating", 6, 0)
    assert meter.title == "stage 1 of 3: calibrating" and meter.left is None and meter.share == 0
    meter.count, now[0] = 3, 30.0
    assert meter.share == 0.3 and meter.left == pytest.approx(70) and str(meter) == f"{meter.title}: 30%, 1:10 left"
    now[0] = 60.0
    meter.leave()
    meter.enter("describing", 4, 0)  # what nobody foresaw tells of itself alone
    meter.count, now[0] = 1, 65.0
    assert meter.title == "describing" and meter.share == 0.25 and meter.left == pytest.approx(15)
    meter.leave()
    meter.enter("trying 1.6", 100, 50)  # half was there already
    assert meter.title == "stage 2 of 3: trying" and meter.share == pytest.approx(0.7)
    meter.count, now[0] = 75, 70.0
    assert meter.share == pytest.approx(0.75) and meter.left == pytest.approx(25)
    assert [clock_time(s) for s in (5, 100, 7400)] == ["0:05", "1:40", "2:03:20"]


def test_a_stage_within_a_second_is_silent_and_a_longer_one_is_not(capsys, monkeypatch):
    monkeypatch.setattr("farfield.core.progress.SILENT", 0.05)
    with progress("short", 2) as advance:
        advance(2)
    with progress("long", 2) as advance, progress("inner", 9):
        advance(1)
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.match(r"long: 50%, \d:\d\d left", said)


def test_on_a_terminal_a_stage_has_a_bar_that_goes_away(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("farfield.core.progress.SILENT", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    with metered() as meter:
        meter.expect({"long": 3, "other": 1})
        with progress("long", 2) as advance:
            time.sleep(0.2)
            advance(1)
            time.sleep(0.2)
    assert "stage 1 of 2: long" in screen.getvalue() and "38%" in screen.getvalue() and " left" in screen.getvalue()
    assert screen.getvalue().rstrip().endswith("\x1b[2K")


class Greedy(torch.nn.Module):
    """A network that has memory for so many rows."""

    def __init__(self, most: int, error: Exception):
        super().__init__()
        self.most, self.error, self.asked = most, error, []
        self.eval()

    def forward(self, x, time, label=None):
        self.asked.append(len(x))
        if len(x) > self.most:
            raise self.error
        return x * time[:, None, None, None] + (0 if label is None else label[:, None, None, None])


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate")])
def test_a_batch_that_is_too_large_is_halved_and_its_rows_are_the_same(error, capsys):
    x, time, label = torch.randn(11, 3, 2, 2), torch.arange(11.0), torch.arange(11)
    whole = evaluate(Greedy(11, error), x, time, label)
    network = Greedy(3, error)
    assert torch.equal(evaluate(network, x, time, label), whole) and network.asked == [11, 5, 2, 2, 2, 2, 2, 1]
    assert capsys.readouterr().err == (
        "farfield: out of memory at 11 images at a time; going on with 5\n"
        "farfield: out of memory at 5 images at a time; going on with 2\n"
    )
    network.asked.clear()
    evaluate(network, x, time, label)
    assert network.asked == [2, 2, 2, 2, 2, 1]
    with pytest.raises(type(error)):
        evaluate(Greedy(0, error), x, time)
    with pytest.raises(RuntimeError, match="another"):
        evaluate(Greedy(3, RuntimeError("another")), x, time)


def test_a_doctor_tells_versions_devices_and_what_is_not_installed():
    told = json.loads(farfield("doctor", "--json").out)
    assert told["packages"]["torch"] == torch.__version__ and "threads" in told["devices"]["cpu"]
    assert set(told["extras"]) >= {"astro", "ui"} and told["farfield"]["version"]
    assert farfield("doctor").out.count("torch") > 1


@pytest.mark.slow
def test_the_demo_shows_what_memorizes_beside_what_generalizes(here):
    done = farfield("demo", "--no-galaxies", "-q")
    assert done.code == 0, done.err
    told = [line for line in done.out.splitlines() if not line.startswith("$ ")]
    assert (
        told[0].startswith("It memorizes: 9")
        and told[1].startswith("It generalizes:")
        and told[2] == "runs/demo/index.html"
    )
    page = (here / "runs/demo/index.html").read_text()
    assert page.count("<li>") == 2 and "It memorizes: 9" in page and "It generalizes:" in page
    line = next(line for line in done.out.splitlines() if line.startswith("$ "))
    assert farfield(*line.split()[2:], "-q").out.startswith("It memorizes: 9")


def test_a_batch_log_gets_a_line_a_minute(monkeypatch, capsys):
    """No terminal: a line once a stage has taken a second, and each minute from then on, until it ends."""
    timers = []

    class Timer:
        def __init__(self, seconds, show):
            timers.append((seconds, show))

        def start(self):
            pass

        cancel = start

    monkeypatch.setattr("farfield.core.progress.threading.Timer", Timer)
    with progress("counting", 10) as advance:
        timers[0][1]()
        advance(5)
        timers[1][1]()
    timers[2][1]()  # over
    said = capsys.readouterr().err.splitlines()
    assert [seconds for seconds, _ in timers] == [1.0, 60.0, 60.0]
    assert len(said) == 2 and said[0] == "counting: 0%" and said[1].startswith("counting: 50%, ")
