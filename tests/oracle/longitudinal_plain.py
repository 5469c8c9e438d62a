"""The longitudinal statistic as its definition reads, with dictionaries and fractions: slow, short, independent."""

import hmac
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import sha256
from typing import Any

Tile = tuple[int, int]
Row = tuple[int, str, Tile, tuple[Fraction, ...]]


def weight(residents: Fraction, users: int) -> Fraction:
    if max(residents, users) < 10:
        return Fraction(1)
    return min(max(residents / users, Fraction(1, 5)), Fraction(10))


def count(
    rows: Iterable[Row],
    areas: Mapping[int, set[Tile]],
    census: Mapping[Tile, Fraction] | None,
    *,
    psi: Fraction,
    phi: Fraction,
    xi: Fraction,
    secret: bytes = bytes(32),
) -> dict[str, dict[Any, Any]]:
    """Tables by cell: fingerprint and strengths (plain; weighted if there is a census), top anchors, totals."""
    days: dict[Any, list[Fraction]] = {}
    for day, user, tile, values in rows:
        if any(value > 0 for value in values):
            before = days.get((day, user, tile), [Fraction(0)] * 4)
            days[day, user, tile] = [max(pair) for pair in zip(before, values, strict=True)]
    state: dict[str, dict[Tile, list[Fraction]]] = defaultdict(dict)
    for (_, user, tile), values in days.items():
        before = state[user].get(tile, [Fraction(0)] * 4)
        state[user][tile] = [sum(pair, Fraction(0)) for pair in zip(before, values, strict=True)]

    usual = {user: {t: v for t, v in tiles.items() if v[0] >= psi} for user, tiles in state.items()}
    usual = {user: tiles for user, tiles in usual.items() if tiles}
    top = {user: max(tiles, key=lambda t: _rank(user, t, tiles[t], secret)) for user, tiles in usual.items()}
    people: dict[Tile, int] = defaultdict(int)
    for tile in top.values():
        people[tile] += 1

    found: dict[str, dict[Any, Any]] = {"top_anchors": {t: n for t, n in people.items() if n >= xi}}
    ones = dict.fromkeys(usual, Fraction(1))
    found["fingerprint"], found["functional_urban_fingerprint"] = _tables(usual, ones, areas, phi, xi)
    weights = ones
    if census is not None:
        weights = {u: weight(census.get(t, Fraction(0)), people[t]) for u, t in top.items()}
        made = _tables(usual, weights, areas, phi, xi)
        found["calibrated_fingerprint"], found["calibrated_functional_urban_fingerprint"] = made
    found["statistics"] = {(): (len(state) - len(usual), len(usual), sum(weights.values()))}
    return found


def _rank(user: str, tile: Tile, v: list[Fraction], secret: bytes) -> Any:
    message = bytes.fromhex(user) + tile[0].to_bytes(2, "big") + tile[1].to_bytes(2, "big")
    return v[0], max(v[1:]), v[1], hmac.new(secret, message, sha256).digest()


def _tables(usual: Any, weights: Any, areas: Any, phi: Fraction, xi: Fraction) -> tuple[dict[Any, Any], dict[Any, Any]]:
    cells: dict[Tile, list[list[Fraction]]] = defaultdict(lambda: [[], [], [], []])
    for user, tiles in usual.items():
        for tile, v in tiles.items():
            for i in range(4):
                if i == 0 or v[i] / v[0] >= phi:
                    cells[tile][i].append(weights[user])
    fingerprint = {}
    for tile, cell in cells.items():
        told = [(sum(some), len(some)) if some and sum(some) >= xi else (0, 0) for some in cell]
        fingerprint[tile] = (*(value for value, _ in told), *(users for _, users in told))
    strengths = {}
    for area, members in areas.items():
        for tile in cells.keys() - members:
            of = [user for user, tiles in usual.items() if tile in tiles]
            linked = [user for user in of if usual[user].keys() & members]
            num, den = sum(weights[user] for user in linked), sum(weights[user] for user in of)
            if linked and num >= xi:
                strengths[area, *tile] = (num / den, len(of), len(linked))
    return fingerprint, strengths
