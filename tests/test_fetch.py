"""Downloads against a real server on this machine: one that resumes, and ones that do not, break off, or lie."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from edm_files import saved_model, write_snapshot
from test_network_file import Published
from tiny import farfield

from farfield.api.model import models
from farfield.audit.named import open_descriptor
from farfield.checkpoints.card import CARDS, SSCD, card_of_file, find_card
from farfield.checkpoints.guided_published import PUBLISHED
from farfield.checkpoints.load import locate
from farfield.core.download import download, file_sha256, recorded_sha256
from farfield.core.error import FarfieldError
from farfield.networks.build import from_config, network_config

CONTENT = bytes(torch.randint(256, (3 << 20,), generator=torch.Generator().manual_seed(0)).tolist())
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files``; how well, its attributes say. What was asked is kept in ``ranges``: each request's Range header."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/model.pkl": CONTENT}
        self.etag: str | None = '"one"'
        self.resumes = True
        self.stops_after: int | None = None
        self.shift = 0
        self.ranges: list[str | None] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        first, same = 0, self.headers.get("If-Range") in (None, server.etag)
        if asked and server.resumes and same:
            first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + server.shift
            if first >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        last = len(content) if server.stops_after is None else first + server.stops_after
        self.wfile.write(content[first:last])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def broken(server, tmp_path):
    """The path of a download that broke off after 1 MiB, on a server that works again."""
    path = tmp_path / "cache" / "model.pkl"
    server.stops_after = 1 << 20
    with pytest.raises(FarfieldError, match=rf"expected {3 << 20} bytes, found {1 << 20}; the connection broke"):
        download(f"{server.address}/model.pkl", path, quiet=True)
    assert not path.exists() and (tmp_path / "cache/model.pkl.part").read_bytes() == CONTENT[: 1 << 20]
    server.stops_after, server.ranges = None, []
    return path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_comes_whole_and_once(server, tmp_path):
    path = tmp_path / "cache" / "model.pkl"
    assert download(f"{server.address}/model.pkl", path, sha256=DIGEST.upper(), quiet=True) == DIGEST
    assert path.read_bytes() == CONTENT and names(path.parent) == ["model.pkl", "model.pkl.sha256"]
    assert (path.parent / "model.pkl.sha256").read_text() == f"{DIGEST}  model.pkl\n"  # `sha256sum -c` reads this
    assert recorded_sha256(path) == DIGEST == file_sha256(path)
    assert download("http://127.0.0.1:9/model.pkl", path, quiet=True) == DIGEST  # nobody answers there, nor is asked


def test_a_broken_download_goes_on_where_it_stopped(server, broken):
    assert download(f"{server.address}/model.pkl", broken, quiet=True) == DIGEST
    assert server.ranges == [f"bytes={1 << 20}-"] and broken.read_bytes() == CONTENT
    assert names(broken.parent) == ["model.pkl", "model.pkl.sha256"]


def test_a_server_that_cannot_resume_sends_all_again(server, broken):
    server.resumes = False
    assert download(f"{server.address}/model.pkl", broken, quiet=True) == DIGEST
    assert server.ranges == [f"bytes={1 << 20}-"] and broken.read_bytes() == CONTENT


def test_two_versions_are_never_joined(server, broken):
    server.etag, server.files["/model.pkl"] = '"two"', CONTENT[::-1]
    download(f"{server.address}/model.pkl", broken, quiet=True)
    assert broken.read_bytes() == CONTENT[::-1]


def test_a_beginning_of_unknown_version_is_not_gone_on_from(server, broken):
    (broken.parent / "model.pkl.part.tag").unlink()
    download(f"{server.address}/model.pkl", broken, quiet=True)
    assert server.ranges == [None] and broken.read_bytes() == CONTENT


@pytest.mark.parametrize("shift", [1, 3 << 20])
def test_another_range_than_asked_for_begins_again(server, broken, shift):
    """A server that sends other bytes than it was asked for, and one to which the file is no longer so long."""
    server.shift = shift
    assert download(f"{server.address}/model.pkl", broken, quiet=True) == DIGEST
    assert server.ranges == [f"bytes={1 << 20}-", None] and broken.read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing(server, tmp_path):
    path = tmp_path / "cache" / "model.pkl"
    with pytest.raises(FarfieldError, match=f"expected sha256 {'0' * 64}, found {DIGEST}"):
        download(f"{server.address}/model.pkl", path, sha256="0" * 64, quiet=True)
    assert names(path.parent) == []


def test_a_file_that_changed_since_is_named(server, tmp_path):
    path = tmp_path / "model.pkl"
    download(f"{server.address}/model.pkl", path, quiet=True)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(FarfieldError, match=f"model.pkl: expected sha256 {DIGEST}, found .*delete it"):
        download(f"{server.address}/model.pkl", path, quiet=True)


def test_a_file_that_was_brought_by_hand_is_taken_as_it_is(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"brought")
    assert download("http://127.0.0.1:9/model.pkl", path, quiet=True) == hashlib.sha256(b"brought").hexdigest()
    path.write_bytes(b"changed")
    with pytest.raises(FarfieldError, match="expected sha256"):
        download("http://127.0.0.1:9/model.pkl", path, quiet=True)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{}/nothing.pkl", "HTTP 404.*check the address"),
        ("http://127.0.0.1:9/model.pkl", "cannot be downloaded.*download it there, and copy it to .*cache/model.pkl"),
        ("nonsense", "cannot be downloaded"),
    ],
)
def test_what_cannot_be_downloaded_says_what_to_do(server, tmp_path, url, message):
    with pytest.raises(FarfieldError, match=message):
        download(url.format(server.address), tmp_path / "cache" / "model.pkl", quiet=True)
    assert not (tmp_path / "cache").exists()


def test_a_full_or_forbidden_place_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(FarfieldError, match=r"cannot be written.*FARFIELD_CACHE"):
        download(f"{server.address}/model.pkl", tmp_path / "cache" / "model.pkl", quiet=True)


def test_a_page_in_place_of_a_model_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    server.files["/edm.pkl"] = b"<!DOCTYPE html><html><body>404</body></html>"
    said = farfield("fetch", "edm-cifar10-32x32-uncond-vp", "--url", f"{server.address}/edm.pkl", "-q")
    assert said.code == 2 and said.err.startswith(f"farfield: {server.address}/edm.pkl: not what was asked for")
    assert names(tmp_path / "cache") == []


def test_a_fetched_pickle_is_a_model(server, tmp_path, monkeypatch):
    """By its card, from this server: it is opened before it is put in place, and its path is a model's name."""
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    config = network_config("ddpmpp", (3, 8, 8), width=8, multipliers=(1,), blocks=1)
    path = write_snapshot(tmp_path / "made.pkl", saved_model("EDMPrecond", from_config(config), config, sigma_data=0.5))
    server.files["/edm-afhqv2-64x64-uncond-vp.pkl"] = path.read_bytes()
    address = f"{server.address}/edm-afhqv2-64x64-uncond-vp.pkl"
    told = json.loads(farfield("fetch", "edm-afhqv2-64x64-uncond-vp", "--url", address, "-q", "--json").out)
    assert told["path"] == str(tmp_path / "cache/edm-afhqv2-64x64-uncond-vp.pkl")
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    known = json.loads(farfield("inspect", told["path"], "--json").out)
    assert known["family"] == "edm" and known["licence"].startswith("CC BY-NC-SA 4.0")
    said = farfield(
        "fetch", "edm-afhqv2-64x64-uncond-vp", "--url", "http://127.0.0.1:9/edm-afhqv2-64x64-uncond-vp.pkl", "-q"
    )
    assert told["path"] in said.out and "unverified, no one has published one" in said.out and "CC BY-NC-SA" in said.out


