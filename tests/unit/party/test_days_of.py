"""What about.json says became of each day of a report."""

from days import DAYS, TASK, Days
from sealstat.party.runs import days_of


def test_a_day_whose_state_was_destroyed_is_not_said_to_be_in_the_report() -> None:
    log = Days()
    log.take_in(DAYS[0])
    state = log.state()
    for holder in ("operator-a", "regulator"):
        log.tell(holder, "expiry", {"state": state, "task": TASK})
    log.take_in(DAYS[1], DAYS[2])
    asked = log.finish_report().body["request"]
    view = log.view()
    assert days_of(view, view.requests[asked]) == {
        "taken_in": [DAYS[1], DAYS[2]],
        "failed": [],
        "forgotten": [DAYS[0]],
        "skipped": [DAYS[3]],
    }
