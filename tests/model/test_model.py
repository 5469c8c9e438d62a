"""Everything that can happen in protocol.md sections 6 to 8 with few parties and instances, tried out.

Sizes are those of the settings as they stand; a setting that outgrows its bound fails instead of taking for ever.
"""

import pytest

from model import properties
from model.explore import Property, explore
from model.log import NONE, Request, Terms
from model.protocol import Setting, State, end

BOTH = (("a", "a"), ("b", "b"))
RUN, INGEST, FINISH = Request("run", BOTH), Request("ingest", BOTH), Request("finish", ())

SLOW = pytest.mark.slow
SAFE = {
    name: getattr(properties, name)
    for name in (
        "one_result",
        "only_what_counts",
        "one_line",
        "state_is_readable",
        "results_are_not_lost",
        "past_is_sealed",
    )
}
ALL = SAFE | {"has_a_way_forward": properties.has_a_way_forward}
HONEST = ALL | {"one_computes": properties.one_computes}  # where every release that is needed is an honest party's


def terms(holders: str, without: str | None = None) -> Terms:
    """Two of the holders are needed; a and b own the data, too."""
    ministry, rules = frozenset({"ministry"}), frozenset({without}) if without else NONE
    return Terms(ministry, ministry, frozenset("ab"), tuple(holders), 2, frozenset({"keeper"}), rules)


def asking(*requests: Request) -> tuple[tuple[str, Request], ...]:
    return tuple((f"r{number}", request) for number, request in enumerate(requests, 1))


TWO, THREE = ("i1", "i2"), ("i1", "i2", "i3")
X = frozenset("x")
RESULTS = Setting(terms("ab"), asking(RUN, RUN), TWO, start=0)
RESULTS_LIAR = Setting(terms("abx"), asking(RUN, RUN), TWO, X, start=0)
ONE_RUN = RESULTS_LIAR._replace(requests=asking(RUN))
STATE = Setting(terms("ab"), asking(INGEST, FINISH), TWO)
STATE_LIAR = Setting(terms("abx"), asking(INGEST, INGEST), TWO, X)
REPORT_LIAR = Setting(terms("abx"), asking(INGEST, FINISH), TWO, X)
# a record of these counts, or is given a meaning, by the word of a keeper that lies, too
ONE_REPORT = Setting(terms("abx"), asking(FINISH), TWO, X, lying_keeper=True, calm=True)


@pytest.mark.parametrize(
    ("setting", "checks", "most"),
    [
        pytest.param(RESULTS, HONEST, 3_000, id="results, two holders, both needed"),
        pytest.param(RESULTS_LIAR, HONEST, 3_000, id="results, one of three holders lies"),
        pytest.param(RESULTS_LIAR._replace(liars=frozenset("b")), SAFE, 3_000, id="results, an owner lies"),
        pytest.param(RESULTS._replace(stops=True), HONEST, 6_000, id="results, owners refuse their release"),
        pytest.param(STATE, HONEST, 3_000, id="state, two holders, both needed"),
        pytest.param(STATE._replace(reuse=True), HONEST, 6_000, id="state, challenges serve twice"),
        pytest.param(STATE._replace(start=0, requests=asking(INGEST, INGEST)), HONEST, 3_000, id="state, from nothing"),
        pytest.param(STATE_LIAR, ALL, 20_000, id="state, one of three holders lies"),
        pytest.param(REPORT_LIAR, ALL, 32_000, id="report, one of three holders lies", marks=SLOW),
        pytest.param(STATE._replace(apart=True), HONEST, 40_000, id="state, key and share apart", marks=SLOW),
        pytest.param(STATE._replace(instances=THREE), HONEST, 50_000, id="state, three", marks=SLOW),
        pytest.param(RESULTS._replace(instances=THREE), HONEST, 50_000, id="results, three", marks=SLOW),
    ],
)
def test_whatever_happens(setting: Setting, checks: dict[str, Property], most: int) -> None:
    found = explore(setting, checks, most=most)
    assert found.broken is None, f"{found.broken}: {'; '.join(found.how)}"
    assert found.states > 1_000


def lacking(setting: Setting, rule: str) -> Setting:
    """The same without a rule, in what agents do and in how a log is read."""
    return setting._replace(without=frozenset({rule}), terms=setting.terms._replace(without=frozenset({rule})))


@pytest.mark.parametrize(
    ("setting", "rule", "broken"),
    [
        pytest.param(STATE, "destroy", "past_is_sealed", id="shares of old states are not destroyed"),
        pytest.param(STATE, "destroy seals", "past_is_sealed", id="keys of old challenges are not destroyed"),
        pytest.param(STATE, "kept", "state_is_readable", id="a record counts without a keeper's word"),
        pytest.param(STATE, "keep until counted", "state_is_readable", id="a keeper drops c at its own kept of c+1"),
        pytest.param(STATE, "pending", "one_computes", id="a release that has no leaf yet is forgotten"),
        pytest.param(ONE_RUN, "no other live", "one_computes", id="an agent releases to two instances"),
        pytest.param(STATE, "counting first", "one_line", id="shares are taken of a record that does not count yet"),
        pytest.param(RESULTS, "in turn", "results_are_not_lost", id="a holder skips records"),
        pytest.param(RESULTS, "abandon", "has_a_way_forward", id="nobody can abandon"),
        pytest.param(RESULTS, "renewal", "has_a_way_forward", id="a spent challenge is never followed by another"),
        pytest.param(ONE_RUN, "forever", "one_result", id="an abandon undoes what counted"),
        pytest.param(ONE_RUN, "give once it counts", "one_result", id="results are given before they count"),
        pytest.param(ONE_REPORT, "at the end", "one_result", id="a release stands where it was sent", marks=SLOW),
    ],
)
def test_without_a_rule_the_checks_fail(setting: Setting, rule: str, broken: str) -> None:
    found = explore(lacking(setting, rule), {broken: HONEST[broken]}, most=250_000)
    assert found.broken == broken


def test_a_keeper_that_lies_opens_no_second_result() -> None:
    checks = {name: SAFE[name] for name in ("one_result", "only_what_counts", "one_line")}
    assert explore(ONE_REPORT, checks, most=50_000).broken is None


@pytest.mark.parametrize(
    "setting",
    [
        # each has the liar's share and that of an honest holder that saw no other
        pytest.param(REPORT_LIAR, id="its share is of those needed"),
        # its release to one, shown when all others have released to the other, turns them round
        pytest.param(STATE_LIAR, id="its share is needed by nobody"),
    ],
)
def test_with_a_liar_two_instances_may_hold_a_state_at_once_and_one_of_them_counts(setting: Setting) -> None:
    found = explore(setting, {"one_computes": properties.one_computes}, most=32_000)
    assert found.broken == "one_computes"


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(ONE_RUN, id="results"),
        pytest.param(STATE_LIAR._replace(requests=asking(FINISH), calm=True), id="report, one of three holders lies"),
    ],
)
def test_the_shortest_form_of_a_moment_leaves_no_outcome_out(setting: Setting) -> None:
    def outcomes(setting: Setting) -> tuple[set[object], int]:
        seen: set[object] = set()

        def look(setting: Setting, state: State) -> bool:
            stored = tuple((holder.taken, holder.states, holder.results) for holder in state.holders)
            seen.add((end(setting, state), stored, state.given))
            return True

        return seen, explore(setting, {"look": look}, most=150_000).states

    short, long = (outcomes(each) for each in (setting, lacking(setting, "shortcuts")))
    assert short[0] == long[0]
    assert short[1] < long[1]
