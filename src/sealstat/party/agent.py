"""The agent: follows the log for its party and does what the agreements ask of it, and nothing else.

It calls out only. What it did and why stands in the ledger, and on its page (console/).
"""

import fcntl
import threading
import time
from collections.abc import Callable
from functools import partial

from sealstat.agreement.replay import ReplayError
from sealstat.crypto.errors import CryptoError
from sealstat.log.errors import LogError
from sealstat.party import duties
from sealstat.party.errors import PartyError
from sealstat.party.home import Home
from sealstat.party.member import Member, discover
from sealstat.wire.errors import WireError
from sealstat.wire.follow import StaleError

_PAUSE_S = 1.0
_WAIT_S = 5.0
_GIVE_BACK_EVERY_S = 600.0


class Agent:
    """One party's agent at one host."""

    def __init__(self, home: Home, host: str, *, say: Callable[[str], None] = lambda _: None) -> None:
        self.home, self.host, self._say = home, host, say
        self.stopped = threading.Event()
        self.members: dict[str, Member] = {}
        self.trouble: dict[str, str] = {}  # by agreement (or "" for the host): what keeps the agent from its duty
        self._given_back: dict[str, float] = {}  # by agreement
        self._last_act = 0

    def serve(self) -> None:
        """Work until ``stopped`` is set.

        Raises:
            PartyError: another agent works in this home: two would judge whom to release to without one another.
        """
        with (self.home.path / "agent.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PartyError(f"another agent is at work in {self.home.path}: end that one first") from None
            while not self.stopped.is_set():
                self.turn()
                self._rest()

    def turn(self) -> None:
        """Look once for new agreements, and do every duty of every agreement once."""
        self._guarded("", self._discover)
        for id in self.home.ledger.agreements():
            self._guarded(id, partial(self._serve, id))
        self._tell()

    def _discover(self) -> None:
        discover(self.home, self.host)

    def _serve(self, id: str) -> None:
        if id not in self.members:
            self.members[id] = Member(self.home, id, self.host)
        member = self.members[id]
        # the clock alone ends a retention: a host that is silent or lies must not keep a key alive
        duties.end_retention(member)
        member.update()
        duties.do_all(member)
        if time.monotonic() > self._given_back.get(id, -_GIVE_BACK_EVERY_S) + _GIVE_BACK_EVERY_S:
            duties.give_back(member)
            self._given_back[id] = time.monotonic()

    def _guarded(self, id: str, work: Callable[[], None]) -> None:
        """One agreement's trouble must not keep the agent from the others."""
        try:
            work()
        except (WireError, StaleError, PartyError, CryptoError, LogError, ReplayError) as error:
            if self.trouble.get(id) != str(error):
                self.trouble[id] = str(error)
                self._say(f"trouble{f' with agreement {id[:12]}' if id else ''}: {error}")
                if isinstance(error, LogError | ReplayError):
                    self.home.ledger.act("stopped serving an agreement", str(error), agreement=id or None)
        else:
            if self.trouble.pop(id, None) is not None:
                self._say(f"all well again{f' with agreement {id[:12]}' if id else ''}")

    def _tell(self) -> None:
        """Say aloud what was done since the last turn."""
        for at, _, what, why in reversed(self.home.ledger.acts_since(self._last_act)):
            self._say(f"{at} {what}: {why}")
        self._last_act = self.home.ledger.last_act()

    def _rest(self) -> None:
        """Wait until the log grows or a while has passed; delays and retention come due by themselves."""
        size = max((member.view.size for member in self.members.values()), default=0)
        client = next((member.client for member in self.members.values()), None)
        if client is None or self.trouble:
            self.stopped.wait(_PAUSE_S)
            return
        try:
            client.wait(size, self._patience_s())
        except WireError:
            self.stopped.wait(_PAUSE_S)

    def _patience_s(self) -> float:
        """Short while a result waits for its delay, so that it is released on time."""
        return _PAUSE_S if self.home.ledger.secret_refs("result-share") else _WAIT_S
