import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from learn2talk_core.audio import sound
from learn2talk_core.audio.sound import checked_wave, read_sound, resampled
from learn2talk_core.audio.waveform import SAMPLE_RATE, read_wave, resample
from learn2talk_core.corpus.video_file import write_video
from learn2talk_core.errors import BadInput


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def level(wave: np.ndarray, hertz: float = 440) -> float:
    """Amplitude of a tone, by its projection."""
    time = np.arange(len(wave)) / SAMPLE_RATE
    return float(2 * abs(np.mean(wave * np.exp(-2j * np.pi * hertz * time))))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("length", [1, 2000, 100_003])
def test_pieces_are_resampled_as_the_whole(rate: int, length: int) -> None:
    wave = np.random.default_rng(rate).normal(size=length).astype(np.float32)
    cuts = np.sort(np.random.default_rng(length).integers(0, length, 7))
    found = np.concatenate(list(resampled(np.split(wave, cuts), rate)))
    np.testing.assert_allclose(found, resample(wave, rate), atol=1e-5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_of_libsndfile(tmp_path: Path, suffix: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "PIECE", 0.3)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone(44100), tone(44100)][:channels], 1), 44100)
    wave = read_sound(path)
    assert wave.dtype == np.float32
    assert abs(len(wave) - SAMPLE_RATE) < 0.1 * SAMPLE_RATE  # MP3 adds what fills its last frame
    assert level(wave[800:15200]) == pytest.approx(0.5, abs=0.03)
    if suffix == "wav":
        np.testing.assert_allclose(wave, read_wave(path), atol=1e-5)


@pytest.mark.parametrize("kind", ["m4a", "mp4"])
def test_formats_of_ffmpeg(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"tone.{kind}"
    if kind == "mp4":
        write_video(path, np.zeros((25, 16, 16, 3), np.uint8), 25, tone(16000))
    else:
        with av.open(str(path), "w", format="ipod") as container:
            stream = container.add_stream("aac", rate=48000, layout="stereo")
            frame = av.AudioFrame.from_ndarray(np.stack([tone(48000)] * 2), format="fltp", layout="stereo")
            frame.sample_rate = 48000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    wave = read_sound(path)
    assert abs(len(wave) - SAMPLE_RATE) < 0.15 * SAMPLE_RATE
    assert level(wave[3200:14400]) == pytest.approx(0.5, abs=0.05)


def wav_bytes(samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "expected a sound file, found nothing. Check the path."),
        (b"", "expected sound, found an empty file."),
        (b"This is a text, and not a sound.\n" * 40, "expected a sound file that libsndfile or ffmpeg reads, found"),
        (wav_bytes(tone(16000))[:20000], "the file is cut short"),
        (wav_bytes(tone(16000))[:30], "the file is cut short"),
        (wav_bytes(np.zeros(0, np.float32)), "expected at least 0.1 s of sound, found 0.000 s of it"),
        (wav_bytes(tone(16000, 0.05)), "expected at least 0.1 s of sound, found 0.050 s of it"),
        (wav_bytes(np.full(8000, np.nan, np.float32), subtype="FLOAT"), "expected finite samples, found NaN"),
        (wav_bytes(np.full(8000, np.inf, np.float32), 44100, "FLOAT"), "expected finite samples, found NaN"),
    ],
)
def test_what_is_no_sound_is_refused(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "speech.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match="speech\\.wav: ") as refused:
        read_sound(path)
    assert text in str(refused.value)


def test_a_truncated_flac_and_a_silent_film_are_refused(tmp_path: Path) -> None:
    flac = tmp_path / "speech.flac"
    noise = 0.1 * np.random.default_rng(0).normal(size=48000)
    soundfile.write(flac, noise, 16000)
    flac.write_bytes(flac.read_bytes()[:20000])
    with pytest.raises(BadInput, match=r"cut short|a part of one"):
        read_sound(flac)
    film = tmp_path / "film.mp4"
    write_video(film, np.zeros((5, 16, 16, 3), np.uint8), 25)
    with pytest.raises(BadInput, match="found a file without sound in it"):
        read_sound(film)


def test_silence_is_taken_with_a_warning_and_loudness_is_clipped(caplog: pytest.LogCaptureFixture) -> None:
    assert not checked_wave(np.zeros(2000, np.int16), "this").any()
    assert "this: silent" in caplog.text
    assert checked_wave(np.full(2000, 3.0)).max() == 1
    with pytest.raises(BadInput, match=r"wave: expected one channel \(samples,\), found an array \(2, 9\)"):
        checked_wave(np.zeros((2, 9), np.float32))
    with pytest.raises(BadInput, match="expected float or int16 samples, found int64"):
        checked_wave(np.zeros(9, np.int64))


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])
def test_a_sound_that_is_too_long_is_refused_before_all_of_it_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long{suffix}"
    soundfile.write(path, np.zeros(70 * 8000), 8000)
    assert len(read_sound(path, longest=75)) == pytest.approx(70 * 16000, rel=0.01)
    with pytest.raises(BadInput, match=f"long{suffix}: expected up to 65 s of sound, found more"):
        read_sound(path, longest=65)
