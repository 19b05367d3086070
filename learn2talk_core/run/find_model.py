"""Which student a command uses: one of the last run in the working directory, or one of the installed package."""

from pathlib import Path

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, visible
from learn2talk_core.run.paths import PACKAGED_STUDENTS, STUDENT, STUDENTS


def find_model(model: str | Path | None = None) -> Path:
    """The folder or file of a student.

    Args:
        model: a path; or the name of a student, of the last run in the working directory or else of this package. None
            is the default student of the last run, or if there is none, that of this package.

    Raises:
        BadInput: nothing at this path, and no student of this name; the message lists those that there are.
    """
    packaged = PACKAGED_STUDENTS / Path(STUDENT).name
    if model is None:
        path = packaged if packaged.is_dir() and not Path(STUDENT).exists() else Path(STUDENT)
    else:
        path = Path(model)
    if path.is_file() or (path / "model.json").is_file():
        return path
    places = [place for place in (Path(STUDENTS), PACKAGED_STUDENTS) if place.is_dir()]
    named = [place / path for place in places if len(path.parts) == 1 and (place / path).is_dir()]
    if named:  # before a folder that is no model: this project has one that is named like its student
        return named[0]
    if path.exists():
        return path  # its reader says what it lacks
    if len(path.parts) != 1:
        raise missing(path / "model.json", "make repro")
    known = sorted({folder.name for place in places for folder in visible(place)})
    expected = "a folder, a file, or the name of a student" + (f": {', '.join(known)}" if known else "")
    raise BadInput(path, expected=expected, found="nothing", fix="Make one: make repro.")
