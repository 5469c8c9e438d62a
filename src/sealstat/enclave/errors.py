"""How a session may end other than with a record."""


class SessionOver(Exception):  # noqa: N818 - an end, not an error
    """This instance has nothing more to do: it is over, or another one took its place. No statement is due."""


class Refused(Exception):  # noqa: N818 - the protocol's word
    """The run cannot be done as asked; the reason is one of the closed list.

    Attributes:
        reason: for the log, never derived from data.
        detail: one sentence for the owner at fault (sealed), or None.
        owner: the party at fault, or None.
    """

    def __init__(self, reason: str, sentence: str, *, owner: str | None = None) -> None:
        self.reason, self.owner = reason, owner
        super().__init__(sentence)
