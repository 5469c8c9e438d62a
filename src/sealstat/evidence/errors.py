"""Why evidence is not accepted."""


class EvidenceError(Exception):
    """Evidence that is forged, stale, bound to something else, or not what the agreement accepts."""


class UnsupportedError(EvidenceError):
    """A kind of evidence that this version cannot judge: neither good nor forged."""
