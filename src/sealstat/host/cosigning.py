"""From an append to a published checkpoint: sign the tree, have the witnesses cosign it, publish at a quorum.

Runs in the server's event loop. One witness that is slow, down or wrong holds nobody up while the others make a
quorum; without a quorum nothing is published and the loop tries again, ever more slowly.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx

from sealstat.host.bell import Bell
from sealstat.host.settings import Settings, WitnessAddress
from sealstat.log.checkpoint import Checkpoint, parse_checkpoint, verify_checkpoint
from sealstat.log.errors import LogError, WitnessConflictError
from sealstat.log.note import SignatureLine, add_signatures, parse_note, parse_verifier_key
from sealstat.log.store import TileLog
from sealstat.log.witness import MAX_RESPONSE_BYTES, build_add_checkpoint, parse_response

GATHER_S = 0.02
TIMEOUT_S = 5.0
_RETRY_S = (0.25, 10.0)

_log = logging.getLogger("sealstat.host")


class Cosigning:
    """The loop, and what it last published.

    Attributes:
        published_size: of the newest cosigned checkpoint.
        published_at: when it was published, POSIX seconds.
        ahead: a witness has cosigned a larger tree of this log than the host has: the home is an old copy.
    """

    def __init__(
        self,
        log: TileLog,
        settings: Settings,
        *,
        client: httpx.AsyncClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._settings, self._client, self._clock = log, settings, client, clock
        self._keys = {address.url: parse_verifier_key(address.card.cosigner) for address in settings.witnesses}
        self._sizes: dict[str, int] = dict.fromkeys(self._keys, 0)
        self._busy = {url: asyncio.Lock() for url in self._keys}
        self._wake, self._grown = asyncio.Event(), Bell()
        self._round, self._failures, self._tried_at = 0, 0, 0.0
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks by weak references only
        self.published_size, self.published_at, self.ahead = 0, 0.0, False
        self._recall()

    def _recall(self) -> None:
        note = self._log.published()
        if note is None:
            return
        try:
            verified = verify_checkpoint(
                note, log_key=self._log.verifier, witnesses=list(self._keys.values()), quorum=self._settings.quorum
            )
        except LogError:
            return  # other witnesses than before, say: cosign afresh
        self.published_size = verified.checkpoint.size
        self.published_at = float(min(verified.cosigned_at.values(), default=0))

    def appended(self) -> None:
        """The log has grown; called in the event loop."""
        self._wake.set()

    async def wait(self, size: int, seconds: float) -> int:
        """The published size as soon as it is above ``size``, or after so many seconds, or when the host stops."""
        until = self._clock() + seconds
        while self.published_size <= size and (left := until - self._clock()) > 0 and not self._grown.closed:
            await self._grown.wait(left)
        return self.published_size

    def release_waiters(self) -> None:
        """Let every long poll answer now: the host is about to stop."""
        self._grown.close()

    async def run(self) -> None:
        """Cosign until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass
            self._wake.clear()
            self._tried_at = self._clock()
            try:
                done = await self._cosign()
            except (LogError, OSError) as error:
                _log.warning("no checkpoint was published: %s", type(error).__name__)
                done = False
            self._failures = 0 if done else self._failures + 1

    def _pause(self) -> float:
        """Seconds until the next round if nothing is appended meanwhile."""
        if self._failures:
            first, most = _RETRY_S
            return min(most, first * 2.0 ** min(self._failures, 10))
        if self.published_at == 0 or self._log.size > self.published_size:
            return 0.0
        return max(0.0, self.published_at + self._settings.recosign_s - self._clock())

    async def _cosign(self) -> bool:
        """One round; True when a quorum was published."""
        self._round += 1
        number, note = self._round, await asyncio.to_thread(self._log.sign_checkpoint)
        checkpoint = parse_checkpoint(parse_note(note).text)
        asking = {
            asyncio.create_task(self._ask(address, note, checkpoint, number)) for address in self._settings.witnesses
        }
        self._tasks |= asking
        lines: list[SignatureLine] = []
        while len(lines) < self._settings.quorum and asking:
            finished, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            lines += [line for task in finished if (line := task.result()) is not None]
            self._tasks -= finished
        done = len(lines) >= self._settings.quorum
        if done:
            await self._publish(note, lines, checkpoint.size)
        if asking:
            straggling = asyncio.create_task(self._add_stragglers(note, lines, checkpoint.size, asking, number))
            self._tasks.add(straggling)
            straggling.add_done_callback(self._tasks.discard)
        return done

    async def _add_stragglers(
        self,
        note: bytes,
        lines: list[SignatureLine],
        size: int,
        asking: set[asyncio.Task[SignatureLine | None]],
        number: int,
    ) -> None:
        """Publish once more with the cosignatures that came behind the quorum: some reader may need these."""
        late = [line for line in await asyncio.gather(*asking) if line is not None]
        self._tasks -= asking
        if late and number == self._round:
            await self._publish(note, lines + late, size)

    async def _publish(self, note: bytes, lines: list[SignatureLine], size: int) -> None:
        if lines:
            note = add_signatures(note, lines, [self._log.verifier, *self._keys.values()])
        await asyncio.to_thread(self._log.publish, note)
        self.published_size, self.published_at = size, self._clock()
        self._grown.ring()

    async def _ask(
        self, address: WitnessAddress, note: bytes, checkpoint: Checkpoint, number: int
    ) -> SignatureLine | None:
        """One witness's cosignature, or None; the reason goes to the operator's log."""
        url = address.url
        async with self._busy[url]:
            if number != self._round:
                return None  # while we waited for an earlier answer, the log has moved on
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._add_checkpoint(url, note, checkpoint)
            except (LogError, httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
                _log.warning("witness %s did not cosign: %s", address.card.name, type(error).__name__)
                return None

    async def _add_checkpoint(self, url: str, note: bytes, checkpoint: Checkpoint) -> SignatureLine | None:
        for _ in range(3):
            old = self._sizes[url]
            if old > checkpoint.size:
                self.ahead = True
                _log.error("a witness has cosigned a larger tree than this host has: stop, and restore the newest home")
                return None
            proof = await asyncio.to_thread(self._proof, old, checkpoint.size)
            try:
                lines = await self._post(url, build_add_checkpoint(old, proof, note))
            except WitnessConflictError as error:
                self._sizes[url] = error.size
                continue
            self._sizes[url] = checkpoint.size
            return self._own_line(url, note, lines)
        return None

    def _own_line(self, url: str, note: bytes, lines: tuple[SignatureLine, ...]) -> SignatureLine | None:
        key, text = self._keys[url], parse_note(note).text
        for line in lines:
            if (line.name, line.key_id) == (key.name, key.key_id):
                key.verify(text, line)
                return line
        return None

    def _proof(self, old: int, new: int) -> list[bytes]:
        return [] if old in {0, new} else self._log.consistency_proof(old, new)

    async def _post(self, url: str, body: bytes) -> tuple[SignatureLine, ...]:
        target = f"{url.rstrip('/')}/add-checkpoint"
        async with self._client.stream("POST", target, content=body) as answer:
            received = bytearray()
            async for chunk in answer.aiter_bytes():
                received += chunk
                if len(received) > MAX_RESPONSE_BYTES:
                    break  # the parser refuses it by its length
            return parse_response(
                answer.status_code, bytes(received), content_type=answer.headers.get("content-type", "")
            )
