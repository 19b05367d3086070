from learn2talk_core.datasets.embedded.sentences import LENGTHS, LONG, make_sentences, prose


def test_sentences_differ_and_have_the_right_length() -> None:
    sentences = make_sentences(500, 0)
    assert len(set(sentences)) == 500
    assert all(len(sentence) in LENGTHS for sentence in sentences)
    assert all(sentence[0].isupper() and sentence[-1] in ".?" and "{" not in sentence for sentence in sentences)


def test_the_seed_decides_and_more_sentences_start_the_same() -> None:
    assert make_sentences(20, 3) == make_sentences(40, 3)[:20]
    assert not set(make_sentences(20, 3)) & set(make_sentences(20, 4))


def test_sentences_to_avoid() -> None:
    taken = set(make_sentences(30, 0))
    assert not taken & set(make_sentences(30, 0, avoid=taken))


def test_prose_is_varied_and_no_sentence_is_in_both_corpora() -> None:
    corpus, films = prose()["corpus"], prose()["films"]
    sentences = [*corpus, *films]
    assert len(sentences) == len(set(sentences)) >= 240
    assert all(15 < len(sentence) <= 110 and sentence[-1] in '.?!"' for sentence in sentences)
    assert max(map(len, corpus)) <= LONG < max(map(len, films))
    assert sum("?" in sentence for sentence in sentences) > 25
    assert sum("," in sentence for sentence in sentences) > 80
