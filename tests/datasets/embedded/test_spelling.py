import pytest

from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.datasets.embedded.sentences import make_sentences, prose
from learn2talk_core.datasets.embedded.spelling import ARPABET, spell, to_symbols
from learn2talk_core.run.errors import BadInput


def test_american_and_british_spelling_and_punctuation() -> None:
    pytest.importorskip("espeakng_loader")
    text = 'Hurry, said "Joe"; the other bird — no boats, no water?'
    assert spell([text], british=False) == ["hˈɜɹi, sˈɛd ʤˈO; ðɪ ˈʌðəɹ bˈɜɹd — nˈO bˈOts, nˈO wˈɔTəɹ?"]
    assert spell([text], british=True) == ["hˈʌɹi, sˈɛd ʤˈQ; ðɪ ˈʌðə bˈɜːd — nˈQ bˈQts, nˈQ wˈɔːtə?"]


@pytest.mark.parametrize("british", [False, True])
def test_all_our_sentences_can_be_spelt(british: bool) -> None:
    pytest.importorskip("espeakng_loader")
    texts = [*make_sentences(300, 1), *prose()["corpus"], *prose()["films"]]
    spelt = spell(texts, british=british)
    assert len(spelt) == len(texts)
    assert max(map(len, spelt)) <= 200
    assert ("ː" in "".join(spelt)) == british


def test_a_sound_that_english_lacks() -> None:
    expected = r"'Bach': expected sounds of English, found y in bˈyx\. Use another word\."
    with pytest.raises(BadInput, match=expected):
        to_symbols("bˈyx", "Bach", british=False)


def test_symbols_cover_the_phonemes() -> None:
    assert set(ARPABET.values()) == set(PHONEMES)
