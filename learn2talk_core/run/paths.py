"""Where a run keeps its data, models and results: paths relative to the project root, the working directory.

dvc.yaml names the same paths as the outputs of its stages; pretraining/dvc.yaml too, relative to that folder.
"""

from pathlib import Path

DATA = "data"
CORPUS = "data/corpus"  # the 3D speech corpus
TALKING_VIDEO = "data/talking_video"  # the 2D corpus
TEACHER_VIDEO = "data/teacher_video"
SPEECH = "data/speech"  # the speech of the 2D corpus, made in pretraining/
MOUTHS = "data/mouths"
TEACHER_FEATURES = "data/teacher_features"
PREDICTED = "data/predicted"  # a folder for each student
REPORT = "data/report"
NETWORK_NAMES = "data/network_names.json"  # those that params.yaml names are known

MODELS = "data/models"
SPEECH_ENCODER = "data/models/speech_encoder"
PHONEME_HEAD = "data/models/phoneme_head"  # phoneme recogniser on the speech encoder
LIPREADER = "data/models/lipreader"  # a folder for each role: loss, metric
SYNCNET3D = "data/models/syncnet3d"  # likewise
TEACHER = "data/models/teacher"
SYNC_EXPERT = "data/models/sync_expert"  # of the teacher, to score videos
MOTION_PRIOR = "data/models/motion_prior"  # a folder for each network
STUDENTS = "data/models/students"  # a folder for each student
AVATARS = "data/models/avatars"  # a folder for each avatar
AVATAR_REPORTS = "data/avatar_reports"  # a folder for each avatar
STUDENT = "data/models/students/learn2talk"  # the default of the commands, if the package has none

METRICS = "metrics"
CURVES = "metrics/curves"
PLOTS = "metrics/plots"
COST = "metrics/cost"
EVALUATION = "metrics/evaluate.json"
SUMMARY = "metrics/summary.json"

OUT = "out"  # the default output folder of the commands

CHARACTERS = Path(__file__).parents[1] / "animation" / "characters"  # one file each, part of the installed package
PACKAGED = Path(__file__).parents[1] / "checkpoints" / "packaged"  # part of the installed package
PACKAGED_CORPUS = PACKAGED / "corpus"  # faces and voices of the packaged students
PACKAGED_STUDENTS = PACKAGED / "students"  # a folder for each
PACKAGED_SPEECH_ENCODER = PACKAGED / "speech_encoder"  # as published, which the phoneme head reads
PACKAGED_PHONEME_HEAD = PACKAGED / "phoneme_head"
PACKAGED_SYNCNET3D = PACKAGED / "syncnet3d"  # the one of the metric

NOTHING = "weights/none"  # a file that stands for null in parameters whose content DVC watches


def is_nothing(path: str | Path) -> bool:
    """Whether a parameter names `NOTHING`, from any folder of the project."""
    return Path(path).parts[-2:] == Path(NOTHING).parts


def corpus_of(model: str | Path, corpus: str | Path | None) -> str | Path | None:
    """The corpus to use a model with: the packaged one for a packaged model, unless `corpus` is not the default."""
    return PACKAGED_CORPUS if corpus == CORPUS and PACKAGED in Path(model).parents else corpus
