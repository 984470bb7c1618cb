"""`farfield ui`: forms from the declarations, who may look, what is kept of a drop; and each page once in a real browser."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import farfield
from farfield.command.commands import COMMANDS
from farfield.command.settings import leaves
from farfield.core.artifact import Images, Store
from farfield.core.error import FarfieldError
from farfield.ui import show
from farfield.ui.drop import dropped
from farfield.ui.form import LEFT, fields, read
from farfield.ui.guard import Guard, offline
from farfield.ui.job import Desk
from farfield.ui.upload import keep, served

pytestmark = pytest.mark.usefixtures("few_views")

MODEL = "digits-generalizing"
PAGES = ("expand", "audit", "edit", "inspect")


@pytest.mark.parametrize("name", PAGES)
def test_a_form_as_it_stands_is_the_command_as_it_stands(name):
    """Every option is there, and what a page shows at first gives what the command line takes where nothing is given."""
    command = COMMANDS[name]
    shown = fields(command)
    assert [one.name for one in shown] == [leaf.name for leaf in leaves(command.settings) if leaf.name not in LEFT]
    given = {one.name: one.value for one in shown} | ({"mask": "0,0,4,4"} if name == "edit" else {})
    needed = {leaf.name: given[leaf.name] for leaf in leaves(command.settings) if leaf.required}
    assert read(command, given) == command.settings.of(**needed, **({"mask": "0,0,4,4"} if name == "edit" else {}))
    for one in shown:
        leaf = next(leaf for leaf in leaves(command.settings) if leaf.name == one.name)
        assert one.help.startswith(leaf.option.help) and (leaf.bounds in one.help) and one.panel == leaf.panel
        assert one.value is not None, "a browser makes 0 of it"
        assert (one.least, one.most) == (leaf.option.least, leaf.option.most) or one.kind != "number"


def test_what_is_in_a_form_is_read_as_on_the_command_line():
    first = {one.name: one.value for one in fields(COMMANDS["expand"])}
    given = {**first, "n": 4.0, "descriptors": "pixels 'a file.pt'", "control": False, "sigma": "3", "seed": str(2**61)}
    line = ["cifar10-32", "hubble", "-n", "4", "--descriptor", "pixels", "--descriptor", "a file.pt", "--no-control"]
    line += ["--sigma", "3", "--seed", str(2**61)]
    expand = COMMANDS["expand"].settings
    assert read(COMMANDS["expand"], given) == expand.of(**expand.parse(line))
    with pytest.raises(FarfieldError, match=r"-n 0: expected a whole number, at least 1"):
        read(COMMANDS["expand"], {**given, "n": 0})
    with pytest.raises(FarfieldError, match=r"--descriptor 'a: expected texts with spaces between"):
        read(COMMANDS["expand"], {**given, "descriptors": "'a"})


@pytest.mark.parametrize(("name", "option"), [("expand", "model"), ("audit", "subject"), ("audit", "other")])
def test_a_name_that_runs_code_is_refused(name, option):
    given = {one.name: one.value for one in fields(COMMANDS[name])}
    with pytest.raises(FarfieldError, match="runs code of yours, which no page does"):
        read(COMMANDS[name], {**given, option: " py:os:getcwd"})


def test_a_drop_is_kept_by_its_content_under_a_harmless_name(tmp_path):
    runs, drop = tmp_path / "runs", tmp_path / "drop"
    drop.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (2, 2), ord(name[0])).save(drop / name)
    a, b = drop / "a.png", drop / "b.png"
    several = keep({"a.png": a, "b.png": b}, runs, 1)
    assert sorted(path.name for path in several.iterdir()) == ["a.png", "b.png"]
    assert keep({"b.png": b, "a.png": a}, runs, 1) == several and len(list(several.parent.iterdir())) == 1
    one = keep({"..-; rm é.png": a}, runs, 1)
    assert one.name == "_rm_é.png" and one.read_bytes() == a.read_bytes()
    (drop / "large.npz").write_bytes(bytes(2**20 + 1))
    with pytest.raises(FarfieldError, match="expected at most 1"):
        keep({"large.npz": drop / "large.npz"}, runs, 1)


def test_a_dropped_folder_is_kept_with_its_folders(tmp_path):
    """What is in it may have the same names; no path leads out of the place where it is kept."""
    for name in ("x", "y"):
        (tmp_path / name).write_text(name)
    x, y = tmp_path / "x", tmp_path / "y"
    given = {"my birds/owl/1.png": x, "my birds/jay/1.png": y, "my birds/../../jay/1.png": x, "my birds/.../1.png": y}
    kept = keep(given, tmp_path / "runs", 1)
    found = {path.relative_to(kept).as_posix(): path.read_text() for path in kept.rglob("*") if path.is_file()}
    assert kept.name == "my_birds" and found == {
        "owl/1.png": "x",
        "jay/1.png": "y",
        "file/1.png": "y",
        "file/file/jay/1.png": "x",
    }
    assert keep({"one/1.png": x}, tmp_path / "runs", 1).is_dir()


def test_only_what_was_dropped_is_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "here"))
    assert dropped(json.dumps([["a/b.png", str(tmp_path / "here" / "b")]])) == {
        "a/b.png": (tmp_path / "here" / "b").resolve()
    }
    assert dropped("[]") == dropped(None) == {}
    with pytest.raises(FarfieldError, match="was not dropped"):
        dropped(json.dumps([["a", str(tmp_path / "here" / ".." / "secret")]]))
    with pytest.raises(FarfieldError, match="not all files are here yet"):
        dropped("null")


def test_only_files_of_runs_are_shown(tmp_path):
    runs = tmp_path / "runs"
    for name in ("runs/a/report.html", "runs/a/run.sh", "runs/uploads/x/page.html", "secret.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (runs / "a" / "link.html").symlink_to(tmp_path / "secret.html")
    assert served(runs, "a/report.html") == (runs / "a" / "report.html").resolve()
    for path in (
        "a/run.sh",
        "uploads/x/page.html",
        "../secret.html",
        "a/link.html",
        "a",
        str(tmp_path / "secret.html"),
    ):
        assert served(runs, path) is None, path


def ask(guard, kind="http", path="/", query="", **heads):
    """Status, heads and whether the application was reached."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": path, "query_string": query.encode()}
    scope["headers"] = [(key.encode(), value.encode()) for key, value in heads.items()]
    asyncio.run(guard(scope, None, send))
    return sent[0].get("status", sent[0].get("code")), {k.decode(): v.decode() for k, v in sent[0].get("headers", ())}


