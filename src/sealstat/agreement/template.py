"""The draft to start from: a commented agreement in YAML that answers a lawyer's and an engineer's questions."""

from collections.abc import Sequence
from datetime import date, timedelta


class UnknownDraftError(ValueError):
    """There is no draft for that statistic."""


_HEAD = """\
# What the parties write and sign. Edit it, then:
#   sealstat agreement check FILE      every mistake at once, with its line
#   sealstat agreement explain FILE    what it means, in plain language: read this before you sign
#   sealstat agreement approve FILE    sign it; the others approve the same text by its id
# Everything here is a promise that the programs keep: a field that they do not know is refused, not ignored.
# Times are 30s, 15m, 12h or 40d. Files are named by their path from this file's folder; what is signed holds
# their contents, so that nobody can exchange a file afterwards.
sealstat: 1
"""

_VERSION = """\
version: 1                         # a later version counts up, and says  supersedes: sha256:... (the id before it)

# Why the data may be used. Every run names one of these; no other purpose is possible.
"""

_VALID = """\

# After the last day no key and no result is released any more.
valid: {{from: {valid_from}, to: {valid_to}}}          # UTC, both days included

# Who takes part. A card holds public keys alone and comes from `sealstat party card`; have its fingerprint
# read aloud to you by a voice that you know.
"""

_HOST = """\

# The host stores ciphertexts and the log. It never has a key, and need not be trusted with data.
host:
  {{card: cards/host.json, url: "{host_url}", operated_by: national-data-centre, merge_delay: 1m}}

# Witnesses countersign the log, so that the host cannot show one log to some and another to others.
witnesses:                         # each in another house; the quorum must be more than half
  cards: [{witness_cards}]
  quorum: {quorum}
  checkpoint_age: 10m              # how old the witnesses' signatures may be: so long may the host hide news

"""

_ENCLAVE = """\

# The computers to which the owners' programs give keys, by what they prove about themselves.
enclave:
  accept:                          # the code by its source digest: `sealstat measure` recomputes it
{accept}"""
_SIMULATED = """\
    - kind: simulated              # TRIALS ONLY: every output and proof says NOT PROTECTED BY HARDWARE
      root: "{simulated_root}"
      source: sha256:{source}
"""

_VISITORS = (
    _HEAD
    + """\
title: Foreign visitors in border areas, operators A and B
"""
    + _VERSION
    + """\
purpose:
  - id: tourism-statistics
    text: Monthly counts of foreign visitors in border areas
    legal_basis: Statistics Act, section 12; data protection impact assessment   # fill in yours
"""
    + _VALID
    + """\
parties:
  operator-a: {{card: cards/operator-a.json}}
  operator-b: {{card: cards/operator-b.json}}
  ministry:   {{card: cards/ministry.json}}
  regulator:  {{card: cards/regulator.json}}
"""
    + _HOST
    + """\
roles:
  approvers: [operator-a, operator-b, ministry]     # all must sign, and again for every new version; each can end it
  auditors:  [regulator]                            # sees every statement, no data, no result
  # a party that lost all its keys, the offline ones too, gets a new card if so many agree, after a delay
  recovery:  {{approvers: [operator-a, operator-b, ministry, regulator], quorum: 3, delay: 7d}}

# How a subscriber's number is replaced before it leaves the house: by a code under a key that the operators
# share and that neither host nor enclave ever has. A new key for every period: nobody is followed over periods.
# The first 6 digits, country and home network, stay readable beside the code.
pseudonyms:
  roamers: {{of: imsi, keep_prefix: 6, shared_by: [operator-a, operator-b], new_key: each period}}

# What is delivered, encrypted, for every period. keep: after so long the owner's agent destroys the key by itself.
datasets:
  roamers-a:
    {{provider: operator-a, schema: roamers, period: {period}, pseudonym: roamers, keep: 40d, minimum_rows: {minimum_rows}}}
  roamers-b:
    {{provider: operator-b, schema: roamers, period: {period}, pseudonym: roamers, keep: 40d, minimum_rows: {minimum_rows}}}

# What may be computed from it. Nothing else can be.
tasks:
  visitors:
    statistic: visitors            # see `sealstat statistic describe visitors`
    inputs: {{a: roamers-a, b: roamers-b}}
    # tables/border.csv has one column, border_area; tables/mcc.csv has two, mcc and country (like 510,ID)
    parameters: {{domestic_country: {domestic}, areas: tables/border.csv, mcc_country: tables/mcc.csv}}
    protection: enclave
    runners: [ministry]            # who may ask for a run
    runs_per_period: 1             # a second run with one row less would tell about that row
    release_delay: {release_delay}            # time for an owner to refuse the release, with cause
    hold: {hold}                     # owner: the owners' agents wait for `sealstat party allow`
    # The key of every result is split. Any two of these three can open it with a recipient, so the third may
    # lose its keys; and a provider alone cannot. Every provider must be among them.
    holders: {{of: [operator-a, operator-b, regulator], threshold: 2}}
    keepers: [ministry]            # keep the sealed results; at least one outside the host's house
    # Who receives which table. minimum: a figure about fewer persons is left out. minimum_part: so is one from which
    # a smaller part, as those whom one operator alone saw, could be told. complementary: further figures are left
    # out where a missing one could be computed from the totals.
    releases:                      # a table of the statistic that is not listed never leaves
      # by this table each operator learns about the other, as it can subtract its own
      all:             {{to: [ministry, operator-a, operator-b], minimum: {minimum}, minimum_part: 3}}
      by_country:      {{to: [ministry], minimum: {minimum}, minimum_part: 3, complementary: true}}
      by_area:         {{to: [ministry], minimum: {minimum}, minimum_part: 3}}
      by_country_area: {{to: [ministry], minimum: {minimum}, minimum_part: 3, complementary: true}}
      quality:         {{to: [ministry], minimum: {minimum}}}
"""
    + _ENCLAVE
)

