"""What an operator sets: where the host lives, how it is called, who cosigns, and how much it takes from anyone."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sealstat.crypto.cards import WitnessCard
from sealstat.crypto.statement import STATEMENT_LIMIT_BYTES

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the host takes; whatever is above is refused, never cut.

    Attributes:
        statement_bytes: an envelope in base64 around the largest payload, with its signatures.
        part_bytes: a blob.
        statement_quota_bytes, blob_quota_bytes: of one card in one agreement.
        open_requests: run-requests of one party in one agreement that still wait for their record.
        requests_per_s, burst: of one card; of one address, for requests without a good signature.
        open_calls: requests of one card answered at the same time, long polls among them.
        connections: open at the same time, of all callers.
        header_timeout_s: from connecting, or the last answer, to the end of the next request's header.
        body_timeout_s: without a byte of a body.
        body_rate_bytes_s: slowest upload, after the first ``body_timeout_s``.
        disk_floor_bytes: no blob is taken that would leave less free, so that statements still fit.
    """

    statement_bytes: int = 2 * STATEMENT_LIMIT_BYTES
    part_bytes: int = 33 * _MIB
    statement_quota_bytes: int = 1024 * _MIB
    blob_quota_bytes: int = 1024 * 1024 * _MIB
    open_requests: int = 64
    requests_per_s: float = 200.0
    burst: int = 1000
    open_calls: int = 32
    connections: int = 1000
    header_timeout_s: float = 10.0
    body_timeout_s: float = 20.0
    body_rate_bytes_s: int = 8 * 1024
    disk_floor_bytes: int = 64 * _MIB


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """A witness's card, and where it takes checkpoints (the prefix of ``add-checkpoint``)."""

    card: WitnessCard
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one host runs.

    Attributes:
        home: folder with keys, database, blobs and log, made by ``setup.create``.
        url: scheme, host and port under which callers sign their requests; no path.
        quorum: how many of the witnesses must cosign before a checkpoint is published.
        recosign_s: an unchanged tree is cosigned afresh this often, well within every agreement's checkpoint age.
        lease_s: a launch whose launcher is silent this long has lapsed.
        database: SQLAlchemy URL; by default SQLite in ``home``.
    """

    home: Path
    url: str
    witnesses: tuple[WitnessAddress, ...] = ()
    quorum: int = 0
    recosign_s: float = 120.0
    lease_s: float = 5.0
    database: str | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("the host's url must be http(s)://name[:port] without a path")
        if not 0 <= self.quorum <= len(self.witnesses):
            raise ValueError(f"a quorum of {self.quorum} needs as many witnesses, there are {len(self.witnesses)}")

    @property
    def base(self) -> str:
        """The url without a slash at its end."""
        return self.url.rstrip("/")