def test_a_page_is_for_those_who_have_its_address():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guard, home = Guard(app, "secret", 81), "127.0.0.1:81"
    assert ask(guard, host=home)[0] == ask(guard, host=home, query="token=other")[0] == 403
    status, heads = ask(guard, host=home, query="token=secret")
    assert (
        status == 303
        and heads["location"] == "/"
        and {"HttpOnly", "SameSite=Strict"} <= set(heads["set-cookie"].split("; "))
    )
    kept = heads["set-cookie"].partition(";")[0]
    status, heads = ask(guard, host=home, cookie=kept)
    assert status == 200 and "default-src 'self'" in heads["content-security-policy"]
    assert "default-src 'none'" in ask(guard, path="/run/a.html", host=home, cookie=kept)[1]["content-security-policy"]
    assert ask(guard, host=home, cookie=kept, origin=f"http://{home}")[0] == 200
    # another site's name that leads here, another page's request, another port's cookie, a broken cookie, a socket
    assert ask(guard, host="evil.example:81", cookie=kept)[0] == 403
    assert ask(guard, host=home, cookie=kept, origin="http://127.0.0.1:82")[0] == 403
    assert ask(guard, host=home, cookie=kept.replace("81", "82"))[0] == 403
    assert ask(guard, host=home, cookie="a=b; \x00;;")[0] == ask(guard, host=home, query="token=s%C3%A9")[0] == 403
    assert ask(guard, kind="websocket", host=home, query="token=secret")[0] == 1008


