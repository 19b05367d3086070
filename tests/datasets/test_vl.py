import contextlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learn2talk_core.datasets.vl import count_frames, read_frames, vl_vertices
from learn2talk_core.run.errors import BadInput
from tests.datasets.hidden import with_hidden_files

BIWI = 23_370


def packed(vertices: np.ndarray, header: str = "<I") -> bytes:
    return struct.pack(header, len(vertices)) + struct.pack(f"<{vertices.size}f", *vertices.reshape(-1).tolist())


def frame(number: int, vertex_count: int = 5) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(vertex_count, 3)).astype(np.float32)


def folder_of(path: Path, numbers: list[int]) -> Path:
    path.mkdir()
    for number in numbers:
        (path / f"frame_{number:03d}.vl").write_bytes(packed(frame(number), "<Q" if number % 2 else "<I"))
    return path


def archive_of(path: Path, numbers: list[int], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for number in numbers:
            content = packed(frame(number))
            member = tarfile.TarInfo(f"e01/frame_{number:03d}.vl")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        archive.addfile(tarfile.TarInfo("e01/readme.txt"), io.BytesIO())
    return path


@pytest.mark.parametrize("header", ["<I", "<Q"])
def test_both_sizes_of_the_header_at_real_size(header: str) -> None:
    vertices = frame(0, BIWI)
    np.testing.assert_array_equal(vl_vertices(packed(vertices, header), "frame_001.vl", BIWI), vertices)


@pytest.mark.parametrize("header", ["<I", "<Q"])
@pytest.mark.parametrize("cut", [1, 4, 12, 100])
def test_a_file_that_is_cut_short(header: str, cut: int) -> None:
    content = packed(frame(0, BIWI), header)
    with pytest.raises(BadInput, match=rf"frame_001\.vl: expected a vertex count .*{len(content) - cut} bytes"):
        vl_vertices(content[:-cut], "frame_001.vl", BIWI)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", bytes(8), b"\5\0", b"<html>not found</html>"])
def test_no_vl_file(content: bytes) -> None:
    with pytest.raises(BadInput, match=r"expected a vertex count .* truncated or not a \.vl file"):
        vl_vertices(content, "frame_001.vl", 5)


def test_a_count_that_is_not_the_templates() -> None:
    with pytest.raises(BadInput, match=r"expected 23370 vertices, as in the template, found 23369\. "):
        vl_vertices(packed(frame(0, BIWI - 1)), "frame_001.vl", BIWI)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 69), flip=st.integers(0, 69 * 8 - 1))
def test_damage_is_an_error_or_other_numbers(cut: int, flip: int) -> None:
    content = bytearray(packed(frame(0)) + b"\0\0\0\0\0\0")
    content[flip // 8] ^= 1 << flip % 8
    with contextlib.suppress(BadInput):
        assert vl_vertices(bytes(content[:cut]), "x.vl", 5).shape == (5, 3)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    numbers = [*range(1, 12), 1000, 999]
    folder = folder_of(tmp_path / "e01", list(range(1, 12)))
    np.testing.assert_array_equal(read_frames(folder, 5), [frame(n) for n in range(1, 12)])
    for number in range(12, 1002):  # frame_1000 sorts before frame_999 by name
        (folder / f"frame_{number:03d}.vl").write_bytes(packed(frame(number)))
    frames = read_frames(folder, 5)
    for number in numbers:
        np.testing.assert_array_equal(frames[number - 1], frame(number))


def test_hidden_frames_are_skipped(tmp_path: Path) -> None:
    with_hidden_files(folder_of(tmp_path / "e01", [1, 2, 3]))
    assert count_frames(tmp_path / "e01") == 3
    with tarfile.open(tmp_path / "e01.tar", "w") as archive:
        archive.add(tmp_path / "e01", arcname="e01")
    np.testing.assert_array_equal(read_frames(tmp_path / "e01.tar", 5), [frame(n) for n in (1, 2, 3)])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_read_like_its_folder(tmp_path: Path, mode: str) -> None:
    folder = folder_of(tmp_path / "e01", [1, 2, 3, 4])
    archive = archive_of(tmp_path / "e01.tar", [3, 1, 4, 2], mode)
    np.testing.assert_array_equal(read_frames(archive, 5), read_frames(folder, 5))
    assert count_frames(archive) == count_frames(folder) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e01", "e01.tar"], "nothing is unpacked"


@pytest.mark.parametrize("size", [*range(0, 7 * 512, 512), 10, 700])  # three frames of two blocks each
def test_an_archive_cut_short(tmp_path: Path, size: int) -> None:
    archive = archive_of(tmp_path / "e01.tar", [1, 2, 3])
    archive.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(BadInput, match=r"e01\.tar: expected (a whole archive of \.vl files|frames)"):
        read_frames(archive, 5)


def test_a_compressed_archive_cut_short_gives_all_frames_or_none(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "e01.tgz", [1, 2, 3], "w:gz")
    frames, whole = read_frames(archive, 5), archive.read_bytes()
    for size in range(0, len(whole) - 20, 16):
        archive.write_bytes(whole[:size])
        with contextlib.suppress(BadInput):
            np.testing.assert_array_equal(read_frames(archive, 5), frames)
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"e01\.tgz: expected a whole archive of \.vl files, found EOFError"):
        read_frames(archive, 5)


@settings(max_examples=60, deadline=None)
@given(flip=st.integers(0, 8 * 512 * 8 - 1))
def test_a_damaged_archive_is_an_error_or_other_numbers(tmp_path_factory: pytest.TempPathFactory, flip: int) -> None:
    archive = archive_of(tmp_path_factory.mktemp("flip") / "e01.tar", [1, 2, 3])
    content = bytearray(archive.read_bytes())
    content[flip // 8] ^= 1 << flip % 8
    archive.write_bytes(content)
    with contextlib.suppress(BadInput):
        assert read_frames(archive, 5).shape == (3, 5, 3)


def test_a_frame_that_is_missing_or_there_twice(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"e01: expected frame number 3, found frame_004\.vl\. A frame is missing"):
        read_frames(folder_of(tmp_path / "e01", [1, 2, 4]), 5)
    with pytest.raises(BadInput, match=r"e02: expected frame number 1, found frame_005\.vl"):
        read_frames(folder_of(tmp_path / "e02", [5, 6]), 5)
    with pytest.raises(BadInput, match=r"e03\.tar: expected frame number 3, found e01/frame_002\.vl"):
        read_frames(archive_of(tmp_path / "e03.tar", [1, 2, 2]), 5)


def test_no_frames_at_all(tmp_path: Path) -> None:
    (tmp_path / "e01").mkdir()
    with pytest.raises(BadInput, match=r"e01: expected frames frame_001\.vl …, found no \.vl file"):
        count_frames(tmp_path / "e01")
    with pytest.raises(BadInput, match=r"e01\.tgz: .* found no \.vl file"):
        count_frames(archive_of(tmp_path / "e01.tgz", []))


def test_a_frame_of_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"e01\.tar: e01/frame_001\.vl: expected 6 vertices"):
        read_frames(archive_of(tmp_path / "e01.tar", [1]), 6)
