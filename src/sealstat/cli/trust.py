"""What a verifier trusts, and what it holds a proof against, read from folders."""

import json
from pathlib import Path

import pyarrow.parquet

from sealstat.crypto.cards import HostCard, PartyCard, WitnessCard, parse_card, unb64
from sealstat.crypto.errors import CryptoError
from sealstat.release.commitment import content
from sealstat.verify import BundleError, Trust

_RESULT_LIMIT_BYTES = 1 << 30


def read_trust(folder: Path | None) -> Trust:
    """Trust in the cards of a folder (every .json in it); without one, in nobody in particular.

    Raises:
        BundleError: a file of the folder is no card.
    """
    return Trust() if folder is None else Trust.of_cards(read_cards(folder))


def read_cards(folder: Path) -> list[PartyCard | HostCard | WitnessCard]:
    """The cards of a folder: every .json in it.

    Raises:
        BundleError: there is none, or a file is no card.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise BundleError(f"{folder} holds no cards: put the cards of those you trust there as .json files")
    cards: list[PartyCard | HostCard | WitnessCard] = []
    for path in paths:
        try:
            card = parse_card(path.read_bytes())
        except CryptoError as error:
            raise BundleError(f"{path} is no card: {error}") from error
        if card.kind == "instance":
            raise BundleError(f"{path} is the card of an enclave instance: trust in one is what a proof must show")
        cards.append(card)
    return cards


def read_results(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    """The tables that `fetch` wrote: salt and content of each, by name.

    Raises:
        BundleError: the folder is not one that `fetch` wrote.
    """
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        found = {}
        for name, table in about["tables"].items():
            path = folder / f"{Path(name).name}.parquet"
            if path.stat().st_size > _RESULT_LIMIT_BYTES:
                raise BundleError(f"{path} is larger than any result")
            found[name] = (unb64(table["salt"]), content(name, pyarrow.parquet.read_table(path)))
    except (OSError, ValueError, KeyError, TypeError, CryptoError, pyarrow.ArrowException) as error:
        raise BundleError(f"{folder} is not a folder that `sealstat fetch` wrote") from error
    return found
