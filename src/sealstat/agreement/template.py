"""The draft to start from: a commented agreement in YAML that answers a lawyer's and an engineer's questions."""

from collections.abc import Sequence
from datetime import date, timedelta


class UnknownDraftError(ValueError):
    """There is no draft for that statistic."""


_VISITORS = """\
# What the parties write and sign. Edit it, then:
#   sealstat agreement check FILE      every mistake at once, with its line
#   sealstat agreement explain FILE    what it means, in plain language
#   sealstat agreement approve FILE    sign it
sealstat: 1
title: Foreign visitors in border areas, operators A and B
version: 1                         # a later version says  supersedes: sha256:...  and counts up
purpose:                           # a run must name one of these
  - id: tourism-statistics
    text: Monthly counts of foreign visitors in border areas
    legal_basis: Statistics Act, section 12; data protection impact assessment   # fill in yours
valid: {{from: {valid_from}, to: {valid_to}}}          # UTC, both days included

parties:                           # cards come from `sealstat party card`; compare fingerprints by voice
  operator-a: {{card: cards/operator-a.json}}
  operator-b: {{card: cards/operator-b.json}}
  ministry:   {{card: cards/ministry.json}}
  regulator:  {{card: cards/regulator.json}}
host:         {{card: cards/host.json, url: "{host_url}", operated_by: national-data-centre, merge_delay: 1m}}
witnesses:                         # each in another house; the quorum must be more than half
  cards: [{witness_cards}]
  quorum: {quorum}
  checkpoint_age: 10m              # how old the witnesses' signatures may be: so long may the host hide news

roles:
  approvers: [operator-a, operator-b, ministry]     # all must sign, and again for every new version
  auditors:  [regulator]                            # sees every statement, no data, no result
  recovery:  {{approvers: [operator-a, operator-b, ministry, regulator], quorum: 3, delay: 7d}}

pseudonyms:                        # the operators share a key that neither host nor enclave ever has
  roamers: {{of: imsi, keep_prefix: 6, shared_by: [operator-a, operator-b], new_key: each period}}

datasets:                          # keep: after so long the owner's agent destroys the key by itself
  roamers-a:
    {{provider: operator-a, schema: roamers, period: {period}, pseudonym: roamers, keep: 40d, minimum_rows: {minimum_rows}}}
  roamers-b:
    {{provider: operator-b, schema: roamers, period: {period}, pseudonym: roamers, keep: 40d, minimum_rows: {minimum_rows}}}

tasks:
  visitors:
    statistic: visitors
    inputs: {{a: roamers-a, b: roamers-b}}
    parameters: {{domestic_country: {domestic}, areas: tables/border.csv, mcc_country: tables/mcc.csv}}
    protection: enclave
    runners: [ministry]
    runs_per_period: 1             # a second run with one row less would tell about that row
    release_delay: {release_delay}            # time for an owner to refuse the release, with cause
    hold: {hold}                     # owner: the owners' agents wait for `sealstat party allow`
    holders: {{of: [operator-a, operator-b, regulator], threshold: 2}}   # of the split result key
    keepers: [ministry]            # keep the sealed results; at least one outside the host's house
    releases:                      # a table of the statistic that is not listed never leaves
      all:             {{to: [ministry, operator-a, operator-b], minimum: {minimum}, minimum_part: 3}}
      by_country:      {{to: [ministry], minimum: {minimum}, minimum_part: 3, complementary: true}}
      by_area:         {{to: [ministry], minimum: {minimum}, minimum_part: 3}}
      by_country_area: {{to: [ministry], minimum: {minimum}, minimum_part: 3, complementary: true}}
      quality:         {{to: [ministry], minimum: {minimum}}}

enclave:
  accept:                          # the code by its source digest: `sealstat measure` recomputes it
    - kind: simulated              # TRIALS ONLY: every output and proof says NOT PROTECTED BY HARDWARE
      root: "{simulated_root}"
      source: sha256:{source}
"""


def render_template(
    *,
    valid_from: date,
    valid_to: date,
    host_url: str,
    source: str,
    simulated_root: str,
    witnesses: Sequence[str] = ("witness-uni", "witness-press", "witness-ngo"),
    quorum: int = 2,
    period: str = "month",
    domestic: str = "ID",
    minimum: int = 10,
    minimum_rows: int = 1000,
    release_delay: str = "15m",
    hold: str = "none",
) -> str:
    """The visitors agreement with these terms filled in.

    Args:
        source, simulated_root: as `sealstat measure` and `sealstat enclave root` print them.
        witnesses: names of card files in ``cards/``.
    """
    return _VISITORS.format(
        valid_from=valid_from,
        valid_to=valid_to,
        host_url=host_url,
        source=source,
        simulated_root=simulated_root,
        witness_cards=", ".join(f"cards/{name}.json" for name in witnesses),
        quorum=quorum,
        period=period,
        domestic=domestic,
        minimum=minimum,
        minimum_rows=minimum_rows,
        release_delay=release_delay,
        hold=hold,
    )


def draft_text(kind: str, *, today: date, source: str) -> str:
    """A commented draft for a statistic, valid for a year from today.

    Raises:
        UnknownDraftError: there is no draft for that statistic.
    """
    if kind != "visitors":
        raise UnknownDraftError("no draft is called so: expected visitors")
    return render_template(
        valid_from=today,
        valid_to=today + timedelta(days=365),
        host_url="https://stats.example:8700",
        source=source,
        simulated_root="fill in what `sealstat enclave root` prints",
    )