def test_no_request_leaves_the_machine(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # put back afterwards
    with socket.create_server(("127.0.0.1", 0)) as server, offline():
        socket.create_connection(server.getsockname()).close()
        for call in (
            lambda: socket.create_connection(("192.0.2.1", 9), timeout=0.01),
            lambda: socket.getaddrinfo("huggingface.co", 443),
        ):
            with pytest.raises(FarfieldError, match="nothing leaves the machine"):
                call()
    with pytest.raises(OSError):  # outside, whatever the machine says
        socket.create_connection(("127.0.0.1", 0), timeout=0.01)


def test_what_is_painted_is_a_mask_of_the_models_size():
    layer = Image.new("RGBA", (80, 80))
    layer.paste((200, 50, 150, 90), (20, 0, 60, 33))  # half-transparent paint is paint; a third of the fourth row
    mask = show.painted({"layers": [layer]}, (1, 8, 8))
    assert mask.size == (8, 8) and mask.getbbox() == (2, 0, 6, 3) and set(mask.tobytes()) == {0, 255}
    assert show.painted({"layers": [Image.new("RGBA", (80, 80))]}, (1, 8, 8)) is None is show.painted(None, (1, 8, 8))


def test_one_run_at_a_time_is_worked_at_and_can_be_stopped(tmp_path):
    desk = Desk(tmp_path / "runs")
    command = COMMANDS["generate"]
    settings = command.settings.of(model=MODEL, seeds="0-1", form="shards")
    job = desk.start(command, settings)
    assert desk.start(command, settings) is job  # joined
    with pytest.raises(FarfieldError, match="still at work"):
        desk.start(command, command.settings.of(model=MODEL, seeds="0-2"))
    desk.stop()
    assert not job.running and job.stopped and "Stopped" in show.state(job)
    job = desk.start(COMMANDS["inspect"], COMMANDS["inspect"].settings.of(model="<b>/nowhere"))
    job.wait()
    assert "no such folder" in job.error and "&lt;b&gt;/nowhere" in show.state(job) and not job.stopped


def test_new_images_are_shown_as_they_are_made(tmp_path):
    store = Store(tmp_path / "samples", Images)
    assert show.made(tmp_path, 0) == (0, None)
    for i in range(2):
        store.write(i, Images((f"{i:06d}",), torch.full((1, 1, 8, 8), i / 2)))
    count, pictures = show.made(tmp_path, 0)
    assert count == 2 and [said for _, said in pictures] == ["seed 0", "seed 1"] and show.made(tmp_path, 2) == (2, None)
    assert pictures[0][0].getpixel((0, 0)) != pictures[1][0].getpixel((0, 0))


def test_pages_are_built():
    pytest.importorskip("gradio", reason="the pages are in the extra `ui`")
    from farfield.ui.app import TITLES, pages

    blocks = pages(Desk(Path("runs")), 1)
    labels = {part["props"].get("label") for part in blocks.config["components"]}
    assert {*TITLES.values(), "Runs"} <= labels
    for name in PAGES:
        assert {one.label for one in fields(COMMANDS[name])} <= labels


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(FarfieldError, match="farfield ui needs the package gradio"):
        COMMANDS["ui"].load_study()(COMMANDS["ui"].settings.of())


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where `farfield ui` is, and the folder that it works in."""
    pytest.importorskip("gradio", reason="the pages are in the extra `ui`")
    pytest.importorskip("playwright", reason="a browser is driven by playwright")
    place = tmp_path_factory.mktemp("ui")
    process = subprocess.Popen([sys.executable, "-m", "farfield", "ui"], cwd=place, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip(), place
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def page(address):
    """A browser that was given the address; nothing may be asked of another machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(60_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address[0])
        yield page
        home = re.match(r"http://127\.0\.0\.1:\d+/", address[0])[0]
        assert asked and not [url for url in asked if not url.startswith((home, "data:", "blob:"))]
        browser.close()


class Tab:
    """One page, as its user sees it."""

    def __init__(self, page, title):
        page.get_by_role("tab", name=title).click()
        self.page, self.at = page, page.get_by_role("tabpanel").filter(visible=True)

    def fill(self, option, text):
        field = self.at.locator(f".option-{option}").locator("input, textarea").first
        field.fill(text)
        field.press("Enter")

    def drop(self, option, *files):
        area = self.at.locator(f".drop-{option}").first
        kind = "folder" if files[0].is_dir() else "files"
        area.locator(f"input.{kind}").set_input_files([str(file) for file in files])
        area.get_by_text(files[0].name).first.wait_for()
        area.get_by_text(re.compile(r"\(\d+ files?\)")).wait_for()

    def press(self, name):
        self.at.get_by_role("button", name=name, exact=True).click()

    def state(self, text):
        self.wait(self.at.locator(".state").first.get_by_text(re.compile(text)))

    def wait(self, sought, minutes=10):
        """Until it is there, or until the page says why it will not be."""
        refused = self.at.locator(".state").first.get_by_text("Not done")
        sought.or_(refused).first.wait_for(timeout=60_000 * minutes)
        assert sought.count(), self.at.locator(".state").first.inner_text()


@pytest.mark.slow
def test_new_images_are_made_stopped_and_continued(page, address, tmp_path):
    """Dropped examples become new ones; the run is stopped at work and continued by the command line, and is the unbroken one."""
    images = farfield.open_images("digits", limit=24)
    (tmp_path / "drawn" / "digits").mkdir(parents=True)
    for key, image in zip(images.keys, images.values, strict=True):
        Image.fromarray(((image[0] + 1) * 127.5).byte().numpy()).save(tmp_path / "drawn" / "digits" / f"{key}.png")
    tab = Tab(page, "New images")
    tab.fill("model", MODEL)
    tab.drop("examples", tmp_path / "drawn")
    tab.fill("n", "32")
    tab.at.get_by_text("How the model is run").click()
    tab.fill("batch_size", "8")
    tab.press("Start")
    tab.state(r"stage \d+ of \d+")
    tab.wait(tab.at.get_by_text(re.compile(r"^seed \d+$")))  # new images are shown while it goes on
    tab.press("Stop")
    tab.state("Stopped")
    run = address[1] / "runs" / "expand"
    request = json.loads((run / "config.json").read_text())["request"]
    assert Path(request["examples"]).name == "drawn" and (address[1] / request["examples"] / "digits").is_dir()
    assert (run / "config.json").exists() and not (run / "summary.json").exists()
    line = json.loads((run / "config.json").read_text())["command_line"]
    farfield_ = [sys.executable, "-m", "farfield"]
    subprocess.run([*farfield_, "again", "runs/expand", "-q"], cwd=address[1], check=True)
    words = [*line.replace("runs/expand", str(tmp_path / "whole")).split()[1:], "-q"]
    subprocess.run([*farfield_, *words], cwd=address[1], check=True)
    samples = [show.found(folder).samples for folder in (run, tmp_path / "whole")]
    assert samples[0].keys == samples[1].keys and (samples[0].values == samples[1].values).all()
    tab.press("Start")  # the same settings: what is there is shown
    tab.wait(tab.at.get_by_text(re.compile(r"seed \d+: ")))
    tab.at.frame_locator("iframe").get_by_role("heading").first.wait_for()
    assert not (address[1] / "runs" / "expand-2").exists()


@pytest.mark.slow
def test_a_model_is_audited_and_its_run_listed(page, address):
    tab = Tab(page, "Audit")
    tab.fill("subject", "digits-memorizing")
    tab.fill("train", "digits")
    tab.fill("n", "32")
    tab.at.get_by_text("When two images are alike").click()
    tab.fill("descriptor", "pixels")
    tab.press("Start")
    tab.state("It memorizes")
    tab.at.frame_locator("iframe").get_by_role("heading").first.wait_for()
    assert (address[1] / "runs" / "audit" / "summary.json").exists()
    listed = Tab(page, "Runs").at.frame_locator("iframe")
    listed.get_by_text("It memorizes").first.wait_for()
    listed.get_by_role("link").first.click()
    listed.get_by_role("heading", name="What the verdict stands on").wait_for()


@pytest.mark.slow
def test_a_picture_is_painted_on_and_edited(page, address):
    tab = Tab(page, "Edit")
    tab.fill("model", MODEL)
    tab.fill("images", "digits")
    tab.press("Show the picture, to paint on what is to change")
    canvas = tab.at.locator(".canvas canvas").first
    canvas.wait_for()
    numbers = tab.at.locator(".numbers").first
    done, refused = numbers.get_by_text("inside over outside"), tab.at.locator(".state").first.get_by_text("Not done")
    for _ in range(20):  # strokes before the picture is drawn are lost, and no element says when it is
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        for right, down in ((100, 0), (0, 40), (100, 40), (0, 80), (100, 80)):  # to and fro
            page.mouse.move(middle[0] + right, middle[1] + down, steps=8)
        page.mouse.up()
        tab.press("Start")
        time.sleep(2)  # until the refusal before is gone
        done.or_(refused).first.wait_for(timeout=600_000)
        if done.count():
            break
        assert "mask" in tab.at.locator(".state").first.inner_text()
    assert done.count()
    first = numbers.inner_text()
    tab.at.locator(".along input").click()
    page.get_by_role("option", name="direction 2").click()
    tab.at.get_by_role("slider").last.focus()
    page.keyboard.press("Home")
    numbers.get_by_text(re.compile("along direction 2 by .4")).first.wait_for()
    assert numbers.inner_text() != first
    request = json.loads((address[1] / "runs" / "edit" / "config.json").read_text())["request"]
    assert "uploads" in request["mask"]


@pytest.mark.slow
def test_a_dropped_checkpoint_is_looked_at_and_tried(page):
    folder = Path(farfield.__file__).parent / "models" / MODEL
    tab = Tab(page, "Inspect")
    tab.drop("model", folder / "model.json", next(folder.glob("*.safetensors")))
    tab.at.locator(".option-checked input").check()
    tab.press("Start")
    tab.wait(tab.at.get_by_text(re.compile("best multiple of it")))
    tab.fill("model", "py:os:getcwd")
    tab.at.get_by_label("Clear").first.click()
    tab.press("Start")
    tab.state("runs code of yours")
