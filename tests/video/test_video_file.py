import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from learn2talk_core.run.errors import BadInput
from learn2talk_core.video import video_file
from learn2talk_core.video.video_file import encode_video, read_video, video_audio, video_frames, write_video


def pictures(count: int = 40, size: int = 64) -> np.ndarray:
    """A soft grey wave that moves: grey, because 4:2:0 halves the colours' resolution."""
    t, y, x = np.mgrid[:count, :size, :size]
    return np.repeat((128 + 90 * np.sin(x / 9 + t / 4) * np.cos(y / 7))[..., None], 3, -1).astype(np.uint8)


def clicks(seconds: float = 1.6) -> np.ndarray:
    """Short tones at known times."""
    time = np.arange(round(seconds * 16000)) / 16000
    return (0.5 * np.sin(2 * np.pi * 440 * time) * (time % 0.4 < 0.05)).astype(np.float32)


def counting(count: int, fps: float) -> bytes:
    """A video whose frame t has the brightness 6 t everywhere."""
    return encode_video(
        np.broadcast_to((6 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, 32, 32, 3)), fps
    )


def test_round_trip_keeps_pictures_rate_and_sound(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", iter(pictures()), 25, clicks())
    frames, fps, audio = read_video(tmp_path / "a.mp4")
    assert frames.dtype == np.uint8
    assert frames.shape == (40, 64, 64, 3)
    assert fps == 25
    assert np.abs(frames.astype(int) - pictures()).mean() < 1.5
    assert audio is not None
    assert audio.dtype == np.float32
    assert len(list(tmp_path.iterdir())) == 1


def test_sound_stays_on_its_sample() -> None:
    _, _, audio = read_video(encode_video(pictures(), 25, clicks()))
    assert audio is not None
    assert abs(len(audio) - len(clicks())) <= 1024
    correlation = np.correlate(np.pad(audio[: len(clicks())], 2000), clicks(), "valid")
    assert correlation.argmax() - 2000 == 0
    assert np.abs(audio[: len(clicks())] - clicks()).mean() < 0.02


def test_two_channels_become_their_mean() -> None:
    time = np.arange(48000) / 48000
    left, right = (volume * np.sin(2 * np.pi * 440 * time).astype(np.float32) for volume in (0.9, 0.7))
    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        video, stream = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=48000)
        video.width = video.height = 32
        sound = av.AudioFrame.from_ndarray(np.stack([left, right]), format="fltp", layout="stereo")
        sound.sample_rate = 48000
        for picture in np.zeros((25, 32, 32, 3), np.uint8):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(sound))
        for each in (video, stream):
            container.mux(each.encode(None))
    audio = read_video(film.getvalue())[2]
    assert audio is not None
    assert audio[2000:14000].std() == pytest.approx(0.8 / np.sqrt(2), rel=0.05)


def test_no_sound_is_none() -> None:
    assert read_video(encode_video(pictures(3), 25))[2] is None


