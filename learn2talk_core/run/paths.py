"""Where a run keeps its data, models and results: paths relative to the project root, the working directory.

dvc.yaml names the same paths as the outputs of its stages.
"""

DATA = "data"
CORPUS = "data/corpus"  # the 3D speech corpus
TALKING_VIDEO = "data/talking_video"  # the 2D corpus
TEACHER_VIDEO = "data/teacher_video"
MOUTHS = "data/mouths"
TEACHER_FEATURES = "data/teacher_features"
PREDICTED = "data/predicted"  # a folder for each student
REPORT = "data/report"

MODELS = "data/models"
SPEECH_ENCODER = "data/models/speech_encoder"
LIPREADER = "data/models/lipreader"  # a folder for each role: loss, metric
SYNCNET3D = "data/models/syncnet3d"  # likewise
TEACHER = "data/models/teacher"
SYNC_EXPERT = "data/models/teacher/sync_expert"
STUDENTS = "data/models/students"  # a folder for each student
AVATARS = "data/models/avatars"  # a folder for each avatar
STUDENT = "data/models/students/learn2talk"  # the default of the commands

METRICS = "metrics"
CURVES = "metrics/curves"
PLOTS = "metrics/plots"
COST = "metrics/cost"
EVALUATION = "metrics/evaluate.json"
SUMMARY = "metrics/summary.json"

OUT = "out"  # the default output folder of the commands
