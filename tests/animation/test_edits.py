import json

import numpy as np
import pytest

from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.animation.edits import EXPRESSIONS, expression, groups_of, parse_expressions, read_edits
from learn2talk_core.run.errors import BadInput

JAW, BROW = ARKIT.index("jawOpen"), ARKIT.index("browInnerUp")


def applied(path, edits, name="e.json", curves=None):
    (path / name).write_text(edits if isinstance(edits, str) else json.dumps(edits))
    curves = np.full((120, 52), 0.4) if curves is None else curves
    for edit in read_edits(path / name):
        curves = edit.apply(curves, 30)
    return curves


def test_a_gain_holds_in_its_range_and_fades_outside(tmp_path):
    found = applied(tmp_path, [{"shape": "jawOpen", "from": 1, "to": 2, "gain": 1.5, "offset": 0.1, "fade": 0.2}])
    np.testing.assert_allclose(found[30:61, JAW], 0.7)
    np.testing.assert_allclose(found[[0, 24, 66, 119], JAW], 0.4)
    assert 0.4 < found[27, JAW] < 0.7
    others = [number for number in range(52) if number != JAW]
    np.testing.assert_array_equal(found[:, others], 0.4)


def test_keys_take_the_place_of_the_curve(tmp_path):
    found = applied(tmp_path, {"edits": [{"shape": "BrowInnerUp", "keys": [[1, 0], [1.5, 0.8], [2, 0.2]]}]})
    np.testing.assert_allclose(found[30:46, BROW], np.linspace(0, 0.8, 16))
    np.testing.assert_allclose(found[45:61, BROW], np.linspace(0.8, 0.2, 16))
    assert found[0, BROW] == 0.4


def test_keys_with_a_gain_are_added_to_the_curve(tmp_path):
    found = applied(tmp_path, [{"shape": "jawOpen", "keys": [[1, 0], [2, 0.3]], "gain": 0.5}])
    np.testing.assert_allclose(found[30:61, JAW], 0.2 + np.linspace(0, 0.3, 31))
    assert found[0, JAW] == 0.4


def test_keys_of_an_expression_are_its_strength_over_the_speech(tmp_path):
    smile = ARKIT.index("mouthSmileLeft")
    found = applied(tmp_path, [{"expression": "smile", "keys": [[1, 0], [2, 0.5]], "fade": 0}])
    np.testing.assert_allclose(found[30:61, smile], 0.4 + 0.6 * np.linspace(0, 0.5, 31))
    np.testing.assert_allclose(found[[0, 29, 61], smile], 0.4)
    table = "expression,time,value,fade\nsmile,1,0,0\nsmile,2,0.5,0\n"
    np.testing.assert_array_equal(applied(tmp_path, table, "e.csv"), found)


def test_an_expression_fades_as_it_is_told(tmp_path):
    found = applied(tmp_path, [{"expression": "smile", "from": 1, "to": 2, "fade": 1}], curves=np.zeros((120, 52)))
    smile = found[:, ARKIT.index("mouthSmileLeft")]
    assert 0 < smile[3] < smile[15] < smile[30] == pytest.approx(0.6)


def test_groups_and_expressions(tmp_path):
    assert set(groups_of("jaw")) == {"jawForward", "jawRight", "jawLeft", "jawOpen"}
    assert all(name.startswith("mouth") for name in groups_of("lips"))
    assert len(groups_of("lips")) == 23
    found = applied(tmp_path, [{"expression": "smile", "strength": 0.5}], curves=np.zeros((30, 52)))
    assert found[15, ARKIT.index("mouthSmileLeft")] == pytest.approx(0.3)
    assert found[15, ARKIT.index("cheekSquintRight")] == pytest.approx(0.25)
    for name in EXPRESSIONS:
        assert expression(name).apply(np.zeros((3, 52)), 30).any()


def test_weights_stay_in_the_box(tmp_path):
    found = applied(tmp_path, [{"shape": "lips", "gain": 9}, {"shape": "jaw", "offset": -3}])
    assert (found.min(), found.max()) == (0, 1)