def test_same_input_same_bytes(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", pictures(), 25, clicks())
    write_video(tmp_path / "b.mp4", pictures(), 25, clicks())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    # x264's look-ahead reads uninitialised memory: small noisy frames show it within a few tries.
    noisy = pictures(30, 32) // 2 + np.random.default_rng(0).integers(0, 70, (30, 32, 32, 3), np.uint8)
    assert len({encode_video(noisy, 25) for _ in range(12)}) == 1


def test_lower_qp_is_closer() -> None:
    errors = [
        np.abs(read_video(encode_video(pictures(), 25, qp=qp))[0] - pictures().astype(int)).mean() for qp in (8, 35)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("fps", [25, 30, 50, 24, 12.5, 30000 / 1001])
def test_resampling_gives_the_picture_of_the_nearest_time(fps: float) -> None:
    source = counting(40, fps)
    given = np.array([frame[0, 0, 0] / 6 for frame in video_frames(source, fps=25)])
    assert len(given) == round(40 / fps * 25)
    nearest = np.clip(np.arange(len(given)) / 25 * fps, 0, 39)
    assert np.abs(given - nearest).max() <= 0.5 + 0.3  # half a source picture, and the codec's own error


def test_rate_is_exact() -> None:
    assert read_video(counting(4, 30000 / 1001))[1] == Fraction(30000, 1001)


def test_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="even sizes, not 63 x 64"):
        encode_video(pictures()[:, :, :63], 25)


@pytest.mark.parametrize("kept", [0, 40, 1000, -300])
def test_truncated_file_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.mp4").write_bytes(encode_video(pictures(), 25, clicks())[:kept])
    with pytest.raises(
        BadInput, match=r"cut.mp4: expected a complete video that ffmpeg can read, found .*truncated file"
    ):
        read_video(tmp_path / "cut.mp4")


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a video at all " * 100)
    with pytest.raises(BadInput, match=r"a.mp4: expected a complete video that ffmpeg can read"):
        read_video(tmp_path / "a.mp4")
    soundfile.write(tmp_path / "a.wav", clicks(), 16000)
    with pytest.raises(BadInput, match=r"a.wav: .* found no video stream"):
        read_video(tmp_path / "a.wav")
    with pytest.raises(BadInput, match=r"none.mp4: expected a video file, found no such file"):
        read_video(tmp_path / "none.mp4")
    with pytest.raises(BadInput, match="clip 7: expected a complete video"):
        read_video(b"nothing", name="clip 7")


def test_a_tag_that_is_no_text_does_no_harm() -> None:
    film = encode_video(pictures(3), 25, clicks(0.12))
    damaged = film.replace(b"VideoHandler", b"Video\xffandler")
    assert damaged != film
    np.testing.assert_array_equal(read_video(damaged)[0], read_video(film)[0])


@pytest.mark.parametrize(("codec", "kind"), [(b"avc1", "video"), (b"mp4a", "audio")])
def test_an_unknown_codec_is_named(codec: bytes, kind: str) -> None:
    film = encode_video(pictures(3), 25, clicks(0.12)).replace(codec, b"zzzz").replace(b"esds", b"zzzz")
    with pytest.raises(
        BadInput, match=f"film: expected a complete video .*, found {kind} in a codec that ffmpeg does not know"
    ):
        read_video(film, name="film")


def timed(times: list[int]) -> bytes:
    """A Matroska file with one frame at each of these times in milliseconds."""
    film = io.BytesIO()
    with av.open(film, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "preset": "ultrafast"})
        stream.width = stream.height = 32
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return film.getvalue()


def test_a_picture_that_is_shown_for_long_is_refused() -> None:
    assert len(list(video_frames(timed([0, 40, 30_000, 30_040]), fps=25))) == 752
    with pytest.raises(BadInput, match=r"film: expected a new frame every 60 s at least, .* one shown for 4e\+04 s"):
        list(video_frames(timed([0, 40, 40_000_000]), fps=25, name="film"))
    hours = [50_000 * number for number in range(13 * 72)]
    with pytest.raises(BadInput, match=r"for 12 h at most, found one shown for 50 s, 4\.325e\+04 s after the first"):
        sum(1 for _ in video_frames(timed(hours), fps=0.25))


def test_a_small_file_cannot_have_a_million_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    film = timed([59_000 * number for number in range(12)])
    given = 0
    with pytest.raises(BadInput, match=r"^film: expected at most 15000 frames in a file of its size, found more\."):
        for _ in video_frames(film, fps=25, name="film"):
            given += 1
    assert given == 15_000
    still = encode_video(np.broadcast_to(np.uint8(90), (500, 32, 32, 3)), 25, qp=51)
    monkeypatch.setattr(video_file, "FRAMES", 0)
    assert sum(1 for _ in video_frames(still)) == sum(1 for _ in video_frames(still, fps=25)) == 500
    monkeypatch.setattr(video_file, "BYTES", 1000)
    with pytest.raises(BadInput, match=f"expected at most {len(still) // 1000} frames in a file of its size"):
        list(video_frames(still))


def test_pictures_without_times_are_refused(tmp_path: Path) -> None:
    film = io.BytesIO(encode_video(pictures(3), 25))
    with av.open(film) as timed, av.open(str(tmp_path / "raw.h264"), "w", format="h264") as raw:
        stream = raw.add_stream_from_template(timed.streams.video[0])
        for packet in timed.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                raw.mux(packet)
    with pytest.raises(BadInput, match=r"raw\.h264: .*, found frames without time stamps"):
        read_video(tmp_path / "raw.h264")


def test_huge_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_file, "LARGEST", 64 * 64 - 1)
    with pytest.raises(BadInput, match="found frames of 64 x 64, more than 4095 pixels"):
        read_video(encode_video(pictures(3), 25))


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video("concat:x.mp4", pictures(3), 25)
    assert len(read_video("concat:x.mp4")[0]) == 3


@pytest.mark.parametrize("number", range(40))
def test_damaged_films_are_refused_or_read(number: int) -> None:
    rng = np.random.default_rng(number)
    content = bytearray(encode_video(pictures(4, 32), 25, clicks(0.16)))
    content = content[: int(rng.integers(1, len(content)))] if number % 2 else content
    for _ in range(int(rng.integers(0, 6))):
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    try:
        assert sum(1 for _ in video_frames(bytes(content), fps=25)) < 60 * 25 * 5
        video_audio(bytes(content))
    except BadInput:
        pass
