"""The main guarantee of the pipeline: a change reruns every stage that depends on it, and no other stage."""

import ast
import dataclasses
import importlib
import re
import typing
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from learn2talk_core.run.imports import closure, imports
from learn2talk_core.run.networks import network_names
from scripts.code_deps import PIPELINES, code_of

ROOT = Path(__file__).parents[1]
PARAMS = {folder: YAML(typ="safe").load((ROOT / folder / "params.yaml").read_text()) for folder in PIPELINES}
FIRST_PARTY = ("stages", "learn2talk_core")
# The packages that each package of the library may import. A new package needs a line here.
ARROWS = {
    "run": set(),
    "statistics": set(),
    "losses": set(),
    "untrusted": {"run"},
    "audio": {"run"},
    "mesh": {"run", "untrusted"},
    "render": {"run", "mesh"},
    "corpus": {"run", "untrusted", "audio", "mesh"},
    "video": {"run", "untrusted", "audio", "corpus"},
    "datasets": {"run", "untrusted", "audio", "mesh", "render", "corpus", "video"},
    "teacher": {"run", "untrusted", "audio", "corpus", "video"},
    "models": {"run", "untrusted", "audio"},
    "metrics": {"statistics", "mesh", "corpus"},
    "checkpoints": {"run", "untrusted", "audio", "corpus", "models"},
    "training": {"run", "audio", "mesh", "render", "corpus", "video", "teacher", "models", "losses", "statistics"},
    "animation": {"run", "untrusted", "audio", "mesh", "corpus", "datasets", "models", "checkpoints"},
    "evaluation": {"run", "audio", "mesh", "render", "corpus", "video", "models", "metrics", "statistics", "animation"},
    "report": {"run", "audio", "mesh", "render", "corpus", "video", "metrics"},
    "avatar": {
        *("run", "untrusted", "audio", "mesh", "render", "corpus", "video", "datasets", "animation", "statistics"),
        *("report", "training", "export", "models", "metrics", "evaluation"),
    },
    "export": {"run", "untrusted", "audio", "mesh", "render", "corpus", "video", "datasets", "animation", "report"},
}


STUDENTS = ("students", "taught_students")
OF_NETWORK = (
    "learn2talk_core/models/students/${item.network}",
    "learn2talk_core/training/students/${item.network}.py",
    "learn2talk_core/checkpoints/${item.network}.py",
)


class Stage(typing.NamedTuple):
    """One stage of one of the two pipelines; `deps` and `outs` are relative to the project's root."""

    name: str
    pipeline: str
    module: str
    deps: tuple[str, ...]
    params: frozenset[str]
    outs: tuple[str, ...]


@cache
def stages() -> list[Stage]:
    """Both dvc.yaml, with `foreach` unrolled. Names of stages of the second pipeline begin with `pretraining/`."""
    found = []
    for pipeline, up in PIPELINES.items():
        prefix = "" if pipeline == "." else f"{pipeline}/"

        def rooted(path: str, prefix: str = prefix, up: str = up) -> str:
            return path.removeprefix(up) if up and path.startswith(up) else prefix + path

        for name, body in YAML(typ="safe").load((ROOT / pipeline / "dvc.yaml").read_text())["stages"].items():
            text, items = body.get("do", body), body.get("foreach", [None])
            items = _at(PARAMS[pipeline], items[2:-1]) if isinstance(items, str) else items
            for key in items:
                values = PARAMS[pipeline] | {"key": key, "item": items[key] if isinstance(items, dict) else key}
                values = _resolved(values, values)
                command = filled(text["cmd"], values).split()
                assert command[-3 if "foreach" in body else -2 :][0] == "-m", f"{name}: {command}"
                outs = [filled(out, values) for kind in ("outs", "metrics", "plots") for out in text.get(kind, [])]
                found.append(
                    Stage(
                        prefix + (f"{name}@{key}" if key else name),
                        pipeline,
                        command[command.index("-m") + 1],
                        tuple(rooted(filled(dep, values)) for dep in text["deps"]),
                        frozenset(filled(param, values) for param in text.get("params", [])),
                        tuple(map(rooted, outs)),
                    )
                )
    return found


