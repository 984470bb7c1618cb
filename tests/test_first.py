"""The first minutes of a new user: what is wrong is said at once, and nothing stands in the way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import contents, farfield, make_images, make_model, summary

from farfield.command.commands import COMMANDS, settings_of
from farfield.command.settings import command_line, leaves

BAD = {
    "a path": ("expand cifar10-32 no/such/folder", "no/such/folder: expected an image file"),
    "a pattern": ("describe no/*.png -o out", "no/*.png: expected an image file"),
    "a domain": ("reconstruct cifar10-32 hubbel", "hubbel: expected a path or one of the bundled domains"),
    "held-out images": ("audit digits-memorizing digits --heldout no/such", "no/such: expected an image file"),
    "one of several": ("score matrix digits no/such", "no/such: expected an image file"),
    "data of a model": ("generate empirical:no/such@5", "no/such: expected an image file"),
    "a model": ("expand no-such-model hubble", "model 'no-such-model': no such folder"),
    "one of several models": ("gain hubble cifar10-32 nowhere", "model 'nowhere': no such folder"),
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
    done = subprocess.run([sys.executable, "-c", code, lines], capture_output=True, text=True, check=True, cwd=folder)
    assert not list(folder.iterdir())
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_before_anything_is_loaded(refused, name):
    assert refused[name].startswith("farfield: ") and BAD[name][1] in refused[name] and refused[name].count("\n") == 1
    assert refused["heavy"] == []


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


def test_options_from_a_file_and_those_that_are_given_win(here):
    (here / "mine.toml").write_text('source = "digits"\nlimit = 6\ndescriptor = "pixels"\nbatch-size = 5\n')
    assert farfield("describe", "--config", "mine.toml", "-q", "-o", "a").code == 0 and summary(here / "a")["n"] == 6
    assert farfield("describe", "--config=mine.toml", "--limit", 4, "-q", "-o", "b").code == 0
    assert summary(here / "b")["n"] == 4
    (here / "wrong.toml").write_text("levels = 3")
    assert "levels is no option of `farfield describe`" in farfield("describe", "--config", "wrong.toml").err
    (here / "wrong.toml").write_text("limit: 3")
    assert "expected TOML" in farfield("describe", "--config", "wrong.toml").err
    assert "cannot be read" in farfield("describe", "--config", "nowhere.toml").err


def test_runs_are_listed_with_what_their_pages_say(here):
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


@pytest.mark.parametrize("name", COMMANDS)
def test_the_words_of_every_command_are_read_again(name):
    settings = COMMANDS[name].settings
    given = {leaf.name: ("digits", "hubble") if leaf.item else "digits" for leaf in leaves(settings) if leaf.required}
    more = {"train": {"length": "5k", "flips": True}, "edit": {"mask": "0,0,4,4"}, "train-descriptor": {"images": "5k"}}
    one = settings.of(**given | more.get(name, {}))
    assert settings_of(command_line(one, "-o", "a b")) == one
