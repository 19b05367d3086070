"""A trained model as a folder for publication: weights, their origin, their scores, and a model card.

A stage's output must have the same bytes for the same code, data and seed, so it cannot contain the commit, with which
it would change every time. The commit is added here, and checked: `dvc.lock` identifies each model by the hash of its
content, together with the parameters, code and data that made it.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from learn2talk_core.run.config import read_yaml
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.own_folder import PACK, check_own, own_folder
from learn2talk_core.run.paths import CORPUS, COST, EVALUATION, METRICS, MODELS, SPEECH, STUDENTS, TALKING_VIDEO
from learn2talk_core.run.weights import halve_files, write_origin

ABOUT = {
    "students": "A student of Learn2Talk's pipeline: speech in, 3D face motion out.",
    "speech_encoder": "Speech encoder, wav2vec 2.0 or Whisper's: speech in, features out.",
    "teacher": "Wav2Lip and its lip-sync expert: a face and speech in, a talking face out.",
    "lipreader": "Lip reader: mouth images in, phonemes or text out.",
    "phoneme_head": "A phoneme recogniser on the packaged speech encoder: speech in, English phonemes with times out.",
    "syncnet3d": "SyncNet3D: measures whether the 3D motion of a mouth and speech are in sync.",
}
LOADING = {  # module, code that loads the model
    "students": ("students.loading", 'student, speakers = load_student("FOLDER", made_by="a download")'),
    "speech_encoder": ("speech_encoders.loading", 'encoder = load_speech_encoder("FOLDER")'),
    "teacher": ("wav2lip", 'generator, inputs = load_generator("FOLDER")'),
    "lipreader": ("lipreader", 'reader, head = load_lipreader("FOLDER")'),
    "phoneme_head": ("phoneme_head", 'model = load_recogniser(encoder, "FOLDER", made_by="a download")'),
    "syncnet3d": ("syncnet3d", 'syncnet = load_syncnet3d("FOLDER")'),
}
PARAMETER = {  # the parameter that names such a folder
    "speech_encoder": "experts.speech_encoder",
    "teacher": "experts.teacher",
    "lipreader": "experts.lipreader_loss",
    "phoneme_head": "experts.phoneme_head",
}
FILMS = "talking_video.json"  # in `metrics/`: what the 2D corpus contains


def pack(model: str, out: str | Path, project: str | Path = ".", *, half: bool = False) -> None:
    """Copy a model that a finished run of the pipeline made, with its origin and its scores.

    `out` then holds the model's own files; `learn2talk.json` with commit, cost, parameters, data, scores and checksums;
    and `README.md`, the model card made from it. The folder can be pushed to a hub unchanged, and every parameter that
    names a checkpoint accepts it.

    Args:
        model: the model's folder, `data/models/NAME` or `data/models/NAME/ROLE`.
        out: the new folder; one that was packed before is replaced.
        project: the folder with `dvc.lock`.
        half: store the weights in half precision (`run.weights.halved`).

    Raises:
        BadInput: not the model that `dvc.lock` describes, or `out` exists and was not made by this command.
    """
    check_own(out, PACK)
    project = Path(project)
    folder = project / model
    stages = _lock(project)
    stage, entry = _made_by(stages, model)
    found = content_hash(folder) if folder.is_dir() else None
    expected = next(out["md5"] for out in entry["outs"] if out["path"] == model)
    if found != expected:
        raise BadInput(
            folder,
            expected=f"the model that dvc.lock describes ({expected})",
            found="nothing" if found is None else f"another one ({found})",
            fix=f"Make it, or update dvc.lock: dvc repro {stage}.",
        )
    about = {
        "model": model.removeprefix(f"{MODELS}/"),
        "commit": commit(project, expected, {d["path"]: d["md5"] for d in entry["deps"] if d["path"].endswith(".py")}),
        "content": expected,
        "parameters": dict(entry.get("params", {}).get("params.yaml", {})),
        "corpus": _corpus(project, entry),
        "films": _films(project, entry),
        "cost": _cost(project, stages[stage]),
        "metrics": dict(_metrics(project, stages, stage, model)),
    }
    heard = any(dep["path"] == SPEECH for dep in entry["deps"])  # synthetic, always made here
    if heard:
        about["data"] = "the synthetic speech of the films"
    made = about["corpus"] or about["films"] or {}
    own = heard or "embedded" in (made.get("recipe"), made.get("source"))
    about["licence"] = "mit" if own else "other"
    with own_folder(out, PACK) as partial:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        if half:
            halve_files(partial)
        write_card(partial, about)


def write_card(folder: str | Path, about: Mapping[str, Any]) -> None:
    """Make `folder` a packaged model: `learn2talk.json` (`run.weights.write_origin`) and the model card, `README.md`.

    Args:
        folder: with the model's own files, and nothing else.
        about: `model`, its kind or kind and name, such as "lipreader/loss"; `licence`, in the hub's spelling. Optional:
            `commit` as from `commit`; `source`, where its weights come from if they were not trained here; `data`, one
            sentence on what they were trained on; `corpus` and `films`, the data if made here; `cost` of the training,
            `seconds` and `peak_memory_mb`; `metrics` and `parameters`, nested names → numbers.
    """
    write_origin(folder, about)
    (Path(folder) / "README.md").write_text(model_card(about))


def content_hash(folder: str | Path) -> str:
    """DVC's hash of the content of a folder: the MD5 of the list of its files and their MD5s."""
    files = [(f.relative_to(folder), f) for f in Path(folder).rglob("*") if f.is_file()]
    rows = [
        {"md5": _md5(f.read_bytes()), "relpath": name.as_posix()}
        for name, f in sorted(files, key=lambda pair: pair[0].as_posix())
    ]
    return _md5(json.dumps(rows, sort_keys=True).encode()) + ".dir"