def filled(text: typing.Any, values: dict[str, typing.Any]) -> str:
    """An entry of dvc.yaml with its `${names}` replaced by `values`; of an entry with options, its path."""
    text = next(iter(text)) if isinstance(text, dict) else text
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(_at(values, match[1])), text)


def _resolved(value: typing.Any, values: dict[str, typing.Any]) -> typing.Any:
    if isinstance(value, dict):
        return {key: _resolved(inner, values) for key, inner in value.items()}
    return filled(value, values) if isinstance(value, str) and "${" in value else value


def _at(value: typing.Any, path: str) -> typing.Any:
    for key in path.split("."):
        value = value[key]
    return value


def leaves(params: type, group: str) -> set[str]:
    hints = typing.get_type_hints(params)
    found = set()
    for field in dataclasses.fields(params):
        key = field.name if field.metadata.get("shared") else f"{group}.{field.name}"
        found |= leaves(hints[field.name], key) if dataclasses.is_dataclass(hints[field.name]) else {key}
    return found


def networks_of(stage: Stage) -> set[str]:
    """The networks whose parameters a stage reads."""
    return {param.split(".")[0] for param in stage.params} & set(network_names())


def names() -> list[str]:
    return [stage.name for stage in stages()]


@pytest.fixture(params=names())
def stage(request: pytest.FixtureRequest) -> Stage:
    return next(s for s in stages() if s.name == request.param)


def covered(file: Path, deps: tuple[str, ...]) -> bool:
    return any(file == Path(dep) or Path(dep) in file.parents for dep in deps)


def test_deps_cover_imports(stage: Stage) -> None:
    files = closure(stage.module)
    for network in networks_of(stage):
        files |= closure(f"learn2talk_core.training.students.{network}")
        files |= set() if stage.module == "stages.taught_student" else closure(f"learn2talk_core.checkpoints.{network}")
    missing = sorted(file for file in files if not covered(Path(file), stage.deps))
    assert not missing, f"{stage.name}: imported but not in deps: {missing}; run python -m scripts.code_deps"


def test_code_deps_are_used(stage: Stage) -> None:
    code = {dep for dep in stage.deps if dep.split("/")[0] in FIRST_PARTY and dep.endswith(".py")}
    own = [dep for dep in OF_NETWORK if dep.replace("${item.network}", "faceformer") in stage.deps]
    used = code_of(stage.module, own) | {
        dep.replace("${item.network}", name) for dep in own for name in network_names()
    }
    assert code <= used, f"{stage.name}: in deps but never imported"


def test_no_student_depends_on_the_code_of_another_network(stage: Stage) -> None:
    """Else a new network, or an edit of one, would train all students again."""
    if stage.module not in ("stages.student", "stages.taught_student"):
        return
    own = {dep.replace("${item.network}", name) for dep in OF_NETWORK for name in networks_of(stage)}
    rooms = tuple(dep.split("${item.network}")[0] for dep in OF_NETWORK[:2])
    shared = [f"learn2talk_core/models/students/{name}.py" for name in ("hearing", "student")]
    assert [dep for dep in stage.deps if dep.startswith(rooms) and dep not in own] == shared


def test_params_equal_dataclass(stage: Stage) -> None:
    """A stage's params list its own group of students, and additionally the group of its network; those of one expert
    only the path of that."""
    params = importlib.import_module(stage.module).Params
    grouped = (*STUDENTS, "avatars", "avatar_reports", "networks")
    found = {param.split(".")[0] if param.split(".")[0] in grouped else param for param in stage.params}
    read = leaves(params, stage.module.split(".")[1])
    if stage.module == "stages.experts":
        assert found == {f"experts.{stage.name.split('@')[1]}"} <= read
        assert read == {param for one in stages() if one.module == stage.module for param in one.params}
    else:
        assert {param for param in found if param.split(".")[0] not in networks_of(stage)} == read


def test_a_student_reads_its_own_groups() -> None:
    for group, name in (("students", "student"), ("taught_students", "taught_student")):
        for student, settings in PARAMS["."][group].items():
            read = next(stage.params for stage in stages() if stage.name == f"{name}@{student}")
            assert {f"{group}.{student}", settings["network"]} <= read


