import io
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from learn2talk_core.audio import sound
from learn2talk_core.audio.mono import Limit, Mixer
from learn2talk_core.audio.sound import checked_wave, mono_pieces, read_sound, resampled
from learn2talk_core.audio.waveform import SAMPLE_RATE, resample, write_wave
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.video_file import write_video
from tests.audio.sounds import encoded, written


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
    np.testing.assert_array_equal(found, resample(wave, rate))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_of_libsndfile(tmp_path: Path, suffix: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "PIECE", 0.3)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([tone(44100), 0.5 * tone(44100)][:channels], 1), 44100)
    wave = read_sound(path)
    assert wave.dtype == np.float32
    assert abs(len(wave) - SAMPLE_RATE) < 0.1 * SAMPLE_RATE  # MP3 pads the last frame
    assert level(wave[800:15200]) == pytest.approx(0.5 if channels == 1 else 0.375, abs=0.03)
    whole, rate = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(wave, resample(whole.mean(axis=1), rate))


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


def decoded(wave: np.ndarray, rate: int, layout: str) -> av.AudioFrame:
    channels = {"mono": 1, "stereo": 2, "5.1": 6, "hexadecagonal": 16}[layout]
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[None], format="flt", layout=layout)
    frame.sample_rate = rate
    return frame


def test_rate_and_channels_may_change_on_the_way() -> None:
    parts = [(48000, "mono"), (48000, "stereo"), (44100, "stereo"), (16000, "5.1"), (16000, "hexadecagonal")]
    wave = np.concatenate(
        list(mono_pieces((decoded(tone(rate), rate, layout) for rate, layout in parts), Mixer(), "film"))
    )
    assert wave.dtype == np.float32
    assert abs(len(wave) - 5 * SAMPLE_RATE) < 100
    for second in range(5):
        part = wave[second * SAMPLE_RATE + 800 : (second + 1) * SAMPLE_RATE - 800]
        assert level(part) == pytest.approx(0.5, abs=0.01)
        assert np.abs(part).max() < 0.51


def test_a_rate_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(BadInput, match="film: expected a sample rate of 1000 to 768000 Hz, found 1\\."):
        list(mono_pieces([decoded(tone(16000), 1, "mono")], Mixer(), "film"))


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
        (wav_bytes(np.zeros(8000)), "expected speech, found silence. Check the microphone"),
        (wav_bytes(tone(16000), 900), "expected a sample rate of 1000 to 768000 Hz, found 900."),
        (wav_bytes(tone(16000), 2**31 - 1), "expected a sample rate of 1000 to 768000 Hz, found 2147483647."),
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
    with pytest.raises(BadInput, match=r"cut short|an incomplete file"):
        read_sound(flac)
    film = tmp_path / "film.mp4"
    write_video(film, np.zeros((5, 16, 16, 3), np.uint8), 25)
    with pytest.raises(BadInput, match="found a file without sound"):
        read_sound(film)


def test_silence_may_be_taken_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_wave(tmp_path / "pause.wav", np.zeros(2000))
    assert not read_sound(tmp_path / "pause.wav", allow_silence=True).any()
    assert "pause.wav: silent" in caplog.text


def test_arrays_are_checked_and_clipped() -> None:
    assert checked_wave(np.full(2000, 16384, np.int16)).tolist() == [0.5] * 2000
    assert checked_wave(np.full(2000, 3.0)).max() == 1
    with pytest.raises(BadInput, match=r"wave: expected one channel \(samples,\), found an array \(2, 9\)"):
        checked_wave(np.zeros((2, 9), np.float32))
    with pytest.raises(BadInput, match="expected float or int16 samples, found int64"):
        checked_wave(np.zeros(9, np.int64))


def test_a_small_file_of_many_hours_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    path = tmp_path / "hours.flac"
    with soundfile.SoundFile(path, "w", 1000, 1, "PCM_16") as file:
        for _ in range(20):
            file.write(np.zeros(1_000_000, np.int16))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(
            BadInput, match=r"hours.flac: expected up to 1 h of sound in a file of its size, found more"
        ):
            read_sound(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["flac", "mp3", "aac", "m4a"])
def test_a_caller_may_take_less(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind, encoded(kind))
    with pytest.raises(BadInput, match=r"Ann's: expected half a second, found more\. Cut it\."):
        read_sound(path, limit=Limit(0.5, "half a second", "Cut it."), name="Ann's")
    assert len(read_sound(path, limit=Limit(1.5, "", ""))) >= 16000


@pytest.mark.parametrize("name", ["take:2", "concat:x", "file:a", "pipe:0"])
def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.m4a").write_bytes(encoded("m4a"))
    assert len(read_sound(f"{name}.m4a")) >= 16000


def test_adts_whose_length_ffmpeg_guesses_is_not_cut_short(tmp_path: Path) -> None:
    """Silence first: the guess is based on the bit rate of the first frames."""
    wave = np.concatenate([np.zeros(32000, np.float32), tone(16000)])
    path = written(tmp_path, "aac", encoded("aac", wave[::-1].copy()) + encoded("aac", wave))
    assert abs(len(read_sound(path)) - 2 * len(wave)) < 5000
