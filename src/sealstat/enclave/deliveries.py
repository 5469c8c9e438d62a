"""Opening a delivery: ciphertext parts in, validated Arrow batches out, behind one function.

A provider's table is hostile input to native code. This module holds one delivery's key and hands on nothing but
typed columns, so that it can move into a confined process of its own without anything else changing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from sealstat.agreement import contexts
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import Entry
from sealstat.agreement.statements import Count, Delivery
from sealstat.crypto.cards import Strict, unb64
from sealstat.crypto.errors import CryptoError, MalformedError
from sealstat.statistics import Stateful
from sealstat.tables import schemas
from sealstat.tables.ahead import ahead
from sealstat.tables.checking import Rules
from sealstat.tables.errors import DataError
from sealstat.tables.numbers import Scale
from sealstat.tables.period_pseudonyms import opened
from sealstat.tables.sealed import MAX_LIST_BYTES, key_check, open_part, parse_parts_list
from sealstat.tables.whole import check_size, check_whole
from sealstat.wire.client import HostClient


class ReleasedKey(Strict):
    """What an owner seals to an instance: the delivery's key and its true counts."""

    key: str
    rows: Count
    rejects: dict[str, Count]
    size: Count


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """A delivery whose key was released to this instance.

    Attributes:
        allowed: the closed lists of the task's parameters, by column.
        scale: what the task's parameters say of numbers.
    """

    agreement: str
    entry: Entry[Delivery]
    released: ReleasedKey = field(repr=False)
    allowed: Mapping[str, list[str]]
    scale: Scale

    @property
    def schema(self) -> pa.Schema:
        """The columns of its batches."""
        return schemas.get(self.entry.body.table).delivered

    def check_counts(self, agreement: Agreement) -> None:
        """Check that key and counts are those the delivery committed to, and that the agreement takes them.

        Raises:
            DataError: they are not; the provider is at fault.
        """
        said, dataset = self.entry.body, agreement.datasets[self.entry.body.dataset]
        given = self.released
        key = unb64(given.key)
        expected = key_check(key, self.agreement, said.dataset, said.period, given.rows, given.rejects, given.size)
        if expected != said.key_check:
            raise DataError("the released key is not the one that the delivery committed to")
        if given.rows < dataset.minimum_rows:
            raise DataError("the delivery has fewer rows than the agreement's minimum")
        if dataset.rejects_too_many(rows=given.rows, rejected=sum(given.rejects.values())):
            raise DataError("more rows were rejected than the agreement's maximum_rejects allows")

    def batches(self, client: HostClient) -> Iterator[pa.RecordBatch]:
        """All rows, part by part, each authenticated, decoded within limits, validated, then checked by value.

        Raises:
            DataError: anything is not what the delivery, its schema or the agreement says.
            WireError: the host does not give a part, or another one than listed.
        """
        said, key, rows = self.entry.body, unb64(self.released.key), 0
        place = contexts.delivery_place(said.dataset, said.period)
        table = schemas.get(said.table)
        rules, kept = Rules(table, said.period, self.allowed, self.scale), list[pa.RecordBatch]()
        try:
            listed = parse_parts_list(client.get_blob(self.agreement, said.parts.digest, limit=MAX_LIST_BYTES))
        except MalformedError as error:
            raise DataError("the delivery's list of parts does not have its form") from error
        if len(listed) != said.parts.count:
            raise DataError("the delivery's list has another number of parts than the delivery says")

        def decoded(index: int) -> list[pa.RecordBatch]:
            part = listed[index]
            sealed = client.get_blob(self.agreement, part.sha256)
            if len(sealed) != part.size:
                raise DataError("a part has another size than listed")
            last = index == len(listed) - 1
            try:
                found = open_part(
                    sealed,
                    key=key,
                    agreement=self.agreement,
                    place=place,
                    index=index,
                    last=last,
                    schema=self.schema,
                )
            except CryptoError as error:
                raise DataError(str(error)) from error
            for batch in found:
                rules.check_delivered(batch)
            return found

        for found in ahead(decoded, range(len(listed)), workers=2, name="open"):
            for batch in found:
                rows += len(batch)
                if table.whole:
                    check_size(rows, DataError)
                    kept.append(batch)
                yield batch
        if rows != self.released.rows:
            raise DataError("the table has another number of rows than its owner said")
        if table.whole:
            check_whole(pa.Table.from_batches(kept, self.schema), table, DataError)


class OpenedDay:
    """A day's rows under the inner ids behind their pseudonyms.

    Attributes:
        rows, forged: how many rows were handed on; how many had a pseudonym that was not made under the period's key
            (each such row is found but for one in 2^32), were dropped, and count as rejects.
    """

    def __init__(self, delivery: OpenDelivery, key: bytes, stateful: Stateful) -> None:
        self.delivery, self._key, self._stateful = delivery, key, stateful
        self.rows = self.forged = 0

    def batches(self, client: HostClient) -> Iterator[pa.RecordBatch]:
        """All good rows, from the first, in the order in which they were delivered.

        Raises:
            DataError: see OpenDelivery.batches.
        """
        self.rows = self.forged = 0
        for batch in self.delivery.batches(client):
            high, low, good = opened(batch.column(0), self._key)
            rows = self._stateful.rows(batch, high, low)
            if not good.all():
                self.forged += len(batch) - int(good.sum())
                rows = rows.filter(pa.array(good))
            self.rows += len(rows)
            yield rows

    def check(self, agreement: Agreement) -> None:
        """Check, after all rows, that forged ones and rejects together are not too many.

        Raises:
            DataError: they are.
        """
        dataset = agreement.datasets[self.delivery.entry.body.dataset]
        rejected = self.forged + sum(self.delivery.released.rejects.values())
        if dataset.rejects_too_many(rows=self.rows, rejected=rejected):
            raise DataError("more rows were rejected or forged than the agreement's maximum_rejects allows")
