from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from learn2talk_core.audio.mono import Limit, Mixer, limit_of, read_mono
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.video_file import video_audio, write_video
from tests.audio.sounds import tone


def noise(seed: int, count: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


VOICE = tone()
STEREO: dict[str, tuple[list[np.ndarray], int | None]] = {  # channels, and which is used; None: either
    "opposite": ([VOICE, -VOICE], 0),
    "opposite, the right one louder": ([0.8 * VOICE, -VOICE], 1),
    "opposite with noise": ([VOICE + 0.01 * noise(1), -VOICE + 0.01 * noise(2)], None),
    "opposite with an offset": ([VOICE + 0.1, 0.1 - VOICE], None),
    "three of them": ([VOICE, -0.5 * VOICE, -0.5 * VOICE], 0),
}
KEPT = {
    "the same": [VOICE, VOICE],
    "independent": [noise(1) / 8, noise(2) / 8],
    "one is silent": [VOICE, 0 * VOICE],
    "one alone of six": [VOICE, *[0 * VOICE] * 5],
    "opposite, half as loud": [VOICE, -0.5 * VOICE],
    "wide": [VOICE + noise(1) / 4, VOICE - noise(1) / 4],
}


@pytest.mark.parametrize("name", STEREO)
def test_channels_that_cancel_are_not_averaged(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    channels, taken = STEREO[name]
    soundfile.write(tmp_path / "a.wav", np.stack(channels, 1), 16000, subtype="FLOAT")
    wave = read_sound(tmp_path / "a.wav")
    given = [np.clip(channel, -1, 1) for channel in channels]
    if taken is None:
        assert any(np.array_equal(wave, channel) for channel in given)
    else:
        np.testing.assert_array_equal(wave, given[taken])
        assert f"a.wav: its channels cancel each other in their mean; channel {taken + 1} is used" in caplog.text


@pytest.mark.parametrize("name", KEPT)
def test_other_channels_are(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    block = np.stack(KEPT[name], 1).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", block, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(read_sound(tmp_path / "a.wav"), np.clip(block.mean(axis=1), -1, 1))
    assert not caplog.text


def test_a_films_sound_is_treated_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "film.mp4"
    write_video(path, np.zeros((25, 16, 16, 3), np.uint8), 25, VOICE)
    with av.open(str(path)) as silent, av.open(str(tmp_path / "two.mkv"), "w") as film:
        video = film.add_stream_from_template(silent.streams.video[0])
        sound = film.add_stream("pcm_s16le", rate=16000, layout="stereo")
        for packet in silent.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                film.mux(packet)
        block = np.round(32767 * np.stack([VOICE, -VOICE], 1)).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
        frame.sample_rate = 16000
        film.mux(sound.encode(frame))
        film.mux(sound.encode(None))
    wave = video_audio(tmp_path / "two.mkv")
    assert wave is not None
    assert np.abs(wave - VOICE).max() < 1e-4
    assert "two.mkv: its channels cancel each other" in caplog.text


def test_what_is_too_long_is_refused_before_it_is_all_read() -> None:
    def endless(mixer: Mixer) -> Iterator[np.ndarray]:
        while True:
            yield mixer.mono(np.zeros((1, 16000), np.float32))

    with pytest.raises(BadInput, match=r"speech: expected up to 2 s, found more\. Cut it\."):
        read_mono(endless, Limit(2, "up to 2 s", "Cut it."), "speech")


@pytest.mark.parametrize(("size", "hours"), [(1000, 1), (1_800_000, 1), (18_000_000, 10), (10**10, 12)])
def test_small_files_may_hold_an_hour_and_others_twelve(size: int, hours: int) -> None:
    limit = limit_of(size)
    assert limit.seconds == 3600 * hours
    assert limit.expected == f"up to {hours} h of sound in a file of its size"
