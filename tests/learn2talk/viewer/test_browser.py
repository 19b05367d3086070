"""The pages in a headless Chromium, as a user sees them. Skipped if Chromium is not installed."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from scipy.signal import resample_poly
from scipy.stats import binomtest

from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.waveform import write_wave
from tests.animation.test_animator import speech
from tests.learn2talk.viewer.chromium import Page, chromium
from tests.learn2talk.viewer.serving import Client, serving

FRAMES = "[...document.querySelectorAll('[data-frame]')].map((pane) => Number(pane.dataset.frame))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        page.call("Network.enable")
        yield page


@pytest.fixture(scope="module")
def client(browser: Page, folder: Path) -> Iterator[Client]:  # no server if there is no browser
    write_wave(folder / "spoken.wav", speech(1.5))
    with serving(folder, folder / "spoken.wav") as client:
        yield client


@pytest.fixture
def page(browser: Page, client: Client) -> Iterator[Page]:
    """The viewer with its first clip. Afterwards there must be no errors and no requests to other servers."""
    browser.events.clear()
    browser.prefer(color_scheme="light")
    browser.open(client.server.address)
    browser.wait(f"{FRAMES}.length === 3")
    yield browser
    assert browser.complaints() == []
    asked = {e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"}
    assert asked
    assert all(url.startswith((client.server.address, "blob:")) for url in asked), asked


def seek(page: Page, frame: int) -> None:
    page.module("view.js", f"m.player.seek({frame} / 30)")
    page.wait(f"{FRAMES}.every((shown) => shown === {frame})")


def choose(page: Page, selector: str, value: str) -> None:
    """Choose an entry of a list."""
    element = f"document.querySelector('{selector}')"
    page.run(f"{element}.value = '{value}'; {element}.dispatchEvent(new Event('change'))")


def drawn(page: Page, selector: str = "#panes") -> np.ndarray:
    """A screenshot of an element after it was drawn."""
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.picture(selector).astype(int)


def test_it_draws_and_the_mouth_opens(page: Page, client: Client) -> None:
    motions = client.server.app.clips[0].motions
    closed, opened = int(np.argmin(motions[1].opening())), int(np.argmax(motions[1].opening()))
    pictures = []
    for frame in (closed, opened):
        seek(page, frame)
        pictures.append([drawn(page, f"figure:nth-of-type({number})") for number in (1, 2, 3)])
    for shut, wide in zip(*pictures, strict=True):
        backdrop = shut[:, :3]  # a gradient from top to bottom, as at the left edge
        face = np.abs(shut - backdrop.mean(axis=1, keepdims=True)).max(axis=2) > 30
        assert face.mean() > 0.1, "a face covers part of the pane"
        assert len(np.unique(shut.reshape(-1, 3), axis=0)) > 200
        assert (np.abs(shut - wide).max(axis=2) > 30).sum() > 100


def test_the_browser_has_the_same_vertices(page: Page, client: Client) -> None:
    seek(page, 17)
    found = page.module("view.js", "m.stage.panes.map((pane) => [...pane.positions])")
    for motion, positions in zip(client.server.app.clips[0].motions, found, strict=True):
        expected = motion.vertices(slice(17, 18))[0]
        np.testing.assert_allclose(np.reshape(positions, (-1, 3)), expected, atol=3e-6)


def test_it_plays_with_sound_and_all_faces_follow_the_sound(page: Page) -> None:
    page.click("#play")
    page.wait("document.querySelector('audio').currentTime > 0.2")
    loudest = page.run(
        """(async () => {
          const audio = document.querySelector("audio"), context = new AudioContext(), node = context.createAnalyser();
          context.createMediaStreamSource(audio.captureStream()).connect(node);
          const samples = new Float32Array(node.fftSize);
          let loudest = 0;
          while (!audio.ended && loudest === 0) {
            await new Promise((done) => setTimeout(done, 20));
            node.getFloatTimeDomainData(samples);
            loudest = Math.max(...samples.map(Math.abs));
          }
          return loudest;
        })()""",
        gesture=True,
    )
    assert loudest > 0.01
    assert page.run("(({muted, volume}) => [muted, volume])(document.querySelector('audio'))") == [False, 1]
    page.run("document.querySelector('#loop').click()")
    page.run("document.querySelector('audio').play()", gesture=True)
    seen = page.run(
        f"""(async () => {{
          const seen = [], {{ player }} = await import("./view.js");
          for (let i = 0; i < 25; i++) {{
            await new Promise(requestAnimationFrame);
            const shown = {FRAMES};
            player.dispatchEvent(new Event("time"));
            seen.push([shown, {FRAMES}, player.time]);
          }}
          return seen;
        }})()"""
    )
    assert len({tuple(frames) for frames, _, _ in seen}) > 2, "the faces move during playback"
    for before, now, seconds in seen:
        assert len(set(before)) == len(set(now)) == 1, "all panes show the same frame"
        off = abs(now[0] - min(30 * seconds, 35))
        assert min(off, abs(36 - off)) <= 1, "the sound's frame"  # 36: where the loop begins again
    assert page.run("document.querySelector('#play').textContent") == "Pause"
    page.click("#play")
    assert page.wait("document.querySelector('audio').paused")


def test_seeking_by_slider_timeline_and_keys(page: Page) -> None:
    page.run("document.querySelector('#time').focus()")
    page.press("End")
    page.wait(f"{FRAMES}.every((shown) => shown === 35)")
    page.press("Home")
    page.wait(f"{FRAMES}.every((shown) => shown === 0)")
    page.click("#timeline")
    page.wait(f"{FRAMES}.every((shown) => shown === 18)")
    head = page.run("document.querySelector('#head').getBoundingClientRect().left")
    box = page.run("document.querySelector('#timeline').getBoundingClientRect().toJSON()")
    assert head == pytest.approx(box["left"] + box["width"] / 2, abs=2)
    assert page.run("document.querySelector('#time').getAttribute('aria-valuetext')") == "0.60 of 1.20 seconds, aa"
    page.run("document.activeElement.blur()")
    page.press("ArrowRight")
    page.wait(f"{FRAMES}.every((shown) => shown === 19)")
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    page.wait(f"{FRAMES}.every((shown) => shown === 17)")
    page.press("ArrowRight", shift=True)
    page.wait(f"{FRAMES}.every((shown) => shown === 35)")


def test_the_timeline_shows_sound_phonemes_and_lips(page: Page) -> None:
    page.wait("import('./view.js').then((m) => m.timeline.openings?.length === 3)")
    picture = drawn(page, "#timeline")
    paper = np.median(picture[:, -300:].reshape(-1, 3), axis=0)
    wave, phonemes, lips = np.split(np.abs(picture - paper).max(axis=2) > 60, [49, 78])
    assert wave.any(axis=0)[5:-5].mean() > 0.9, "there is sound everywhere"
    assert phonemes.any()
    assert lips.any(axis=0)[5:-40].mean() > 0.9
    bilabial = (np.abs(picture - paper).max(axis=2) > 5)[4:-4].all(axis=0)
    middle = np.median(np.flatnonzero(bilabial)) / picture.shape[1]
    assert middle == pytest.approx(0.3 / 1.2, abs=0.02), "p b m is a band from 0.1 to 0.5 s of 1.2"


def test_the_heat_map_is_the_distance_from_the_truth(page: Page, client: Client) -> None:
    seek(page, 11)
    page.click("#heat")
    choose(page, "#most", "10")
    found = page.module(
        "view.js", "m.stage.panes.map((pane) => [[...pane.errors], [...pane.geometry.attributes.color.array]])"
    )
    truth, *others = (motion.vertices(slice(11, 12))[0] for motion in client.server.app.clips[0].motions)
    scale = mpl.colormaps["YlOrRd"]
    for vertices, (errors, colours) in zip((truth, *others), found, strict=True):
        expected = 1000 * np.linalg.norm(vertices - truth, axis=1)
        np.testing.assert_allclose(errors, expected, atol=5e-3)
        linear = np.reshape(colours, (-1, 3))
        shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
        wanted = scale(np.array(errors) / 10)[:, :3]
        np.testing.assert_allclose(shown, wanted, atol=1.01 / 255)
    assert max(found[1][0]) > 3, "there is something to see"
    mean, largest = np.mean(found[2][0]), np.max(found[2][0])
    text = page.run("document.querySelector('figure:nth-of-type(3) .errors').textContent")
    assert text == f"mean {mean:.2f}, largest {largest:.1f} mm"
    assert page.run("document.querySelector('#scale').textContent.replace(/\\s+/g, ' ')") == "0 10 mm"
    bar = page.picture("#bar")
    np.testing.assert_allclose(bar[6, 2], 255 * np.array(scale(0.01)[:3]), atol=8)
    np.testing.assert_allclose(bar[6, -4], 255 * np.array(scale(0.98)[:3]), atol=8)
    hot = drawn(page)
    page.click("#heat")
    assert (np.abs(drawn(page) - hot).max(axis=2) > 40).mean() > 0.05
    own = page.module("view.js", "[...m.stage.panes[2].geometry.attributes.color.array]")
    albedo = page.module("view.js", "[...m.stage.panes[2].albedo]")
    assert own == albedo, "the face has its own colours again"


def test_errors_can_be_taken_against_another_method(page: Page, client: Client) -> None:
    seek(page, 11)
    page.click("#heat")
    choose(page, "#against", "2")
    found = page.module("view.js", "[...m.stage.panes[1].errors]")
    _, first, second = (motion.vertices(slice(11, 12))[0] for motion in client.server.app.clips[0].motions)
    np.testing.assert_allclose(found, 1000 * np.linalg.norm(first - second, axis=1), atol=5e-3)


def test_wires_and_a_camera_for_all(page: Page) -> None:
    seek(page, 3)
    plain = drawn(page)
    page.click("#wires")
    assert (np.abs(drawn(page) - plain).max(axis=2) > 30).mean() > 0.005
    page.click("#wires")
    np.testing.assert_array_equal(drawn(page), plain)
    x, y = page.run(
        "(({x, y, width, height}) => [x + width / 6, y + height / 2])"
        "(document.querySelector('#panes').getBoundingClientRect())"
    )
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + 60, y=y + 20, button="left")
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=x + 60, y=y + 20, button="left", clickCount=1)
    turned = drawn(page)
    for part in np.array_split(np.abs(turned - plain).max(axis=2), 3, axis=1):
        assert (part > 30).sum() > 300, "every pane turns"
    page.press("r")
    assert np.abs(drawn(page) - plain).max(axis=2).mean() < 1
    page.run("document.querySelector('#panes').focus()")
    page.press("ArrowLeft")
    assert (np.abs(drawn(page) - plain).max(axis=2) > 30).sum() > 300
    assert page.run(FRAMES) == [3, 3, 3], "arrow keys turn the focused faces and do not seek"


def test_a_dropped_sound_is_animated(page: Page, client: Client, folder: Path) -> None:
    write_wave(folder / "dropped.wav", speech(0.9, seed=4))
    page.run("document.querySelector('#style').value = 'B'")
    page.drop("#panes", folder / "dropped.wav")
    page.wait("document.querySelector('#status').textContent === 'dropped.wav is animated.'")
    assert page.run("document.querySelector('#clip').selectedOptions[0].text") == "dropped.wav"
    assert page.run(FRAMES) == [0]
    assert page.run("document.querySelector('audio').duration") == pytest.approx(0.9, abs=0.01)
    data = folder / "data"
    expected = load_animator(data / "models/students/learn2talk", corpus=data / "corpus").animate(
        folder / "dropped.wav", style="B"
    )
    seek(page, 20)
    found = page.module("view.js", "[...m.stage.panes[0].positions]")
    np.testing.assert_allclose(np.reshape(found, (-1, 3)), expected.vertices(slice(20, 21))[0], atol=1e-6)
    assert page.run("document.querySelector('#heat').disabled"), "there is nothing to compare it with"


def test_nonsense_is_refused_on_the_page(page: Page, folder: Path) -> None:
    (folder / "text.wav").write_text("I am no sound.")
    page.drop("#panes", folder / "text.wav")
    text = page.wait("document.querySelector('#problem:not([hidden]) span')?.textContent")
    assert text.startswith("text.wav: expected a sound file that libsndfile or ffmpeg reads, found")
    assert page.run("document.querySelector('#problem').getAttribute('role')") == "alert"
    assert page.run(f"{FRAMES}.length") == 3, "the previous clip is still shown"
    page.click("#problem button")
    with (folder / "large.wav").open("wb") as file:
        file.truncate((64 << 20) + 1)
    page.drop("#panes", folder / "large.wav")
    text = page.wait("document.querySelector('#problem:not([hidden]) span')?.textContent")
    assert text == "large.wav: At most 64 MiB are accepted, this has 64."
    refused = [event for event in page.events if event.get("method") == "Log.entryAdded"]
    assert ["status of 422" in event["params"]["entry"]["text"] for event in refused] == [True], "and nothing else"
    page.events = [event for event in page.events if event not in refused]


def test_an_animation_can_be_cancelled(page: Page, client: Client, folder: Path) -> None:
    write_wave(folder / "slow.wav", speech(0.5))
    with client.server.app._animating:
        page.drop("#panes", folder / "slow.wav")
        page.wait("!document.querySelector('#cancel').hidden")
        page.click("#cancel")
        page.wait("document.querySelector('#status').textContent === 'Cancelled.'")
    assert page.run("document.querySelector('#cancel').hidden")
    assert page.run("document.querySelector('#problem').hidden")
    assert page.run("[...document.querySelector('#clip').options].every((o) => o.text !== 'slow.wav')")


def test_another_page_cannot_ask(page: Page, client: Client) -> None:
    address = json.dumps(
        f"http://localhost:{client.port}/{client.token}/api/clips"
    )  # the same server is another origin
    assert page.run(f"fetch({address}).then(() => 'answered', () => 'refused')") == "refused"
    page.events = [
        event for event in page.events if event.get("method") not in ("Log.entryAdded", "Network.requestWillBeSent")
    ]
    page.open(client.server.address)


NEEDS_NAME = {
    "button",
    "checkbox",
    "combobox",
    "slider",
    "textbox",
    "link",
    "spinbutton",
    "meter",
    "image",
    "dialog",
    "group",
}


@pytest.mark.parametrize("name", ["index.html", "live.html", "blind.html"])
def test_everything_has_a_name(page: Page, client: Client, name: str) -> None:
    page.open(client.server.address + name)
    page.wait("!document.querySelector('main button:not([hidden], #cancel)')?.disabled || true")
    named = page.names()
    for role, text in named:
        assert text or role not in NEEDS_NAME, (role, named)
    roles = [role for role, _ in named]
    for landmark in ("banner", "navigation", "main", "status", "heading"):
        assert landmark in roles
    assert page.run("document.documentElement.lang") == "en"
    unlabelled = (
        "[...document.querySelectorAll('input, select')]"
        ".filter((e) => !e.labels.length && !e.ariaLabel).map((e) => e.id)"
    )
    assert page.run(unlabelled) == []


def test_faces_and_time_are_said(page: Page) -> None:
    named = page.names()
    for name in ("Truth", "FaceFormer", "Learn2Talk"):
        assert ("group", f"Talking face: {name}") in named
    assert ("slider", "Time") in named
    assert page.run("document.querySelector('#status').textContent").startswith(
        "D102  p a (Truth, FaceFormer, Learn2Talk; 1.2 seconds)"
    )


def test_a_keyboard_alone_is_enough(page: Page) -> None:
    order = []
    page.run("document.activeElement.blur()")
    for _ in range(40):
        page.press("Tab")
        focus = page.run("document.activeElement.id || document.activeElement.textContent.trim()")
        if focus in order:
            break
        order.append(focus)
        seen = page.run(
            "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle"
        )
        assert seen != "none", f"the focus is visible: {focus}"
    wanted = ["help-button", "clip", "before", "after", "style", "open", "panes", "play", "time", "speed", "loop",
              "heat", "wires", "front"]  # fmt: skip
    assert [name for name in order if name in wanted] == wanted, "from top to bottom"
    page.run("document.activeElement.blur()")
    page.press(" ")
    page.wait("!document.querySelector('audio').paused || document.querySelector('audio').ended")
    page.press(" ")
    page.press("h")
    assert page.run("document.querySelector('#heat').checked")
    assert page.run("document.querySelector('#status').textContent") == "Error heat map: on"
    page.press("n")
    page.wait("document.querySelector('#text').textContent && document.querySelector('#clip').selectedIndex === 1")
    page.wait("document.querySelector('#status').textContent.startsWith('A100')")
    page.press("?", "Slash", shift=True)
    assert page.run("document.querySelector('#help').open")
    keys = page.run("[...document.querySelectorAll('#help kbd')].map((key) => key.textContent)")
    for key in ("Space bar", "Left", "Shift+Left", "h", "w", "r", "n", "?"):
        assert key in keys
    page.press("w")
    assert not page.run("document.querySelector('#wires').checked"), "keys are inactive while the dialog is open"
    page.run("document.querySelector('#help input').click()")
    page.press("Escape")
    page.wait("!document.querySelector('#help').open")
    page.press("w")
    assert not page.run("document.querySelector('#wires').checked"), "single keys are off"
    page.run("localStorage.clear()")


CONTRAST = """(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      const gradient = style.backgroundImage.match(/rgb\\([^)]*\\)/);
      if (gradient) return numbers(gradient[0]);
      const colour = numbers(style.backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(":disabled, option, label:has(:disabled)")) continue;
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    found.push([walker.currentNode.data.trim().slice(0, 30), (a + 0.05) / (b + 0.05)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "live.html", "blind.html"])
def test_text_can_be_read(page: Page, client: Client, name: str, scheme: str) -> None:
    page.prefer(color_scheme=scheme, reduced_motion="reduce")
    page.open(client.server.address + name)
    page.run("document.querySelector('#problem').hidden = false")
    ratios = page.run(CONTRAST)
    assert len(ratios) > 5
    assert [entry for entry in ratios if entry[1] < 4.5] == [], "WCAG 2.2, 1.4.3"
    dark = page.picture()[-3:, :3].mean() < 128
    assert dark == (scheme == "dark")
    assert page.run("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"


def test_a_blind_session_by_keyboard(page: Page, client: Client, folder: Path) -> None:
    page.open(client.server.address + "blind.html")
    page.wait("!document.querySelector('#begin').disabled")
    page.run("document.querySelector('#person').focus()")
    for letter in "P 7":
        page.press(letter, code="Space" if letter == " " else f"Key{letter}")
    page.run("document.querySelector('#question').value = 'natural'; document.querySelector('#count').value = '2'")
    page.press("Enter")
    page.wait("document.querySelector('#progress').textContent === '1 of 2'")
    assert "FaceFormer" not in page.run("document.querySelector('#trial').textContent")
    assert page.run("[...document.querySelectorAll('figcaption')].map((e) => e.textContent)") == ["Left", "Right"]
    page.press("1", "Digit1")
    assert page.run("document.querySelector('#progress').textContent") == "1 of 2", (
        "no answer is possible before the clip was played"
    )
    for number, key in ((1, "1"), (2, "3")):
        page.wait(f"document.querySelector('#progress').textContent === '{number} of 2'")
        page.run("document.querySelector('audio').play()", gesture=True)
        page.wait("!document.querySelector('.choices [value]').disabled")
        assert len(set(page.run(FRAMES))) == 1
        page.press(key, f"Digit{key}")
    page.wait("!document.querySelector('#result').hidden")
    with (folder / "out" / "preferences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["person"], row["question"], row["choice"]) for row in rows] == [
        ("P 7", "natural", "left"),
        ("P 7", "natural", "right"),
    ]
    first, second = page.run("['#name-first', '#name-second'].map((id) => document.querySelector(id).textContent)")
    wins = sum(row["preferred"] == first for row in rows)
    assert {first, second} == {rows[0]["left"], rows[0]["right"]}
    cells = page.run("[...document.querySelectorAll('#rows tr:first-child td')].map((cell) => cell.textContent)")
    p = f"{binomtest(wins, 2).pvalue:.3f}"
    assert cells == [f"{wins} ({50 * wins} %)", f"{2 - wins} ({100 - 50 * wins} %)", "0", p]


def test_resampling_in_the_browser(page: Page) -> None:
    rng = np.random.default_rng(0)
    for rate in (48000, 44100, 16000, 8000):
        time = np.arange(rate) / rate
        wave = sum(np.sin(2 * np.pi * f * time + f) for f in (200, 1000, 3000)) / 4 + 0.01 * rng.normal(size=rate)
        parts = [part.tolist() for part in np.split(wave, [1, 100, rate // 2])]
        found = page.module(
            "resample.js",
            f"{{ const r = new m.Resampler({rate});"
            f"return {json.dumps(parts)}.flatMap((p) => [...r.feed(Float32Array.from(p))]); }}",
        )
        expected = resample_poly(wave, 16000, rate)
        assert 15900 < len(found) <= 16000
        inside = slice(100, len(found) - 100)
        np.testing.assert_allclose(np.array(found)[inside], expected[: len(found)][inside], atol=0.02)
    high = np.sin(2 * np.pi * 11000 * np.arange(48000) / 48000).tolist()
    found = page.module("resample.js", f"[...new m.Resampler(48000).feed(Float32Array.from({json.dumps(high)}))]")
    assert np.abs(found[200:]).max() < 1e-3, "frequencies above 8 kHz are filtered out, not aliased"


def test_a_head_is_turned_in_the_browser(page: Page) -> None:
    rigid, points = (np.random.default_rng(seed).normal(size=size) for seed, size in ((0, (3, 4)), (1, (5, 3))))
    numbers = json.dumps(points.ravel().tolist()), json.dumps(rigid.ravel().tolist())
    turned, shares = points @ rigid[:, :3].T + rigid[:, 3], np.linspace(0, 1, 5)
    for follow, share in (("null", np.ones(5)), (json.dumps(shares.tolist()), shares)):
        words = "(() => {{ const out = Float32Array.from({}); m.turn({}, {}, out); return [...out]; }})()"
        found = np.reshape(page.module("motion.js", words.format(*numbers, follow)), (5, 3))
        np.testing.assert_allclose(found, points + share[:, None] * (turned - points), atol=1e-5)


def test_a_file_speaks_live(page: Page, client: Client, folder: Path) -> None:
    page.open(client.server.address + "live.html")
    page.wait("!document.querySelector('#microphone').disabled")
    assert page.run("document.querySelector('#sounds').textContent") == "Play spoken.wav"
    assert page.run("document.querySelector('#delay').textContent") == "The face will be 1.05 s behind the sound."
    page.click("#sounds button")
    page.wait(f"{FRAMES}.length === 1 && {FRAMES}[0] > 3")
    text = page.run("document.querySelector('#delay').textContent")
    assert text.startswith("The face is ")
    assert "0.4 s chunk, 0.4 s look-ahead" in text
    early = page.run("import('./live.js').then((m) => m.session.context.currentTime - m.session.start)")
    assert early >= 0.8, "the frame shown is at least a chunk and a look-ahead behind the sound"
    found = page.run("import('./live.js').then((m) => { window.rows = m.session.motion.rows; return true; })")
    assert found
    picture = drawn(page)
    assert (np.abs(picture - picture[:, :3].mean(axis=1, keepdims=True)).max(axis=2) > 30).mean() > 0.03
    page.wait("document.querySelector('#stop').disabled")
    states = np.array(page.run("[...window.rows.entries()].sort((a, b) => a[0] - b[0]).map(([, row]) => [...row])"))
    data = folder / "data"
    animator = load_animator(data / "models/students/learn2talk", corpus=data / "corpus")
    expected = animator.animate(folder / "spoken.wav", style="A", chunk=0.4, look_ahead=0.4).states
    count = min(len(states), len(expected))
    assert 40 <= count <= 46
    alike = np.corrcoef(states[:count].ravel(), expected[:count].ravel())[0, 1]
    assert alike > 0.98, "resampled twice, so not byte-identical"
    assert page.run("document.querySelector('#status').textContent") == "Stopped."


SHOWN = "(id) => { const e = document.querySelector(id); return Boolean(e && e.offsetParent); }"


def test_controls_that_have_nothing_to_do_are_hidden(page: Page, client: Client) -> None:
    assert page.run(f"['#against', '#most'].some({SHOWN})") is False, "without the heat map"
    page.click("#heat")
    assert page.run(f"['#against', '#most', '#scale'].every({SHOWN})")
    page.click("#heat")
    page.open(client.server.address + "live.html")
    page.wait("!document.querySelector('#microphone').disabled")
    assert page.run(f"['#stop', '#level'].some({SHOWN})") is False, "without sound"


def test_live_shows_the_face_at_rest_before_there_is_sound(page: Page, client: Client) -> None:
    page.open(client.server.address + "live.html")
    page.wait(f"{FRAMES}.length === 1 && {FRAMES}[0] === 0")
    assert "Learn2Talk" in page.run("document.querySelector('figcaption').textContent")
    picture = drawn(page)
    assert (np.abs(picture - picture[:, :3].mean(axis=1, keepdims=True)).max(axis=2) > 30).mean() > 0.03


@pytest.mark.parametrize("name", ["index.html", "live.html", "blind.html"])
def test_a_phone_has_one_line_of_navigation_and_controls_for_fingers(page: Page, client: Client, name: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    try:
        page.open(client.server.address + name)
        page.wait("!!document.querySelector('nav')")
        tops = page.run("[...document.querySelectorAll('nav a')].map((a) => a.getBoundingClientRect().top)")
        assert len(set(tops)) == 1
        small = page.run(
            """[...document.querySelectorAll('button, select, nav a')].filter((e) => e.offsetParent)
            .filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.id || e.textContent)"""
        )
        assert small == []
        assert page.run("document.documentElement.scrollWidth <= 390"), "nothing is wider than the screen"
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")


def test_the_microphone_speaks_live(page: Page, client: Client) -> None:
    page.open(client.server.address + "live.html")
    page.wait("!document.querySelector('#microphone').disabled")
    page.click("#microphone")
    page.wait(f"{FRAMES}.length === 1 && {FRAMES}[0] > 10")
    assert page.wait("document.querySelector('#level').value > 0.05"), "Chromium's fake microphone beeps"
    page.click("#stop")
    page.wait("document.querySelector('#status').textContent === 'Stopped.'")
    assert not page.run("document.querySelector('#microphone').disabled")


def test_live_says_when_there_is_no_microphone(page: Page, client: Client) -> None:
    page.open(client.server.address + "live.html")
    page.wait("!document.querySelector('#microphone').disabled")
    page.run("navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))")
    page.click("#microphone")
    text = page.wait("document.querySelector('#problem:not([hidden]) span')?.textContent")
    assert text == "No microphone: allow it in the browser's address bar, or connect one."
    assert not page.run("document.querySelector('#microphone').disabled")


def test_speed_and_camera_stay_with_the_next_clip(page: Page) -> None:
    choose(page, "#speed", "0.5")
    page.module("view.js", "m.stage.orbit(0.6, 0.1, 1.2)")
    place = "m.stage.camera.position.clone().sub(m.stage.controls.target).normalize().toArray()"
    before = page.module("view.js", place)
    page.press("n")
    page.wait("document.querySelector('#status').textContent.startsWith('A100')")
    page.wait(f"{FRAMES}.length === 3")
    assert page.run("document.querySelector('audio').playbackRate") == 0.5
    np.testing.assert_allclose(page.module("view.js", place), before, atol=1e-5)


def test_a_browser_that_cannot_draw_is_told(browser: Page, client: Client) -> None:
    script = "HTMLCanvasElement.prototype.getContext = () => null"
    number = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
    try:
        browser.open(client.server.address)
        text = browser.wait("document.querySelector('#problem:not([hidden]) span')?.textContent")
        assert text.startswith("This browser cannot draw in 3D: WebGL 2 is needed.")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=number)


def test_a_server_that_has_ended_is_told(page: Page) -> None:
    page.run("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    page.press("n")
    text = page.wait("document.querySelector('#problem:not([hidden]) span')?.textContent")
    assert text == "The viewer's server does not answer. Start learn2talk view again."