def test_every_parameter_is_read_by_a_stage() -> None:
    def flat(value: typing.Any, prefix: str) -> set[str]:
        if not isinstance(value, dict):
            return {prefix}
        return {leaf for key, inner in value.items() for leaf in flat(inner, f"{prefix}.{key}" if prefix else key)}

    waiting = set(network_names()) - set(PARAMS["."]["networks"])  # groups of networks that no student has
    for pipeline, params in PARAMS.items():
        read = {param for stage in stages() if stage.pipeline == pipeline for param in stage.params}
        named = read | waiting | {"networks"}  # dvc.yaml itself reads the last
        unread = {
            leaf for leaf in flat(params, "") if not any(leaf == one or leaf.startswith(f"{one}.") for one in named)
        }
        assert not unread
        for param in read:
            _at(params, param)  # each exists


def test_every_network_has_its_parameters_and_every_student_a_known_network() -> None:
    params = PARAMS["."]
    assert set(network_names()) <= set(params)
    assert {one["network"] for group in STUDENTS for one in params[group].values()} == set(params["networks"])


def test_networks_that_nobody_lists_have_no_stage() -> None:
    prepared = {stage.name for stage in stages() if stage.module == "stages.motion_prior"}
    assert prepared == {f"motion_prior@{network}" for network in PARAMS["."]["networks"]}


def test_small_results_stay_out_of_the_run_cache_trap() -> None:
    """`cache: false` under `outs` would switch the run-cache off; `persist` would keep stale checkpoints."""
    texts = [YAML(typ="safe").load((ROOT / pipeline / "dvc.yaml").read_text()) for pipeline in PIPELINES]
    for name, body in (stage for text in texts for stage in text["stages"].items()):
        body = body.get("do", body)
        assert all(isinstance(out, str) for out in body.get("outs", [])), name
        assert "persist" not in str(body), name
        assert "always_changed" not in body, name
        assert "desc" in body, name
        for kind in ("metrics", "plots"):
            for out in body.get(kind, []):
                assert isinstance(out, dict), f"{name}: {out} needs cache: false"
                assert next(iter(out.values()))["cache"] is False, f"{name}: {out}"


def downstream(changed: set[str]) -> set[str]:
    """Stages reached from the stages `changed` along data files."""
    reached = set(changed)
    while True:
        outs = [out for s in stages() if s.name in reached for out in s.outs]
        more = {
            s.name for s in stages() for dep in s.deps for out in outs
            if Path(dep) == Path(out) or Path(out) in Path(dep).parents or Path(dep) in Path(out).parents
        }  # fmt: skip
        if more <= reached:
            return reached
        reached |= more


def reading(param: str) -> set[str]:
    return {s.name for s in stages() if param in s.params}


def importing(file: str) -> set[str]:
    return {s.name for s in stages() if covered(Path(file), s.deps)}


@pytest.mark.parametrize("weight", ["lambda1", "lambda2"])
def test_a_lambda_reruns_the_student_and_what_follows(weight: str) -> None:
    assert downstream(reading(weight)) == {"taught_student@learn2talk", "predict", "evaluate", "report"}


def test_the_seed_of_the_trainings_leaves_the_data_alone() -> None:
    data = {"corpus", "pretraining/talking_video"}
    assert not data & downstream(reading("seed"))
    assert {"pretraining/teacher", "student@faceformer", "taught_student@learn2talk"} <= reading("seed")
    assert [reading(f"{stage.split('/')[-1]}.seed") for stage in sorted(data)] == [{stage} for stage in sorted(data)]


def test_a_metric_reruns_evaluate_and_report() -> None:
    # for 2D videos (`learn2talk score-video`) and recordings (`benchmarks.real_speech`): used in no stage
    others = {"cpbd.py", "csim.py", "frechet.py", "articulation.py"}
    for file in (ROOT / "learn2talk_core" / "metrics").glob("[!_]*.py"):
        reached = downstream(importing(str(file.relative_to(ROOT))))
        assert reached == (set() if file.name in others else {"evaluate", "report"}), file


