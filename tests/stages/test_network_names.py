import hashlib
from pathlib import Path

import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.students import PlainStudent, TaughtStudent
from stages import network_names

FACEFORMER = {"faceformer": "weights/none"}
VOCA = {"voca": PlainStudent("voca", "weights/none")}


def test_what_it_writes_does_not_depend_on_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another student would train all students again."""
    monkeypatch.chdir(tmp_path)
    written = set()
    for own, networks in (({}, FACEFORMER), (VOCA, {**FACEFORMER, "voca": "weights/none"})):
        params = network_names.Params(networks, own, {"learn2talk": TaughtStudent("faceformer")})
        assert network_names.main(params) == f"{len(networks)} of 5 networks are used"
        written.add(hashlib.sha256((tmp_path / "data" / "network_names.json").read_bytes()).hexdigest())
    assert len(written) == 1


def test_nothing_is_written_for_an_unknown_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BadInput, match=r"students\.voca\.network: expected a network that is among networks, found voca"
    ):
        network_names.main(network_names.Params(FACEFORMER, VOCA, {}))
    assert not (tmp_path / "data").exists()
