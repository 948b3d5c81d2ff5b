"""What the database refuses for a passing reason is repeated until it takes it."""

import pytest

from daemon.errors import BusyDatabaseError, DatabaseError, PassingDatabaseError
from daemon.patience import Patience


class Refusing:
    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left = times
        self.error = error or PassingDatabaseError("the disk is full")

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return "written"


def test_a_passing_refusal_costs_waiting_only():
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        return False

    assert Patience(pause).insist(Refusing(6)) == "written"
    assert waits == [1.0, 2.0, 5.0, 15.0, 15.0, 15.0]


def test_a_program_that_ends_gives_up():
    with pytest.raises(PassingDatabaseError, match="full"):
        Patience(lambda _: True).insist(Refusing(1))


def test_a_start_waits_only_for_what_nobody_must_mend():
    busy = Patience(lambda _: False, BusyDatabaseError)
    assert busy.insist(Refusing(2, BusyDatabaseError("full"))) == "written"
    with pytest.raises(PassingDatabaseError, match="rights"):
        busy.insist(Refusing(2, PassingDatabaseError("check the rights")))


def test_what_will_not_pass_is_not_repeated():
    action = Refusing(1, DatabaseError("the database file is damaged"))
    with pytest.raises(DatabaseError, match="damaged"):
        Patience(lambda _: False).insist(action)
    assert action.left == 0
