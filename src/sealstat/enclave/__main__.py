"""`python -I -B -X pycache_prefix=/dev/null -m sealstat.enclave`: one instance, told its request on standard input.

The launcher starts it. This is the entry point that is measured; the command line (cli/) is not part of the enclave.
"""

import argparse
import json
import sys
from pathlib import Path

from sealstat.agreement.replay import ReplayError
from sealstat.crypto.errors import CryptoError
from sealstat.enclave import memory
from sealstat.enclave.errors import SessionOver
from sealstat.enclave.measure import check_installed, check_started, measure
from sealstat.enclave.session import Launch, Session, Settings
from sealstat.evidence.attester import ATTESTERS, Attester, SimulatedAttester, of_kind
from sealstat.evidence.collateral import root_der
from sealstat.evidence.errors import EvidenceError
from sealstat.log.errors import LogError
from sealstat.wire.errors import WireError
from sealstat.wire.follow import StaleError

OVER = 75  # EX_TEMPFAIL: the launcher may start another instance


def main() -> int:
    """Serve one request; 0 when a record or refusal is in the log, 75 when this instance was passed by, 1 else."""
    parser = argparse.ArgumentParser(prog="sealstat.enclave", description=__doc__)
    parser.add_argument("--attester", choices=["simulated", *ATTESTERS], required=True)
    parser.add_argument("--simulated-root", type=Path, help="root key of the simulated kind; NOT HARDWARE")
    parser.add_argument("--device", help="place of the machine's interface; of a TPM, its TCTI")
    parser.add_argument("--collateral", type=Path, action="append", default=[], help="what the kind needs beside")
    parser.add_argument("--root", type=Path, action="append", default=[], help="certificate of the maker")
    parser.add_argument("--debug", action="store_true", help="say so in simulated evidence, as debug enclaves do")
    parser.add_argument("--memory-bytes", type=int, default=memory.default_bytes(), help="of the whole process")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--patience", type=float, default=3600.0, help="seconds to wait for owners and holders")
    options = parser.parse_args()
    try:
        memory.end_above(options.memory_bytes, _say)
        check_started()
        check_installed()
        measured = measure().digest
        attester = _attester(options, measured)
        told = sys.stdin.readline()
        if not told:
            return 0  # its launcher has ended, and there was nothing to do
        launch = Launch(**json.loads(told))
        settings = Settings(options.memory_bytes, options.scratch, options.patience)
        Session(launch, attester=attester, measurement=measured, settings=settings, say=_say).run()
    except SessionOver as over:
        _say(str(over))
        return OVER
    except (CryptoError, EvidenceError, LogError, ReplayError, StaleError, WireError) as error:
        # messages of these hold no value from data: they name the step, the place and the remedy
        _say(f"stopped: {error}")
        return 1
    except Exception as error:  # noqa: BLE001 - an engine's own words may quote data: they go nowhere
        _say(f"stopped by a fault of its own ({type(error).__name__})")
        return 1
    return 0


def _attester(options: argparse.Namespace, measured: str) -> Attester:
    if options.attester != "simulated":
        try:
            pieces = [path.read_bytes() for path in options.collateral]
            roots = [root_der(path.read_bytes()) for path in options.root]
        except OSError as error:
            raise EvidenceError(f"cannot read {error.filename}: {error.strerror}") from error
        return of_kind(options.attester, measured, device=options.device, pieces=pieces, roots=roots)
    if options.simulated_root is None:
        raise EvidenceError("the simulated kind needs --simulated-root, the file of its root key")
    return SimulatedAttester(options.simulated_root, measured, debug=options.debug)


def _say(sentence: str) -> None:
    print(f"enclave: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
