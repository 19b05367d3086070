import csv
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from scipy.stats import binomtest

from learn2talk.viewer import app as module
from learn2talk.viewer import server
from learn2talk.viewer.app import ASSETS, KEPT, STATIC, UPLOAD, model_title
from learn2talk.viewer.server import ViewServer
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.waveform import to_int16, write_wave
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.run.errors import BadInput
from tests.animation.test_animator import speech
from tests.learn2talk.viewer.scene import toy_run
from tests.learn2talk.viewer.serving import Client, serving
from tests.toy import sheet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("view")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Client]:
    with serving(folder) as client:
        yield client


def test_it_listens_on_this_machine_alone(client: Client) -> None:
    assert client.server.server_address[0] == "127.0.0.1"
    with pytest.raises(BadInput, match=f"--port: expected a free port, found {client.port}"):
        ViewServer(client.server.app, client.port)
    with pytest.raises(BadInput, match="--port: expected a free port, found 70000"):
        ViewServer(client.server.app, 70000)


@pytest.mark.parametrize(
    ("path", "headers", "text"),
    [
        ("", {"Host": "evil.example"}, "The Host header must be"),
        ("", {"Host": "127.0.0.1"}, "The Host header must be"),
        ("", {"Host": None}, "The Host header must be"),
        ("", {"Origin": "http://evil.example"}, "Requests from other pages"),
        ("", {"Origin": "null"}, "Requests from other pages"),
        ("", {"Origin": None, "Sec_Fetch_Site": "cross-site"}, "Requests from other pages"),
        ("", {"Origin": None, "Sec_Fetch_Site": "same-site"}, "Requests from other pages"),
        ("/", {}, "not the one that was printed"),
        ("/index.html", {}, "not the one that was printed"),
        ("/wrong/index.html", {}, "not the one that was printed"),
        ("/wrong/api/clips", {}, "not the one that was printed"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_strangers_are_refused(client: Client, method: str, path: str, headers: dict, text: str) -> None:
    answer = client.ask(path, method, b"" if method == "POST" else None, **headers)
    assert answer.status == 403
    assert method == "HEAD" or text in answer.json["error"]


def test_what_is_no_address_is_refused(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(f"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n\r\n".encode())
        assert connection.makefile("rb").readline() == b"HTTP/1.1 400 Bad Request\r\n"


def test_a_change_needs_our_own_page(client: Client) -> None:
    assert client.ask("api/blind", "POST", b"{}", Origin=None).status == 403
    assert client.ask("api/blind", "POST", b"{}", Origin=f"http://localhost:{client.port}").status == 403
    own = {"Host": f"localhost:{client.port}", "Origin": f"http://localhost:{client.port}"}
    assert client.ask("api/blind", "POST", b"{}", **own).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "../app.py", "..%2fapp.py", "%2e%2e/app.py", "static/../../app.py", "....//app.py", "/etc/passwd", "%00", ".",
        "..", "three.min.js/", "style.css%00.html", "api", "api/", "api/clips/", "api/clips/../clips", "api/clips/99",
        "api/clips/-1", "api/clips/0/0/rows/999999999", "api/clips/0/7/rows/0", "api/arrays/" + 64 * "0", "INDEX.HTML",
    ],
)  # fmt: skip
def test_there_is_nothing_else(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert answer.status == (403 if path == "/etc/passwd" else 404)
    assert b"root:" not in answer.body
    assert set(answer.json) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    answer = client.ask("api/clips", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_each_address_has_its_method(client: Client) -> None:
    assert client.ask("api/animate").status == 405
    assert client.ask("index.html", "POST", b"").status == 405
    assert client.ask("api/clips/0/sound", "HEAD").body == b""


def test_the_page_is_whole_and_guarded(client: Client) -> None:
    for name in ["", *ASSETS]:
        answer = client.ask(name)
        assert (answer.status, answer.body) == (200, (STATIC / (name or "index.html")).read_bytes())
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Python" not in answer.headers["Server"]
    assert client.ask("view.js").headers["Content-Type"] == "text/javascript; charset=utf-8"


def test_nothing_comes_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        if path.name in ("three.min.js", "three.LICENSE.txt"):  # names of standards, not requested addresses
            continue
        assert "https:" not in text, path
        assert text.count("http:") == text.count('xmlns="http://www.w3.org/2000/svg"'), path
        assert "<style" not in text, path
        assert " style=" not in text, path
        assert " onclick=" not in text, path
        assert "eval(" not in text, path


def test_sizes_are_bounded(client: Client) -> None:
    for path, length in (("api/animate", UPLOAD + 1), ("api/blind", 5000), ("api/clips", 1), ("api/live/x", 2 << 20)):
        answer = client.ask(path, "POST", None, Content_Length=str(length))
        assert answer.status == 413
        assert "are accepted, this has" in answer.json["error"]
        assert answer.headers["Connection"] == "close"
    for headers in ({}, {"Content_Length": "many"}, {"Content_Length": "-1"}, {"Transfer_Encoding": "chunked"}):
        assert client.ask("api/animate", "POST", None, **headers).status == 411


def test_a_clip_comes_in_pieces(client: Client, folder: Path) -> None:
    listed = client.ask("api/clips").json["clips"]
    assert [clip["title"] for clip in listed] == ["D102  p a", "A100  p a"]
    assert listed[0]["methods"] == ["Truth", "FaceFormer", "Learn2Talk"]
    about = client.ask("api/clips/0").json
    assert about["phonemes"] == [[0.1, 0.5, "P"], [0.5, 1.0, "AA"]]
    clip = client.server.app.clips[0]
    for number, told in enumerate(about["motions"]):
        motion = clip.motions[number]
        arrays = {
            name: None if told[name] is None else client.ask(f"api/arrays/{told[name]}").body
            for name in ("rest", "basis", "faces", "colours")
        }
        packed = client.ask(f"api/clips/0/{number}/rows/0").body
        rest = np.frombuffer(arrays["rest"], "<f4").reshape(-1, 3)
        if arrays["basis"] is None:
            step, rows = np.frombuffer(packed[:4], "<f4")[0], np.frombuffer(packed[4:], "<i2")
            found = rest + step * rows.reshape(told["frames"], -1, 3)
        else:
            rows = np.frombuffer(packed, "<f4").reshape(told["frames"], told["columns"])
            found = rest + np.tensordot(rows, np.frombuffer(arrays["basis"], "<f4").reshape(-1, *rest.shape), 1)
        np.testing.assert_allclose(found, motion.vertices(), atol=3e-6)
        np.testing.assert_array_equal(np.frombuffer(arrays["faces"], "<u4").reshape(-1, 3), motion.topology.faces)
        np.testing.assert_allclose(
            np.frombuffer(arrays["colours"], "u1").reshape(-1, 3) / 255, motion.topology.colours, atol=1 / 500
        )
        opening = np.frombuffer(client.ask(f"api/clips/0/{number}/opening").body, "<f4")
        np.testing.assert_array_equal(opening, motion.opening())
    assert about["motions"][1]["basis"] != about["motions"][2]["basis"]
    assert about["motions"][0]["faces"] == about["motions"][1]["faces"], "what is shared is fetched once"
    assert "immutable" in client.ask(f"api/arrays/{told['rest']}").headers["Cache-Control"]
    assert client.ask("api/clips/0/peaks").body == module.peaks(clip.samples).tobytes()


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-99", 206, slice(0, 100)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-50", 206, slice(-50, None)),
        ("bytes=-99999999", 206, slice(None)),
        ("bytes=5-99999999", 206, slice(5, None)),
        ("bytes=0-1,3-4", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=99999999-", 416, None),
        ("bytes=9-3", 416, None),
    ],
)
def test_sound_can_be_sought(client: Client, asked: str | None, status: int, part: slice | None) -> None:
    whole = client.server.app.clips[1].sound
    answer = client.ask("api/clips/1/sound", Range=asked)
    assert answer.status == status
    if part is not None:
        assert answer.body == whole[part]
        assert answer.headers["Content-Type"] == "audio/wav"
        assert answer.headers["Accept-Ranges"] == "bytes"
    if status == 206:
        start, stop, _ = part.indices(len(whole))
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


def test_a_sound_is_animated_as_the_command_does(client: Client, folder: Path) -> None:
    write_wave(folder / "speech.wav", speech(0.7))
    answer = client.post("api/animate?name=my%20speech.wav&style=B", (folder / "speech.wav").read_bytes())
    assert answer.status == 200
    key = answer.json["id"]
    about = client.ask(f"api/clips/{key}").json
    assert (about["title"], about["note"], about["truth"]) == ("my speech.wav", "Style B.", None)
    data = folder / "data"
    animator = load_animator(data / "models/students/learn2talk", corpus=data / "corpus")
    expected = animator.animate(folder / "speech.wav", style="B")
    states = np.frombuffer(client.ask(f"api/clips/{key}/0/rows/0").body, "<f4").reshape(expected.states.shape)
    np.testing.assert_array_equal(states, expected.states)
    listed = client.ask("api/clips").json["clips"]
    assert (listed[-1]["id"], listed[-1]["group"]) == (key, "Yours")
    assert client.ask(f"api/clips/{key}/sound").body[44:] == to_int16(expected.wave).tobytes()


@pytest.mark.parametrize(
    ("content", "query", "text"),
    [
        (b"I am a text and no sound.", "name=a.wav", "a.wav: expected a sound file that libsndfile or ffmpeg reads"),
        (b"", "name=speech.wav", "speech.wav: expected sound, found an empty file"),
        (b"RIFF\xff\xff\0\0WAVE", "name=x.wav", "x.wav: expected a sound file with samples, found no chunk of samples"),
        (b"\x80\x04\x95", "", "sound: expected a sound file"),
        (None, "name=a.wav&style=Z", "style: expected one or a mixture of A, B, found Z"),
        (None, "name=a.wav&style=A%3D-1", "style: expected weights ≥ 0 with a positive sum"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(
    client: Client, tmp_path: Path, content: bytes | None, query: str, text: str
) -> None:
    if content is None:
        write_wave(tmp_path / "a.wav", speech(0.3))
        content = (tmp_path / "a.wav").read_bytes()
    before = client.ask("api/clips").json["clips"]
    answer = client.post(f"api/animate?{query}", content)
    assert answer.status == 422
    assert answer.json["error"].startswith(text)
    assert "/tmp" not in answer.json["error"]
    assert client.ask("api/clips").json["clips"] == before


def test_hours_of_silence_in_a_small_file_are_refused(client: Client, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(601 * 16000, np.int16), 16000)
    content = (tmp_path / "long.flac").read_bytes()
    assert len(content) < 100_000
    answer = client.post("api/animate?name=long.flac", content)
    assert answer.status == 422
    assert answer.json["error"].startswith("long.flac: expected up to 600 s of sound, found more.")


def test_who_hangs_up_gets_nothing(client: Client, tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", speech(0.3))
    content = (tmp_path / "a.wav").read_bytes()
    before = len(client.ask("api/clips").json["clips"])
    with client.server.app._animating:  # another sound is being animated
        with socket.create_connection(("127.0.0.1", client.port)) as line:
            head = f"POST /{client.token}/api/animate?name=gone HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
            head += f"Origin: http://127.0.0.1:{client.port}\r\nContent-Length: {len(content)}\r\n\r\n"
            line.sendall(head.encode() + content)
    assert (
        client.post("api/animate?name=b.wav&style=A", content).status == 200
    )  # waits for its turn, after the client that has gone
    titles = [clip["title"] for clip in client.ask("api/clips").json["clips"]]
    assert len(titles) == before + 1
    assert "gone" not in titles


def test_only_the_newest_uploads_are_kept(client: Client, tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", speech(0.1))
    content = (tmp_path / "a.wav").read_bytes()
    keys = [client.post("api/animate?style=A", content).json["id"] for _ in range(KEPT + 1)]
    assert [client.ask(f"api/clips/{key}").status for key in (keys[0], keys[1], keys[-1])] == [404, 200, 200]
    assert len(client.ask("api/clips").json["clips"]) == 2 + KEPT


def test_live_speech_gives_the_states_of_the_stream(client: Client, folder: Path) -> None:
    samples = to_int16(speech(2.1))
    start = client.post("api/live?style=A", {})
    assert start.status == 200
    key, motion = start.json["id"], start.json["motion"]
    assert (motion["fps"], motion["frames"]) == (30, 0)
    parts = np.split(samples, [1600, 1600, 5000, 20000])
    answers = [
        client.post(f"api/live/{key}{'?last=1' if number == 4 else ''}", part.tobytes()).body
        for number, part in enumerate(parts)
    ]
    found = np.frombuffer(b"".join(answers), "<f4").reshape(-1, motion["columns"])
    data = folder / "data"
    animator = load_animator(data / "models/students/learn2talk", corpus=data / "corpus")
    expected = animator.animate(samples, style="A", chunk=0.4, look_ahead=0.4)
    np.testing.assert_array_equal(found, expected.states)
    rest = np.frombuffer(client.ask(f"api/arrays/{motion['rest']}").body, "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(rest, expected.template + expected.offset)
    assert len(answers[0]) == 0, "the look-ahead has not been heard"
    assert client.post(f"api/live/{key}", b"").status == 410


def test_the_live_page_can_show_the_face_at_rest(client: Client, folder: Path) -> None:
    motion = client.ask("api/live/face").json["motion"]
    assert (motion["frames"], motion["head_moves"]) == (1, False)
    assert motion["name"] == "Learn2Talk", "the name of the model's own row"
    rest = np.frombuffer(client.ask(f"api/arrays/{motion['rest']}").body, "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(rest, sheet())


@pytest.mark.parametrize(
    ("folder", "network", "title"),
    [
        ("data/models/students/learn2talk", "faceformer", "Learn2Talk"),
        ("data/models/students/faceformer", "faceformer", "FaceFormer"),
        ("vocaset.pth", "faceformer", "FaceFormer (vocaset.pth)"),
        ("packs/voices", "selftalk", "SelfTalk (voices)"),
    ],
)
def test_a_model_has_its_own_name(folder: str, network: str, title: str) -> None:
    animator = SimpleNamespace(about={"folder": folder}, student=SimpleNamespace(network=network))
    assert model_title(animator) == title  # type: ignore[arg-type]


def test_live_nonsense_is_refused(client: Client) -> None:
    key = client.post("api/live", {}).json["id"]
    assert client.post(f"api/live/{key}", b"odd").status == 400
    assert client.post("api/live/unknown", b"").status == 410
    answer = client.post("api/live?style=auto", {})
    assert (answer.status, answer.json["error"][:38]) == (422, "style: expected a style by name, found")


def blind(client: Client, **changes: object) -> dict:
    asked = {"first": "FaceFormer", "second": "Learn2Talk", "question": "lips", "trials": 2, "person": "P 1", **changes}
    return client.post("api/blind", asked).json


def test_a_blind_session_says_nothing_and_records_everything(client: Client, folder: Path) -> None:
    session = blind(client)
    assert len(session["clips"]) == 2
    methods, preferred = {"FaceFormer": 1, "Learn2Talk": 2}, []
    for number, key in enumerate(session["clips"]):
        about = client.ask(f"api/clips/{key}")
        assert b"Learn2Talk" not in about.body
        assert b"FaceFormer" not in about.body
        assert [motion["name"] for motion in about.json["motions"]] == ["Left", "Right"]
        assert about.json["truth"] is None
        left = client.ask(f"api/clips/{key}/0/rows/0").body
        clip = next(clip for clip in client.server.app.clips if clip.title == about.json["title"])
        on_left = next(name for name, place in methods.items() if clip.motions[place].packed(0) == left)
        choice = ("left", "right")[number]
        answer = client.post(f"api/blind/{session['id']}/{number}", {"choice": choice})
        assert answer.json == {"answered": number + 1, "of": 2}
        other = next(name for name in methods if name != on_left)
        preferred.append(on_left if choice == "left" else other)
    assert client.post(f"api/blind/{session['id']}/0", {"choice": "tie"}).status == 409
    with (folder / "out" / "preferences.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["session"] == session["id"]]
    assert [(row["preferred"], row["person"], row["question"]) for row in rows] == [
        (name, "P 1", "lips") for name in preferred
    ]
    found = client.ask(f"api/blind/{session['id']}").json
    wins = preferred.count("FaceFormer")
    assert found["session"]["p_value"] == pytest.approx(binomtest(wins, 2).pvalue)
    assert (found["session"]["first"], found["session"]["first_wins"]) == ("FaceFormer", wins)
    blind_ties = blind(client, trials=1)
    client.post(f"api/blind/{blind_ties['id']}/0", {"choice": "tie"})
    found = client.ask(f"api/blind/{blind_ties['id']}").json
    assert (found["session"]["ties"], found["session"]["p_value"], found["all"]["ties"]) == (1, 1.0, 1)
    assert found["all"]["first_wins"] == wins


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"first": "Learn2Talk"}, "comparison: expected two different methods, a known question and a valid name"),
        ({"first": "Nobody"}, "comparison: expected clips with both methods, found none"),
        ({"question": "taste"}, "comparison: expected two different methods, a known question and a valid name"),
        ({"trials": 0}, "trials: expected 1 … 200, found 0"),
        ({"trials": "many"}, "trials: expected 1 … 200, found many"),
        ({"person": "=SUM(A1)"}, "comparison: expected two different methods, a known question and a valid name"),
    ],
)
def test_a_strange_comparison_is_refused(client: Client, changes: dict, text: str) -> None:
    assert blind(client, **changes)["error"].startswith(text)


def test_strange_answers_are_refused(client: Client) -> None:
    key = blind(client, trials=1)["id"]
    assert (
        "choice: expected left, right, tie, found up"
        in client.post(f"api/blind/{key}/0", {"choice": "up"}).json["error"]
    )
    assert client.post(f"api/blind/{key}/1", {"choice": "left"}).status == 404
    assert client.post("api/blind/nobody/0", {"choice": "left"}).status == 404
    assert client.ask("api/blind/nobody").status == 404
    for body in (b"[]", b"", b"{", 3000 * b"[", b"\xff"):
        assert client.ask(f"api/blind/{key}/0", "POST", body).status == 400


def test_a_table_that_cannot_be_written_is_an_error_on_the_page(client: Client, folder: Path) -> None:
    key = blind(client, trials=1)["id"]
    table = folder / "out" / "preferences.csv"
    content = table.read_text() if table.is_file() else None
    table.parent.mkdir(exist_ok=True)
    table.write_text("something else\n")
    answer = client.post(f"api/blind/{key}/0", {"choice": "left"})
    assert answer.status == 422
    assert "preferences.csv: expected a table of when, session" in answer.json["error"]
    table.unlink() if content is None else table.write_text(content)
    assert client.post(f"api/blind/{key}/0", {"choice": "left"}).status == 200


def test_what_goes_wrong_inside_is_not_told(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(module, "peaks", fail)
    answer = client.ask("api/clips/0/peaks")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "a secret" in caplog.text
    assert client.token not in caplog.text


def test_a_corpus_of_vertices_is_sent_quantised(client: Client, folder: Path) -> None:
    corpus = open_corpus(folder / "data" / "corpus")
    truth = client.ask("api/clips/0").json["motions"][0]
    assert truth["basis"] is None
    assert truth["columns"] == 192
    own = next(clip for clip in corpus.clips if clip.id == "D102")
    assert len(client.ask("api/clips/0/0/rows/0").body) == 4 + 2 * 192 * own.frames
    assert json.loads(client.ask("api/clips/0").body)["motions"][0]["frames"] == own.frames


def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST", 3)
    with serving(tmp_path) as client:
        threads = threading.active_count()
        silent = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(3)]
        assert client.ask("").status == 503
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", client.port), timeout=10) as one:
                assert one.makefile("rb").readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
        assert threading.active_count() == threads + 3
        for one in silent:
            one.close()
        while (status := client.ask("").status) == 503:  # until the threads have noticed it
            time.sleep(0.01)
        assert status == 200
        assert all(client.ask("api/clips").status in (200, 503) for _ in range(8)), "slots are released"


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_request_that_trickles_in_is_given_up(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEADLINE", 0.5)
    with serving(tmp_path) as client, socket.create_connection(("127.0.0.1", client.port), timeout=0.02) as slow:
        own = f"127.0.0.1:{client.port}"
        head = f"POST /{client.token}/api/animate HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n"
        slow.sendall((head + "Content-Length: 1000\r\n\r\n" * (part == "body")).encode())
        sent, answer = 0, None
        while sent < 900 and answer is None:  # over 18 s in total; the server waits for 0.5 s
            with suppress(TimeoutError):
                answer = slow.recv(1)
            with suppress(ConnectionError):
                slow.send(b"a")
            sent += 1
        assert answer == b"", "the server closes the connection without an answer"
        assert client.ask("").status == 200


def test_the_command_serves_until_ctrl_c(tmp_path: Path) -> None:
    data = toy_run(tmp_path)
    words = [sys.executable, "-m", "learn2talk.cli", "view", str(data)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", address)
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert b"<title>Learn2Talk viewer</title>" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_three_js_is_the_version_that_the_lock_names() -> None:
    folder = Path(__file__).parents[3] / "scripts" / "three"
    version = json.loads((folder / "package.json").read_text())["devDependencies"]["three"]
    lock = (folder / "package-lock.json").read_text()
    assert json.loads(lock)["packages"]["node_modules/three"]["version"] == version
    assert "http" not in lock, "no registry is named"
    assert f'"{version.split(".")[1]}"' in (STATIC / "three.min.js").read_text()
    assert "MIT License" in (STATIC / "three.LICENSE.txt").read_text()
    assert f"three.js {version}" in (folder.parents[1] / "docs" / "view.md").read_text()
