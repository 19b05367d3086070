"""Settings of the teacher's videos: group `teacher_video` of params.yaml."""

from dataclasses import dataclass
from typing import Literal

from learn2talk_core.run.clip_map import Backend
from learn2talk_core.run.config import shared
from learn2talk_core.teacher.command import Command


@dataclass(frozen=True)
class TeacherVideo:
    """Settings of the teacher: which one makes the videos, from which still images, for which clips."""

    kind: Literal["wav2lip", "videos", "command"]
    hears: str
    stills: str
    still: str
    test_clips: int
    face: Literal["still", "landmarks"]
    videos: str
    command: Command
    threads: int
    workers: int
    parallel: Backend = shared()
