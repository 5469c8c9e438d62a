"""What a party's own software says no to."""


class PartyError(Exception):
    """A request that cannot be carried out; one sentence says what, where and what to do."""


class WaitingTooLong(PartyError):  # noqa: N818 - it is a wait that ended, not a fault
    """Nobody answered in time; asking again goes on where this stopped."""


class NotInIt(PartyError):  # noqa: N818 - said, not raised at anybody
    """An agreement does not name this party."""