def test_a_fetched_descriptor_is_the_one_that_came(server, tmp_path, monkeypatch):
    """SSCD's weights come as a file of another address; in its place the card's file is taken with the published hash alone."""
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FarfieldError, match="found none; run `farfield fetch sscd`"):
        open_descriptor("sscd")
    torch.save(Published().state_dict(), tmp_path / "made.pt")
    made = (tmp_path / "made.pt").read_bytes()
    server.files |= {f"/{SSCD.file}": made, "/page.pt": b"<html>not found</html>"}
    said = farfield("fetch", "sscd", "--url", f"{server.address}/page.pt", "-q")
    assert said.code == 2 and "a web page" in said.err and names(tmp_path / "cache") == []
    address, digest = f"{server.address}/{SSCD.file}", hashlib.sha256(made).hexdigest()
    said = farfield("fetch", "sscd", "--url", address, "--sha256", SSCD.sha256, "-q")
    assert said.code == 2 and f"expected sha256 {SSCD.sha256}, found {digest}" in said.err
    said = farfield("fetch", "sscd", "--url", address, "-q")
    assert said.code == 0 and f"sha256 {digest}: unverified" in said.out
    assert open_descriptor("sscd").name == open_descriptor(f"sscd:{tmp_path / 'made.pt'}").name
    path = tmp_path / "cache" / SSCD.file
    path.with_name(f"{SSCD.file}.sha256").unlink()
    with pytest.raises(FarfieldError, match=f"expected sha256 {SSCD.sha256}, found {digest}; delete it"):
        open_descriptor("sscd")
    assert farfield("fetch", "sscd", "-q").code == 2  # neither does the place keep it as what was published