_LONGITUDINAL = (
    _HEAD
    + """\
title: Usual environments of an operator's subscribers, for official statistics
"""
    + _VERSION
    + """\
purpose:
  - id: population-statistics
    text: Where people usually are, by square kilometre and time of day, and how places are linked
    legal_basis: Statistics Act, section 12; data protection impact assessment   # fill in yours
"""
    + _VALID
    + """\
parties:
  operator:  {{card: cards/operator.json}}
  office:    {{card: cards/office.json}}          # the statistical office
  regulator: {{card: cards/regulator.json}}
"""
    + _HOST
    + """\
roles:
  approvers: [operator, office]                     # both must sign, and again for every new version; each can end it
  auditors:  [regulator]                            # sees every statement, no data, no result
  # a party that lost all its keys, the offline ones too, gets a new card if so many agree, after a delay
  recovery:  {{approvers: [operator, office, regulator], quorum: 2, delay: 7d}}

# How a subscriber's number is replaced before it leaves the house: by an inner code under a key that the operator alone
# has; and that by a pseudonym under a key of each day, which an enclave draws by the task named here. So an approved
# enclave can link the days, and nobody else can. See `sealstat pseudonymise --help`.
pseudonyms:
  subscribers: {{of: user_id, keep_prefix: 0, shared_by: [operator], new_key: each period, drawn_by: keys}}

# What is delivered, encrypted. keep: after so long the owner's agent destroys the key by itself.
datasets:
  days:
    {{provider: operator, schema: presence, period: day, pseudonym: subscribers, keep: 40d, minimum_rows: {minimum_rows}}}
  areas:  {{provider: office, schema: reference_areas, period: {period}, keep: 400d}}
  census: {{provider: office, schema: census, period: {period}, keep: 400d}}

# What may be computed from it. Nothing else can be.
tasks:
  keys:
    statistic: period_keys         # draws the key of a day's pseudonyms, once
    inputs: {{days: days}}
    protection: enclave
    runners: [operator, office]
    holders: {{of: [operator, office, regulator], threshold: 2}}
    keepers: [office]
  usual-environment:
    statistic: longitudinal        # see `sealstat statistic describe longitudinal`
    inputs: {{days: days, reference_areas: areas, census: census}}
    # It takes in each day once, in any order, and makes one report for this period; then the days are forgotten.
    report: {report}
    parameters:
      psi: "{psi}"
      phi: "0.5"
      calibrate: true
      # Rows outside this rectangle of tiles (km, ETRS89-LAEA) are rejected at home: narrow it to your country.
      tile_e_min: 0
      tile_e_max: 65535
      tile_n_min: 0
      tile_n_max: 65535
    protection: enclave
    runners: [operator, office]    # who may ask for a day to be taken in, and for the report
    release_delay: {release_delay}            # time for an owner to refuse the release, with cause
    hold: {hold}                     # owner: the owners' agents wait for `sealstat party allow`
    # The keys of state and results are split. Any two of these three can open a state, or with a recipient a result, so
    # the third may lose its keys; and a provider alone cannot. Every provider must be among them.
    holders: {{of: [operator, office, regulator], threshold: 2}}
    keepers: [office]              # keep the sealed state and results; at least one outside the host's house
    # Who receives which table. minimum: a figure about fewer subscribers is left out. minimum_part: so is one from which a
    # smaller part could be told.
    releases:                      # a table of the statistic that is not listed never leaves
      fingerprint:                             {{to: [office, operator], minimum: {minimum}, minimum_part: 3}}
      calibrated_fingerprint:                  {{to: [office], minimum: {minimum}, minimum_part: 3}}
      functional_urban_fingerprint:            {{to: [office, operator], minimum: {minimum}, minimum_part: 3}}
      calibrated_functional_urban_fingerprint: {{to: [office], minimum: {minimum}, minimum_part: 3}}
      top_anchors:                             {{to: [office], minimum: {minimum}}}
      statistics:                              {{to: [office, operator], minimum: {minimum}, minimum_part: 3}}
      # how each day's data look: users by class, rounded down to multiples of quality_minimum (20), lower ones hidden
      quality:                                 {{to: [office, operator], minimum: {minimum}}}
"""
    + _ENCLAVE
)


