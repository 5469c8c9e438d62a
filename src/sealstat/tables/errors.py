"""What can be wrong with a table. No message holds a value of it: messages reach logs and, some, other parties."""


class TableError(Exception):
    """A table that may not be used."""


class BadFile(TableError):  # noqa: N818 - the word of the party who reads it; it is a refusal, not a crash
    """A provider's file that is refused as a whole, before or while it is read; nothing of it may be delivered."""


class DataError(TableError):
    """An opened table that is not what its schema says: its maker is at fault, the reason for a run is `data`."""


class Unsorted(DataError):  # noqa: N818 - a request to sort, before it is a fault
    """A table's rows do not come in the order that its reader needs."""
