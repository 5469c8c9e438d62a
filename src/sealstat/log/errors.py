"""What can go wrong with a log: one class for each thing a caller would do differently.

LogError
  MalformedError          bytes that are no tile path, bundle, note, key, checkpoint, proof file or request
  SignatureError          a known key's line does not verify, or no known key signed
  CheckpointError         signed, but not this log's, or impossible
  QuorumError             too few witnesses
  ProofError              an inclusion or consistency proof that does not hold
  MissingTileError        the log does not serve a file that its checkpoint needs
  TreeMismatchError       what the log serves is not what its checkpoint signs
  SplitView, Rollback     provable misbehaviour of the log: both notes are kept
  WitnessConflictError    a witness knows another size than the caller thought
  WitnessRefusedError     a witness will not cosign
  StoreError              the files of a log or witness do not fit together
"""

from __future__ import annotations


class LogError(ValueError):
    """Base of every refusal of this room."""


class MalformedError(LogError):
    """Bytes that do not have the form the specification demands; nothing was verified."""


class SignatureError(LogError):
    """A signature line of a known key does not verify, or no known key signed at all."""


class CheckpointError(LogError):
    """A checkpoint that is well signed but of another log, or cannot be true."""


class QuorumError(LogError):
    """Fewer distinct witnesses cosigned than are needed.

    Attributes:
        needed: how many distinct witness keys the caller's policy asks for.
        found: how many cosigned.
    """

    def __init__(self, *, needed: int, found: int) -> None:
        self.needed, self.found = needed, found
        super().__init__(f"checkpoint is cosigned by {found} of the {needed} witnesses needed: wait for more")


class ProofError(LogError):
    """An inclusion or consistency proof that does not hold."""


class MissingTileError(LogError):
    """The log does not serve a file that it should: a ``fetch`` raises this for 'not found'.

    Attributes:
        path: below the log's prefix, as in the C2SP layout.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"the log has no file {path}: ask again, or report the log if it stays away")


class TreeMismatchError(LogError):
    """Tiles or entries that do not give the root which the checkpoint signs.

    No proof of misbehaviour by the log's key holder: a broken disk or a liar on the way can cause it too.
    """


class _MisbehaviourError(LogError):
    def __init__(self, message: str, *, old_note: bytes, new_note: bytes) -> None:
        self.old_note, self.new_note = old_note, new_note
        super().__init__(message)


class SplitView(_MisbehaviourError):  # noqa: N818 - the field says "split view"
    """The log signed two checkpoints that no single append-only tree has.

    Attributes:
        old_note, new_note: the two signed notes as received: the evidence, to be kept and shown to others.
    """


class Rollback(_MisbehaviourError):  # noqa: N818 - as above
    """The log answered with a smaller tree than it had signed before (it may be an old copy, but act on it).

    Attributes:
        old_note, new_note: the two signed notes as received.
    """


class WitnessConflictError(LogError):
    """A witness last cosigned another size than the request assumed.

    Attributes:
        size: what the witness has. Above the caller's own size, somebody knows a longer log: stop and alarm.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the witness last cosigned size {size}: build the consistency proof from there")


class WitnessRefusedError(LogError):
    """A witness will not cosign.

    Attributes:
        status: its HTTP status: 400 malformed, 403 bad signature, 404 unknown log, 422 no consistency.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the witness refused the checkpoint with status {status}: see its operator's log")


class StoreError(LogError):
    """The files of a log or a witness are locked, lost or do not fit together; nothing was changed."""
