"""What can go wrong between a party or instance and the host."""


class WireError(Exception):
    """The host cannot be reached, or answers something that it should not."""


class HostRefusal(WireError):  # noqa: N818 - a refusal is its own word here
    """The host says no.

    Attributes:
        status: of HTTP.
        code: the host's word for the reason.
    """

    def __init__(self, *, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(message)


class MissingError(WireError):
    """What was asked for is not with the host (or not for this card)."""


class TamperedError(WireError):
    """What the host gave is not what its digest says."""
