"""Video files: H.264 and AAC in MP4, through PyAV, whose wheel includes ffmpeg."""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from learn2talk_core.audio.mono import HOUR, LONGEST, Mixer, limit_of, read_mono
from learn2talk_core.audio.sound import for_ffmpeg, mono_pieces
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

X264 = {"preset": "veryfast", "bf": "0", "x264-params": "b-adapt=0:scenecut=0:weightp=0:mbtree=0:rc-lookahead=0"}
LONGEST_PICTURE = 60.0  # maximum seconds for which one frame is shown
FRAMES, BYTES = 15_000, 4  # frames that any file may have, and bytes per frame above; still ones in H.264 take 14
LARGEST = 2**26  # maximum pixels of a frame: twice as many as 8K


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, audio: np.ndarray | None = None, *, qp: int = 20
) -> None:
    """Write an MP4 file; see `encode_video`. The file appears only when it is complete."""
    with whole_file(path) as partial, open(partial, "wb") as file:
        _encode(file, frames, fps, audio, qp)


def encode_video(frames: Iterable[np.ndarray], fps: float, audio: np.ndarray | None = None, *, qp: int = 20) -> bytes:
    """MP4 bytes of a video; the same input gives the same bytes.

    Args:
        frames: uint8 RGB frames (H, W, 3), H and W even, an array (T, H, W, 3) or any iterable.
        fps: frames per second.
        audio: float32 samples in [-1, 1] at 16 kHz, mono, or None for a video without sound.
        qp: x264's quantiser for all frames: 0 is almost lossless, 20 hardly visible loss, 30 small files.
    """
    buffer = io.BytesIO()
    _encode(buffer, frames, fps, audio, qp)
    return buffer.getvalue()


def read_video(source: str | Path | bytes, *, name: str = "video") -> tuple[np.ndarray, Fraction, np.ndarray | None]:
    """Decode a whole video.

    Args:
        source: a file, or the bytes of one.
        name: name of the video in errors when `source` is bytes.

    Returns:
        frames uint8 (T, H, W, 3) RGB, frames per second, and the sound as float32 (N,) at 16 kHz mono, or None.
    """
    fps = video_rate(source, name=name)
    return np.stack(list(video_frames(source, name=name))), fps, video_audio(source, name=name)


def video_rate(source: str | Path | bytes, *, name: str = "video") -> Fraction:
    """Average frames per second."""
    with _opened(source, name) as container:
        stream = container.streams.video[0]
        return _rate(stream)


def video_frames(source: str | Path | bytes, *, fps: float | None = None, name: str = "video") -> Iterator[np.ndarray]:
    """Decode frame by frame: uint8 (H, W, 3) RGB, upright.

    With `fps`, frame t is the one shown t / fps seconds after the first one, whatever the file's own frame rate,
    constant or variable. Without it, every frame of the file is given once.

    The number of frames, in the file and given, is limited by the file's size, so that a small file cannot take a
    disproportionate amount of time: any file may have 15,000 frames (10 minutes at 25 fps), and more if it has at least
    4 bytes per frame. Even films of a still picture have more. With `fps`, a film may last 12 hours.

    Raises:
        BadInput: no video, or a truncated one; frames without times or with more than `LARGEST` pixels; more frames
            than the size of the file allows; with `fps`, a frame that is shown for longer than `LONGEST_PICTURE` or
            after `LONGEST`.
    """
    with _opened(source, name) as container:
        stream = container.streams.video[0]
        seconds_each = float(1 / _rate(stream))
        most = max(FRAMES, _size(source) // BYTES)
        image, given, start, time, end = None, 0, 0.0, 0.0, 0.0
        colours = VideoReformatter()  # one for all frames: each new one costs several times what it does for a frame
        for decoded, frame in enumerate(_decoded(container, stream, source, name)):
            if decoded >= most:
                raise _too_many(source, name, most)
            if frame.time is None:
                raise _unreadable(source, name, "frames without time stamps")
            start = frame.time if image is None else start
            before, time = time, frame.time - start
            if fps is not None:
                _refuse_gap(source, name, max(time - before, seconds_each), time)
            # The previous frame is the nearest one for times up to half-way between the two.
            while fps is not None and image is not None and given / fps < time - seconds_each / 2:
                if given >= most:
                    raise _too_many(source, name, most)
                yield image
                given += 1
            image, end = _upright(frame, colours, source, name), time + seconds_each
            if fps is None:
                yield image
        told = _seconds(stream, stream.duration)
        if image is None or end + seconds_each < told:
            raise _unreadable(source, name, f"{end:.2f} s of frames, but {told:.2f} s in its header")
        while fps is not None and given < max(1, round(fps * end)):
            yield image
            given += 1


def video_audio(source: str | Path | bytes, *, name: str = "video") -> np.ndarray | None:
    """The sound as float32 (N,) at 16 kHz, mixed to mono as in `read_sound`; sample 0 is at the first frame's time.

    None if there is no sound track.
    """
    with _opened(source, name) as container:
        if not container.streams.audio:
            return None
        video_start = _seconds(container.streams.video[0], container.streams.video[0].start_time)
        first = next(_decoded(container, container.streams.audio[0], source, name), None)
    start = (first.time or 0.0) if first else 0.0
    late = round((start - video_start) * SAMPLE_RATE)
    where = name if isinstance(source, bytes) else source
    limit = limit_of(_size(source))
    limit.refuse(late / SAMPLE_RATE, where)

    def read(mixer: Mixer) -> Iterator[np.ndarray]:
        with _opened(source, name) as container:
            yield from mono_pieces(_decoded(container, container.streams.audio[0], source, name), mixer, where)

    audio = read_mono(read, limit, where)
    return np.concatenate([np.zeros(late, np.float32), audio]) if late > 0 else audio[-late:]


def _encode(file: io.IOBase, frames: Iterable[np.ndarray], fps: float, audio: np.ndarray | None, qp: int) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    # bitexact omits library versions and dates. x264 is deterministic only without its half-size look-ahead, which
    # reads uninitialised memory: a constant quantiser without detection of cuts, fades and B-frames does not need it.
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        frames = iter(frames)
        first = next(frames)
        height, width = first.shape[:2]
        if height % 2 or width % 2:
            raise ValueError(f"H.264 in 4:2:0 needs even sizes, not {width} x {height}")
        video = container.add_stream("libx264", rate=rate, options={**X264, "qp": str(qp)})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.thread_count = 1
        if audio is not None:
            sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"flags": "+bitexact"})
            sound.bit_rate = 64000
        written = 0
        for index, image in enumerate(chain([first], frames)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(video.encode(frame))
            if audio is not None:
                # Sound up to the end of this frame, so that the muxer never buffers more than one frame.
                written = _encode_sound(container, sound, audio, written, int((index + 1) / rate * SAMPLE_RATE))
        container.mux(video.encode(None))
        if audio is not None:
            _encode_sound(container, sound, audio, written, len(audio))
            container.mux(sound.encode(None))


def _encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, audio: np.ndarray, start: int, end: int
) -> int:
    samples = np.ascontiguousarray(audio[start:end], np.float32)
    if len(samples):
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
    return start + len(samples)


