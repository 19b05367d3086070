import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import (
    BILABIALS,
    PHONEMES,
    VISEMES,
    VOWELS,
    Phoneme,
    frame_labels,
    from_espeak,
    visemes_of,
)


def test_the_39_phonemes_of_arpabet_in_order() -> None:
    assert len(PHONEMES) == 39
    assert list(PHONEMES) == sorted(PHONEMES)
    assert PHONEMES[0] == "AA"
    assert PHONEMES[-1] == "ZH"
    assert set(VOWELS) < set(PHONEMES)


def test_every_phoneme_has_a_viseme_and_bilabials_share_one() -> None:
    assert set(VISEMES) == {"", *PHONEMES}
    assert set(VISEMES.values()) == set(range(14))
    assert len({VISEMES[name] for name in BILABIALS}) == 1
    assert VISEMES["F"] == VISEMES["V"] != VISEMES["P"]


@pytest.mark.parametrize(
    ("mnemonic", "names"),
    [
        ("p", ("P",)),
        ("'eI", ("EY",)),
        ("%3", ("ER",)),
        ("A@", ("AA", "R")),
        ("n-", ("AH", "N")),
        ("_:", ()),
        ("", ()),
        (";", ()),
    ],
)
def test_espeak_names(mnemonic: str, names: tuple[str, ...]) -> None:
    assert from_espeak(mnemonic) == names


def test_unknown_espeak_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="'Q9' has no ARPAbet name"):
        from_espeak("Q9")


def test_frame_labels_against_a_naive_loop() -> None:
    phonemes = [Phoneme(0.10, 0.21, "B"), Phoneme(0.21, 0.40, "IY"), Phoneme(0.50, 0.61, "Z")]
    expected = []
    for frame in range(25):
        time = (frame + 0.5) / 30
        inside = [p.name for p in phonemes if p.start <= time < p.end]
        expected.append((("", *PHONEMES)).index(inside[0]) if inside else 0)
    labels = frame_labels(phonemes, 25, 30)
    np.testing.assert_array_equal(labels, expected)
    assert visemes_of(labels)[4] == VISEMES["B"]
    assert visemes_of(labels)[0] == 0
