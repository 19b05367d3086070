import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.networks import check_networks, network_names, training_of
from learn2talk_core.run.students import PlainStudent, TaughtStudent, student_names, student_pairs

OWN = {"faceformer": PlainStudent("faceformer", None), "other": PlainStudent("selftalk", None)}
TAUGHT = {"learn2talk": TaughtStudent("faceformer"), "lonely": TaughtStudent("voca")}


def test_names_are_in_the_order_of_params_yaml() -> None:
    assert student_names(OWN, TAUGHT) == ["faceformer", "other", "learn2talk", "lonely"]
    assert student_pairs(OWN, TAUGHT) == [("learn2talk", "faceformer")]


@pytest.mark.parametrize(
    ("own", "taught", "found"),
    [
        ({}, {}, "expected at least one student, found none"),
        (OWN, {"other": TaughtStudent("faceformer")}, "expected distinct plain names, found 'other'"),
        ({"../x": PlainStudent("faceformer", None)}, {}, r"expected distinct plain names, found '\.\./x'"),
        ({"x_mean_style": PlainStudent("faceformer", None)}, {}, "expected distinct plain names"),
    ],
)
def test_bad_names(own: dict[str, PlainStudent], taught: dict[str, TaughtStudent], found: str) -> None:
    with pytest.raises(BadInput, match=found):
        student_names(own, taught)


def test_networks_are_found_by_name() -> None:
    assert "faceformer" in network_names()
    assert training_of("faceformer", "students.x.network").NetworkRecipe.__name__ == "FaceFormerRecipe"
    with pytest.raises(
        BadInput, match=r"params\.yaml: students\.x\.network: expected one of .*faceformer.*, found gan"
    ):
        training_of("gan", "students.x.network")


@pytest.mark.parametrize(
    ("networks", "own", "taught", "said"),
    [
        ({"vocca": "weights/none"}, {}, {}, r"networks: expected one of codetalker, faceformer, .*found vocca"),
        ({}, {"a": PlainStudent("gan", "weights/none")}, {}, r"students\.a\.network: expected one of .*found gan"),
        (
            {"faceformer": "weights/none"}, {}, {"a": TaughtStudent("voca")},
            r"taught_students\.a\.network: expected a network that is among .*, found voca\. Add `voca: weights/none",
        ),
        (
            {}, {"a": PlainStudent("selftalk", "weights/none")}, {},
            r"students\.a\.network: expected a network .*, found selftalk\. Add `selftalk: weights/phoneme_head`",
        ),
        (
            {"selftalk": "weights/none"}, {"a": PlainStudent("selftalk", "weights/none")}, {},
            r"networks\.selftalk: expected what students\.a is trained with, .*\. Name weights/phoneme_head",
        ),
    ],
)  # fmt: skip
def test_networks_must_be_known(networks: dict, own: dict, taught: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_networks(networks, own, taught)


def test_an_imported_selftalk_needs_no_recogniser(caplog: pytest.LogCaptureFixture) -> None:
    """Only students that are trained need one."""
    networks, imported = {"selftalk": "weights/none"}, {"a": PlainStudent("selftalk", "vocaset.pth")}
    check_networks(networks, imported, {})
    assert not caplog.messages
    with pytest.raises(BadInput, match=r"expected what students\.b is trained with"):
        check_networks(networks, {**imported, "b": PlainStudent("selftalk", "weights/none")}, {})
    with pytest.raises(BadInput, match=r"expected what taught_students\.b is trained with"):
        check_networks(networks, imported, {"b": TaughtStudent("selftalk")})


def test_a_network_without_a_student_is_said(caplog: pytest.LogCaptureFixture) -> None:
    check_networks({"faceformer": "weights/none"}, {"a": PlainStudent("faceformer", "weights/none")}, {})
    assert not caplog.messages
    check_networks({"faceformer": "weights/none", "voca": "weights/none"}, {}, {"a": TaughtStudent("voca")})
    (said,) = caplog.messages
    assert said.startswith("params.yaml: networks.faceformer: no student has this network")
