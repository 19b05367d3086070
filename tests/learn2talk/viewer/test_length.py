from pathlib import Path

import numpy as np
import pytest
import soundfile

from learn2talk.viewer.length import refuse_long
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.video_file import write_video


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".mp4"])
def test_a_sound_that_is_too_long_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"long{suffix}"
    if suffix == ".mp4":
        write_video(path, np.zeros((70, 16, 16, 3), np.uint8), 1, audio=np.zeros(70 * 16000, np.float32))
    else:
        soundfile.write(path, np.zeros(70 * 8000), 8000)
    refuse_long(path, 75)
    with pytest.raises(BadInput, match=rf"long{suffix}: expected up to 65 s of sound, found more\. Cut it"):
        refuse_long(path, 65)


def test_what_is_no_sound_is_left_to_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("hello")
    refuse_long(path, 1)
    with pytest.raises(BadInput, match="a\\.wav: expected a sound file that libsndfile or ffmpeg reads"):
        read_sound(path)