def commit(project: str | Path, content: str, code: Mapping[str, str]) -> dict[str, Any] | None:
    """The Git commit that added a model to `dvc.lock`; None outside of Git.

    Args:
        project: the folder with `dvc.lock`.
        content: the model's hash in `dvc.lock`.
        code: the source files that made it, and their MD5s in `dvc.lock`.

    Returns:
        `hash`; `dirty`: the model is not in any commit yet (then the hash is that of HEAD), or it was made with source
        files that differ from those of the commit.
    """

    def git(*words: str) -> bytes | None:
        try:
            done = subprocess.run(["git", *words], cwd=project, capture_output=True, check=False)
        except OSError:
            return None
        return done.stdout if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    if head is None:
        return None
    recorded = (git("log", f"-S{content}", "--format=%H", "--", "dvc.lock") or b"").split()
    found = (recorded[-1] if recorded else head.strip()).decode()
    made_of = {name: git("show", f"{found}:./{name}") for name in code}
    other = [name for name, text in made_of.items() if text is None or _md5(text) != code[name]]
    return {"hash": found, "dirty": bool(other) or not recorded}


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def model_card(about: Mapping[str, Any]) -> str:
    """The model card of a packaged model; see `write_card` for what `about` holds."""
    name = about["model"]
    kind = name.split("/")[0]
    lines = ["---", "library_name: learn2talk", f"license: {about['licence']}"]
    lines += ["tags:", "- talking-head", "- speech-driven-animation", "---"]
    lines += ["", f"# {name.replace('/', ', ')}", "", ABOUT.get(kind, ""), ""]
    if loading := LOADING.get(kind):
        module, call = loading
        function = call.partition(" = ")[2].partition("(")[0]
        lines += ["```python", f"from learn2talk_core.models.{module} import {function}", "", call, "```", ""]
    if kind in PARAMETER:
        lines += [f"In the pipeline: `dvc exp run -S {PARAMETER[kind]}=FOLDER`.", ""]
    lines += ["## Origin", "", *_origin(about)]
    for title, head, values in (("Scores", "number", "metrics"), ("Parameters", "parameter", "parameters")):
        if rows := dict(_flat(about.get(values) or {})):
            lines += ["", f"## {title}", "", *_table((head, "value"), rows)]
    lines += ["", "Units, protocols and definitions: `learn2talk.json` and the project's documentation.", ""]
    return "\n".join(lines)