_DRAFTS = {"visitors": _VISITORS, "longitudinal": _LONGITUDINAL}
_MORE: dict[str, dict[str, str]] = {
    "visitors": {"period": "month", "domestic": "ID"},
    "longitudinal": {"report": "month", "psi": "10"},
}


def render(
    kind: str,
    *,
    valid_from: date,
    valid_to: date,
    host_url: str,
    source: str,
    simulated_root: str,
    witnesses: Sequence[str] = ("witness-uni", "witness-press", "witness-ngo"),
    quorum: int = 2,
    minimum: int = 10,
    minimum_rows: int = 1000,
    release_delay: str = "15m",
    hold: str = "none",
    accept: str | None = None,
    **more: str,
) -> str:
    """The draft of a kind with these terms filled in.

    Args:
        source, simulated_root: as `sealstat measure` and `sealstat enclave root` print them.
        accept: entries of the enclave's list, as YAML, in place of the simulated one.
        witnesses: names of card files in ``cards/``.
        more: of visitors ``period`` (month, range, day) and ``domestic`` (country); of longitudinal ``report`` (month, or
            a range of days) and ``psi``.
    """
    terms = {**_MORE[kind], **more}
    if "report" in terms:
        terms["period"] = "month" if terms["report"] == "month" else "range"
    return _DRAFTS[kind].format(
        valid_from=valid_from,
        valid_to=valid_to,
        host_url=host_url,
        accept=accept or _SIMULATED.format(source=source, simulated_root=simulated_root),
        witness_cards=", ".join(f"cards/{name}.json" for name in witnesses),
        quorum=quorum,
        minimum=minimum,
        minimum_rows=minimum_rows,
        release_delay=release_delay,
        hold=hold,
        **terms,
    )


def draft_text(kind: str, *, today: date, source: str) -> str:
    """A commented draft for a statistic, valid for a year from today.

    Raises:
        UnknownDraftError: there is no draft for that statistic.
    """
    if kind not in _DRAFTS:
        raise UnknownDraftError(f"no draft is called so: expected {' or '.join(_DRAFTS)}")
    return render(
        kind,
        valid_from=today,
        valid_to=today + timedelta(days=364),
        host_url="https://stats.example:8700",
        source=source,
        simulated_root="fill in what `sealstat enclave root` prints",
    )