def test_a_table_says_the_same(tmp_path):
    rows = "shape,from,to,gain\njawOpen,1,2,1.5\n"
    same = applied(tmp_path, [{"shape": "jawOpen", "from": 1, "to": 2, "gain": 1.5}])
    np.testing.assert_array_equal(applied(tmp_path, rows, "e.csv"), same)
    keys = "shape,time,value\nbrowInnerUp,1,0\nbrowInnerUp,1.5,0.8\njawOpen,1,0\njawOpen,2,1\n"
    same = applied(
        tmp_path,
        [{"shape": "browInnerUp", "keys": [[1, 0], [1.5, 0.8]]}, {"shape": "jawOpen", "keys": [[1, 0], [2, 1]]}],
    )
    np.testing.assert_array_equal(applied(tmp_path, keys, "e.csv"), same)


def test_expressions_of_the_command_line():
    smile, brows = parse_expressions("smile=0.5, brows-up")
    assert smile == expression("smile", 0.5)
    assert brows == expression("brows-up")
    assert parse_expressions("") == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"e\.json: expected an edit file as JSON, found"),
        ("3", r"e\.json: expected a list of edits, found int"),
        ([3], r"entry 1: expected an object with shape or expression, found int"),
        ([{"shape": "jawOpn", "gain": 1}], r"entry 1: expected an ARKit shape or one of jaw, lips, .*, found jawOpn"),
        ([{"shape": "jaw", "gain": 1}, {"shape": "jaw", "gain": "much"}], r"entry 2: expected a finite number as gain"),
        ([{"shape": "jaw", "gain": float("nan")}], r"expected a finite number as gain, found nan"),
        ([{"shape": "jaw", "gain": True}], r"expected a finite number as gain, found True"),
        ([{"shape": "jaw", "gain": -1}], r"expected a gain of 0 or more, found -1"),
        ([{"expression": "smile", "fade": -1}], r"expected a fade of 0 or more, found -1"),
        ([{"expression": "smile", "gain": 2}], r"entry 1: expected no gain for an expression, found 2"),
        ([{"shape": "jaw", "gain": 1, "strength": 2}], r"entry 1: expected no strength for a shape, found 2"),
        ([{"shape": "jaw", "from": 1, "keys": [[0, 1]]}], r"expected no from for a shape with keys, found 1"),
        (
            [{"expression": "smile", "keys": [[0, 1], [1, 3]]}],
            r"entry 1: expected a strength of 0 … 2 .*, found 3",
        ),
        ([{"shape": "jaw"}], r"expected gain, offset or keys, found none of them"),
        ([{"shape": "jaw", "gian": 1}], r"found the entry gian"),
        ([{"shape": "jaw", "expression": "smile"}], r"found both or neither"),
        ([{"expression": "glad"}], r"entry 1: expected one of smile, .*, found glad"),
        ([{"expression": "smile", "strength": 3}], r"entry 1: expected a strength of 0 … 2"),
        ([{"shape": "jaw", "from": 2, "to": 1, "gain": 1}], r"expected from before to, found 2 and 1"),
        ([{"shape": "jaw", "keys": []}], r"expected keys as \[\[seconds, weight\], …\]"),
        ([{"shape": "jaw", "keys": [[0, 1], [0, 2]]}], r"expected keys at increasing times"),
        ([{"shape": "jaw", "keys": [[0]]}], r"expected keys as"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, content, message):
    with pytest.raises(BadInput, match=message):
        applied(tmp_path, content)


def test_tables_and_files_that_are_none(tmp_path):
    with pytest.raises(BadInput, match=r"e\.csv: expected columns among .*, found colour"):
        applied(tmp_path, "shape,colour\njaw,red\n", "e.csv")
    with pytest.raises(BadInput, match=r"e\.csv, entry 1: expected a finite number as time"):
        applied(tmp_path, "shape,time,value\njaw,soon,1\n", "e.csv")
    with pytest.raises(BadInput, match=r"none\.json: expected an edit file, JSON or CSV, found No such file"):
        read_edits(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"found bytes that are not text"):
        read_edits(tmp_path / "b.json")
    with pytest.raises(BadInput, match=r"--expression: expected NAME=NUMBER, such as smile=0.5, found smile=much"):
        parse_expressions("smile=much")
