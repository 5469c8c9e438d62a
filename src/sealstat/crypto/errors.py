"""What can go wrong with bytes, keys and signatures."""


class CryptoError(Exception):
    """Bytes that are not what they claim to be; nothing of them may be used."""


class MalformedError(CryptoError, ValueError):
    """Bytes that do not have the one form they may have (size, encoding, canonical order, model)."""


class SignatureError(CryptoError):
    """A signature that is missing, wrong, or made by a key that does not count here."""


class SealError(CryptoError):
    """A ciphertext that does not open for this key, purpose, sender and receiver."""


class KeystoreError(CryptoError):
    """A keystore that cannot be opened: wrong passphrase, loose file mode, damaged file."""
