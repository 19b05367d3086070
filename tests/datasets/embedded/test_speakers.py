from learn2talk_core.datasets.embedded.speakers import make_speaker, make_speakers


def test_the_seed_decides_and_more_speakers_start_the_same() -> None:
    assert make_speakers(3, 1) == make_speakers(5, 1)[:3]
    assert make_speakers(3, 1) != make_speakers(3, 2)
    assert [s.id for s in make_speakers(2, 0, "V")] == ["V00", "V01"]
    assert make_speakers(2, 0, "V")[1] == make_speaker("V01", 0, female=True)


def test_another_prefix_is_other_people() -> None:
    assert not {s.seed for s in make_speakers(50, 0, "S")} & {s.seed for s in make_speakers(50, 0, "V")}


def test_both_sexes() -> None:
    assert sum(s.female for s in make_speakers(50, 0)) == 25
