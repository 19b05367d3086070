"""Write into dvc.yaml the source files that each stage imports, directly or not. DVC does not follow imports itself.

    python -m scripts.code_deps

Data files, parameters and comments stay as they are.
"""

from ruamel.yaml import YAML

from learn2talk_core.run.imports import FIRST_PARTY, ROOT, closure


def main() -> None:
    yaml = YAML()
    yaml.width = 120
    path = ROOT / "dvc.yaml"
    text = yaml.load(path.read_text())
    for body in text["stages"].values():
        body = body.get("do", body)
        module = body["cmd"].split()[2]
        data = [dep for dep in body.get("deps", []) if not str(dep).endswith(".py") and not _is_package(str(dep))]
        body["deps"] = sorted(closure(module)) + data
    yaml.dump(text, path)


def _is_package(dep: str) -> bool:
    return dep.split("/")[0] in FIRST_PARTY and (ROOT / dep).is_dir()


if __name__ == "__main__":
    main()
