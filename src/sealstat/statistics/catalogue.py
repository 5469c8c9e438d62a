"""The statistics and schemas that the code at hand knows, as the checks of an agreement ask for them."""

from sealstat.statistics.registry import Statistic, get, names
from sealstat.tables import schemas


class Catalogue:
    """See agreement.check.Catalogue."""

    def statistic(self, name: str) -> Statistic | None:
        """The statistic of this name, or None."""
        return get(name) if name in names() else None

    def schema_names(self) -> list[str]:
        """The names of all table schemas."""
        return schemas.names()

    def identifier(self, schema: str) -> tuple[str, int] | None:
        """The identifying column of a table, and how many of its digits stay readable; None if it has none."""
        table = schemas.get(schema)
        column = next((column.name for column in table.columns if column.kind in ("identifier", "pseudonym")), None)
        return None if column is None else (column, table.keep_prefix)

    def by_period_key(self, schema: str) -> bool:
        """Whether it is replaced under a key that an enclave draws, before the file is made."""
        return any(column.kind == "pseudonym" for column in schemas.get(schema).columns)
