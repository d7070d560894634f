"""Since when a component waits, of looks a second apart."""

from shadowlane.processors.watch.waits import GRACE_S, Wait, Waits


def test_a_wait_lasts_from_the_look_that_first_saw_it() -> None:
    waits = Waits()
    for now in range(10, 40):
        waits.look({"the store": f"tried {now} times"}, now)
    assert waits.now(39) == [Wait("the store", "tried 39 times", 29)]


def test_the_longest_comes_first() -> None:
    waits = Waits()
    waits.look({"Kafka": "a"}, 0)
    waits.look({"the store": "b", "Kafka": "a"}, 1)
    assert [wait.what for wait in waits.now(1)] == ["Kafka", "the store"]


def test_a_moment_without_it_does_not_end_it_and_more_does() -> None:
    waits = Waits()
    waits.look({"the store": "slow"}, 0)
    waits.look({}, GRACE_S)
    waits.look({"the store": "slow"}, GRACE_S + 1)
    assert waits.now(GRACE_S + 1)[0].seconds == GRACE_S + 1
    waits.look({}, 2 * GRACE_S + 2)
    assert waits.now(2 * GRACE_S + 2) == []
    waits.look({"the store": "slow"}, 100)
    assert waits.now(101)[0].seconds == 1