def test_a_card_names_a_model_once_its_file_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path))
    with pytest.raises(FarfieldError, match="bring it there with `farfield fetch edm-ffhq-64x64-uncond-vp`"):
        locate("edm-ffhq-64x64-uncond-vp")
    file = tmp_path / "edm-ffhq-64x64-uncond-vp.pkl"
    file.touch()
    assert locate("edm-ffhq-64x64-uncond-vp") == file


def test_the_cards_are_of_different_names_and_addresses():
    assert len({c.name for c in CARDS}) == len({c.source for c in CARDS}) == len(CARDS)
    assert all(c.hub or c.source.startswith("https://") for c in CARDS)
    assert all(c.sha256 is None or re.fullmatch("[0-9a-f]{64}", c.sha256) for c in CARDS)
    assert find_card("google/ddpm-church-256") is find_card("ddpm-church-256")
    assert card_of_file(Path("/any/64x64_diffusion.pt")).licence == "MIT"
    assert card_of_file(Path("ddpm-church-256")) is None


def test_without_a_name_the_cards_are_listed():
    told, shown = json.loads(farfield("fetch", "--json").out), farfield("fetch").out
    assert [card["name"] for card in told] == [card.name for card in CARDS]
    assert all(card.name in shown for card in CARDS)


def test_sizes_are_those_of_the_published_weights():
    """Four bytes each."""
    known = {card.file: card.megabytes for card in CARDS if card.file in PUBLISHED}
    assert len(known) >= 14
    assert known == {file: round(4 * PUBLISHED[file].parameters / 1e6) for file in known}
    assert all(card.side is None or str(card.side) in f"{card.name} {card.about}" for card in CARDS if card.hub)


def test_what_is_here_is_marked(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path / "ours"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert not any(card["here"] for card in json.loads(farfield("fetch", "--json").out))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "church_outdoor.ckpt").touch()
    snapshot = tmp_path / "hub" / "models--google--ncsnpp-church-256" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    here = {card["name"] for card in json.loads(farfield("fetch", "--json").out) if card["here"]}
    assert here == {"sdedit-church-256"}
    (snapshot / "diffusion_pytorch_model.bin").touch()
    here = {card["name"] for card in json.loads(farfield("fetch", "--json").out) if card["here"]}
    assert here == {"sdedit-church-256", "ncsnpp-church-256"}
    assert "downloaded" in models()["ncsnpp-church-256"] and "downloaded" not in models()["ncsnpp-bedroom-256"]
    assert locate("church_outdoor.ckpt") == tmp_path / "ours" / "church_outdoor.ckpt"


def test_a_file_behind_a_page_is_brought_by_hand(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FARFIELD_CACHE", str(tmp_path))
    said = farfield("fetch", "p2-afhq-dog-256")
    assert said.code == 2 and "drive.google.com" in said.err and f"copy it to {tmp_path / 'afhqdog_p2.pt'}" in said.err
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "made.pt")
    server.files["/other.pt"] = (tmp_path / "made.pt").read_bytes()
    said = farfield("fetch", "afhqdog_p2.pt", "--url", f"{server.address}/other.pt", "-q")
    assert said.code == 2 and "no network that is known" in said.err  # what came is opened, under its own name
    (tmp_path / "afhqdog_p2.pt").write_bytes((tmp_path / "made.pt").read_bytes())
    assert farfield("fetch", "p2-afhq-dog-256", "-q").code == 0
    assert locate("p2-afhq-dog-256") == tmp_path / "afhqdog_p2.pt"


def test_an_unknown_card_says_which_there_are():
    said = farfield("fetch", "church")
    assert said.code == 2 and "expected ddpm-church-256, ddpm-ema-church-256" in said.err
    assert "leave out --url" in farfield("fetch", "ddpm-church-256", "--url", "http://127.0.0.1:9/x").err