def _rate(stream: av.VideoStream) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def _seconds(stream: av.VideoStream, ticks: int | None) -> float:
    return float((ticks or 0) * (stream.time_base or 0))


def _upright(frame: av.VideoFrame, colours: VideoReformatter, source: object, name: str) -> np.ndarray:
    """The frame rotated as the file says: phones store frames lying on their side, with the rotation as metadata."""
    if frame.width * frame.height > LARGEST:
        raise _unreadable(source, name, f"frames of {frame.width} x {frame.height}, more than {LARGEST} pixels")
    try:
        pixels = colours.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return np.rot90(pixels, round(frame.rotation / 90))
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(source, name, f"broken data ({error})") from error


def _refuse_gap(source: object, name: str, shown: float, time: float) -> None:
    """Refuse a frame that is shown for too long: a few bytes can claim that one is shown for a year."""
    if shown > LONGEST_PICTURE or time > LONGEST:
        found = f"one shown for {shown:.4g} s, {time:.4g} s after the first"
        expected = f"a new frame every {LONGEST_PICTURE:g} s at least, for {LONGEST / HOUR:g} h at most"
        raise BadInput(
            name if isinstance(source, bytes) else source, expected=expected, found=found, fix="Cut the video."
        )


def _too_many(source: object, name: str, most: int) -> BadInput:
    where = name if isinstance(source, bytes) else source
    fix = f"Cut it: any file may have {FRAMES} frames, and more if it has at least {BYTES} bytes per frame."
    return BadInput(where, expected=f"at most {most} frames in a file of its size", found="more", fix=fix)


def _size(source: str | Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else Path(source).stat().st_size


def _decoded(container: av.container.InputContainer, stream: av.stream.Stream, source: object, name: str) -> Iterator:
    if stream.codec_context is None:
        raise _unreadable(source, name, f"{stream.type} in a codec that ffmpeg does not know")
    stream.codec_context.thread_count = 1
    try:
        yield from container.decode(stream)
    except av.FFmpegError as error:
        raise _unreadable(source, name, f"broken data ({error.strerror})") from error


def _opened(source: str | Path | bytes, name: str) -> av.container.InputContainer:
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise BadInput(source, expected="a video file", found="no such file", fix="Correct the path.")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else for_ffmpeg(source)
        container = av.open(file, "r", metadata_errors="replace")
    except av.FFmpegError as error:
        raise _unreadable(source, name, f"another format, or a truncated file ({error.strerror})") from error
    if not container.streams.video:
        container.close()
        raise _unreadable(source, name, "no video stream")
    return container


def _unreadable(source: object, name: str, found: str) -> BadInput:
    where = name if isinstance(source, bytes) else source
    return BadInput(
        where,
        expected="a complete video that ffmpeg can read",
        found=found,
        fix="Copy it again from its source, or leave it out.",
    )