def test_syncnet3d_reruns_its_stage_and_what_follows() -> None:
    changed = importing("learn2talk_core/models/syncnet3d.py")
    assert "syncnet3d" in changed
    assert downstream(changed) == {"syncnet3d", "taught_student@learn2talk", "predict", "evaluate", "report"}
    assert "student@faceformer" not in downstream({"syncnet3d"})


def depending_on(path: str) -> set[str]:
    return {s.name for s in stages() if any(Path(dep) == Path(path) for dep in s.deps)}


def test_another_lip_reader_trains_only_the_students_that_use_it() -> None:
    judged = {"evaluate", "report"}
    assert downstream({"experts@lipreader_metric"}) == {"experts@lipreader_metric"} | judged
    changed = {"experts@lipreader_loss", "teacher_features", "taught_student@learn2talk", "predict"}
    assert downstream({"experts@lipreader_loss"}) == changed | judged
    made = {"experts@teacher", "teacher_video", "mouths", "teacher_features", "taught_student@learn2talk", "predict"}
    assert downstream({"experts@teacher"}) == made | judged
    assert downstream({"experts@sync_expert"}) == {"experts@sync_expert", "report"}  # its row in the table of experts


def test_every_checkpoint_is_a_dependency() -> None:
    for name, path in PARAMS["."]["experts"].items():
        assert f"experts@{name}" in depending_on(path)
    assert "pretraining/speech_encoder" in depending_on("weights/speech_encoder")
    assert "pretraining/speech" in depending_on("pretraining/speech")
    assert depending_on("weights/none") == {
        "corpus", "student@faceformer", "motion_prior@faceformer", "teacher_video", "pretraining/speech",
        "pretraining/talking_video", "pretraining/teacher",
    }  # fmt: skip
    assert (ROOT / "weights/none").is_file()


def test_the_weights_are_made_by_no_stage_of_the_default_pipeline() -> None:
    """Else `dvc repro` would train for hours."""
    used = {dep for s in stages() if s.pipeline == "." for dep in s.deps}
    assert not any(dep.startswith("pretraining/") for dep in used)
    assert not any(out.startswith("weights/") for s in stages() for out in s.outs)


def modules() -> list[Path]:
    return sorted((ROOT / "learn2talk_core").rglob("*.py"))


def test_every_module_lies_in_a_room() -> None:
    rooms = {file.relative_to(ROOT / "learn2talk_core").parts[0] for file in modules()} - {"__init__.py"}
    assert rooms == set(ARROWS)


def test_import_arrows() -> None:
    for file in modules():
        room = file.relative_to(ROOT / "learn2talk_core").parts[0]
        for name in imports(file):
            package, other = [*name.split("."), ""][:2]
            assert package == "learn2talk_core", f"{file.relative_to(ROOT)} imports {name}"
            if other not in ("", room):
                assert other in ARROWS[room], f"{file.relative_to(ROOT)} may not import {name}"


def test_front_door_and_stages_do_not_know_each_other() -> None:
    for one, other in (("learn2talk", "stages"), ("stages", "learn2talk")):
        for file in (ROOT / one).rglob("*.py"):
            assert not any(name.split(".")[0] == other for name in imports(file)), f"{file} imports {other}"


def test_only_the_front_door_has_an_init_file_with_content() -> None:
    files = [file for one in ("learn2talk", "learn2talk_core", "stages") for file in (ROOT / one).rglob("__init__.py")]
    assert [file for file in files if file.read_text()] == [ROOT / "learn2talk" / "__init__.py"]


def test_paths_are_named_once() -> None:
    """Paths are only in `run/paths.py`; help texts and sentences may contain them."""
    for folder in ("learn2talk", "learn2talk_core", "stages", "scripts", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            if file != ROOT / "learn2talk_core" / "run" / "paths.py":
                for node in ast.walk(ast.parse(file.read_text())):
                    text = node.value if isinstance(node, ast.Constant) else None
                    path = isinstance(text, str) and re.fullmatch(r"(data|metrics)/[\w/.]*", text)
                    assert not path, f"{file.relative_to(ROOT)}: {text}"
