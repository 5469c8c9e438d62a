"""Waking all who wait in the event loop."""

import asyncio
import contextlib


class Bell:
    """Rings for everybody who waits at that moment; closed, it keeps nobody waiting any more."""

    def __init__(self) -> None:
        self._event, self.closed = asyncio.Event(), False

    def ring(self) -> None:
        """Wake all waiters."""
        old, self._event = self._event, asyncio.Event()
        old.set()

    def close(self) -> None:
        """Wake all waiters, now and from now on."""
        self.closed = True
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the next ring, at most so long."""
        if not self.closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._event.wait()