def _origin(about: Mapping[str, Any]) -> Iterator[str]:
    if source := about.get("source"):
        yield f"- weights: {source}"
    if "commit" in about:
        yield f"- commit: {_commit_text(about['commit'])}"
    if data := about.get("data"):
        yield f"- data: {data}"
    if corpus := about.get("corpus"):
        numbers = f"{corpus['fps']:g} frames per second, {corpus['mm_per_unit']:g} mm per unit"
        yield f"- corpus: {corpus['recipe']}, {numbers}; training speakers {', '.join(corpus['train_speakers'])}"
    if films := about.get("films"):
        faces = ", ".join(f"{split['speakers']} in {name}" for name, split in films["splits"].items())
        yield f"- films: {films['source']}, {films['minutes']:.0f} minutes; faces: {faces}"
    if cost := about.get("cost"):
        yield f"- cost: {cost['seconds'] / 60:.0f} minutes, {cost['peak_memory_mb']:.0f} MB of memory"
    if about["licence"] == "other":
        yield "- licence: that of the training data; check it before you distribute the weights"


def _commit_text(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "unknown"
    return found["hash"] + (", with changes that this commit does not contain" if found["dirty"] else "")


def _lock(project: Path) -> dict[str, Any]:
    path = project / "dvc.lock"
    if not path.is_file():
        raise BadInput(path, expected="a finished run", found="nothing", fix="Run the pipeline first: make repro.")
    return read_yaml(path)["stages"]


def _made_by(stages: Mapping[str, Any], model: str) -> tuple[str, dict[str, Any]]:
    for name, entry in stages.items():
        if any(out["path"] == model for out in entry.get("outs", [])):
            return name, entry
    known = sorted(out["path"] for e in stages.values() for out in e.get("outs", []) if out["path"].startswith(MODELS))
    raise BadInput(model, expected=f"one of {', '.join(known)}", found="another folder", fix="Name one of them.")


def _corpus(project: Path, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """A description of the corpus; None if the model was not made from it or the corpus has changed since."""
    used = next((dep["md5"] for dep in entry.get("deps", []) if dep["path"] == CORPUS), None)
    if used is None or not (project / CORPUS).is_dir() or content_hash(project / CORPUS) != used:
        return None
    header = read_json(project / CORPUS / "corpus.json", made_by="dvc repro corpus")
    return {key: header[key] for key in ("recipe", "fps", "mm_per_unit", "train_speakers", "storage")} | {
        "content": used
    }


def _films(project: Path, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the stage talking_video says about its films; None if the model was not made from them."""
    used = any(dep["path"] == TALKING_VIDEO for dep in entry.get("deps", []))
    path = project / METRICS / FILMS
    return read_json(path, made_by="dvc repro talking_video") if used and path.is_file() else None


def _cost(project: Path, entry: Mapping[str, Any]) -> dict[str, float] | None:
    """Time and memory of the stage, as it wrote them."""
    for out in entry["outs"]:
        path = project / out["path"]
        if out["path"].startswith(f"{COST}/") and path.is_file():
            return next(iter(read_json(path, made_by="dvc repro").values()))
    return None


def _metrics(project: Path, stages: Mapping[str, Any], stage: str, model: str) -> Iterator[tuple[str, Any]]:
    """The stage's own metrics, and for a student its rows of the evaluation, if that judged the current students."""

    def unchanged(name: str, out: Mapping[str, Any]) -> bool:
        path = project / name
        return path.is_file() and _md5(path.read_bytes()) == out["md5"]

    named = f"{METRICS}/{model.removeprefix(f'{MODELS}/')}.json"  # of a stage that makes several models
    outs = [out for out in stages[stage]["outs"] if out["path"] == named] or stages[stage]["outs"]
    for out in outs:
        name = out["path"]
        own = name.startswith(f"{METRICS}/") and not name.startswith(COST) and name.endswith(".json")
        if own and unchanged(name, out):
            yield "training", json.loads((project / name).read_text())
    row = Path(model).name if Path(model).parent.name == "students" else None
    judged = [dep["md5"] for dep in stages.get("predict", {}).get("deps", []) if dep["path"] == STUDENTS]
    same = row is not None and judged == [content_hash(project / STUDENTS)]
    for out in stages.get("evaluate", {}).get("outs", []):
        if same and out["path"] == EVALUATION and unchanged(out["path"], out):
            found = json.loads((project / out["path"]).read_text())
            for test in (test for test in ("seen", "unseen") if row in found.get(test, {})):
                yield test, {key: value for key, value in found[test][row].items() if key != "styles"}
            yield "protocol", found["protocol"]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in ("protocol", "interval"):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _table(head: tuple[str, str], rows: Mapping[str, Any]) -> list[str]:
    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return [f"| {head[0]} | {head[1]} |", "|---|---:|", *(f"| {key} | {text(value)} |" for key, value in rows.items())]
