import time
from threading import Event, get_ident

import pytest

from learn2talk_core.datasets.source import AHEAD, read_ahead


def test_the_next_two_are_read_while_one_is_worked_on_and_no_more() -> None:
    read = [Event() for _ in range(5)]
    threads = set()

    def number(item: int) -> int:
        threads.add(get_ident())
        read[item].set()
        return item * item

    numbers = read_ahead(number, range(5))
    assert next(numbers) == 0
    assert all(event.wait(10) for event in read[1 : 1 + AHEAD]), "they should be read without being asked for"
    assert not read[1 + AHEAD].wait(0.1), "memory holds so many of them"
    assert list(numbers) == [1, 4, 9, 16]
    assert len(threads) <= AHEAD
    assert get_ident() not in threads


@pytest.mark.parametrize("items", [[], [7], [7, 8]])
def test_it_gives_what_map_gives(items: list[int]) -> None:
    assert list(read_ahead(str, items)) == list(map(str, items))


def test_what_is_refused_is_refused_in_its_turn_and_the_next_can_be_had() -> None:
    inverses = read_ahead(lambda item: 1 / item, [1, 0, 2])
    assert next(inverses) == 1
    with pytest.raises(ZeroDivisionError):
        next(inverses)
    assert list(inverses) == [0.5]


def test_one_that_is_dropped_does_not_wait_for_what_is_being_read() -> None:
    """The garbage collector may drop it anywhere, also where Python holds the lock that waiting for a thread needs."""
    begun, may_end = Event(), Event()

    def slow(item: int) -> int:
        begun.set()
        assert item == 0 or may_end.wait(20)
        return item

    numbers = read_ahead(slow, range(5))
    try:
        assert next(numbers) == 0
        begun.wait(10)
        started = time.monotonic()
        del numbers
        assert time.monotonic() - started < 10
    finally:
        may_end.set()
