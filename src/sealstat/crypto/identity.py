"""Private keys: those of parties, hosts and enclave instances. They sign statements and open what is sealed."""

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sealstat.crypto.cards import SealingKey, SigningKeys, b64, unb64


@dataclass(frozen=True, slots=True)
class Signer:
    """Private signing keys, one for each algorithm of the card."""

    ed25519: Ed25519PrivateKey = field(repr=False)
    mldsa65: MLDSA65PrivateKey | None = field(repr=False, default=None)

    @classmethod
    def generate(cls, *, post_quantum: bool) -> "Signer":
        return cls(Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate() if post_quantum else None)

    def public(self) -> SigningKeys:
        return SigningKeys(
            ed25519=b64(self.ed25519.public_key().public_bytes_raw()),
            mldsa65=b64(self.mldsa65.public_key().public_bytes_raw()) if self.mldsa65 else None,
        )

    def sign(self, message: bytes) -> dict[str, bytes]:
        """A signature by each key, by algorithm name."""
        signatures = {"ed25519": self.ed25519.sign(message)}
        if self.mldsa65:
            signatures["mldsa65"] = self.mldsa65.sign(message)
        return signatures

    def to_secret(self) -> dict[str, str]:
        """The private keys as JSON, for a keystore only."""
        secret = {"ed25519": b64(self.ed25519.private_bytes_raw())}
        if self.mldsa65:
            secret["mldsa65"] = b64(self.mldsa65.private_bytes_raw())
        return secret

    @classmethod
    def from_secret(cls, secret: dict[str, Any]) -> "Signer":
        return cls(
            Ed25519PrivateKey.from_private_bytes(unb64(secret["ed25519"])),
            MLDSA65PrivateKey.from_seed_bytes(unb64(secret["mldsa65"])) if "mldsa65" in secret else None,
        )


@dataclass(frozen=True, slots=True)
class Opener:
    """The private half of a sealing key: ML-KEM-768 and X25519 together, so that either may fall."""

    mlkem768: MLKEM768PrivateKey = field(repr=False)
    x25519: X25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> "Opener":
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    def public(self) -> SealingKey:
        return SealingKey(
            mlkem768=b64(self.mlkem768.public_key().public_bytes_raw()),
            x25519=b64(self.x25519.public_key().public_bytes_raw()),
        )

    def hybrid(self) -> hpke.MLKEM768X25519PrivateKey:
        return hpke.MLKEM768X25519PrivateKey(self.mlkem768, self.x25519)

    def to_secret(self) -> dict[str, str]:
        """The private keys as JSON, for a keystore only."""
        return {
            "mlkem768": b64(self.mlkem768.private_bytes_raw()),
            "x25519": b64(self.x25519.private_bytes_raw()),
        }

    @classmethod
    def from_secret(cls, secret: dict[str, Any]) -> "Opener":
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(unb64(secret["mlkem768"])),
            X25519PrivateKey.from_private_bytes(unb64(secret["x25519"])),
        )
