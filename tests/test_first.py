"""The first minutes of a new user: what is wrong is said at once, and nothing stands in the way."""

import json
import subprocess
import sys

import pytest

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
