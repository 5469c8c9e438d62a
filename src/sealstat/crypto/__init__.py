"""Identities, signatures and statements, sealing, key shares. Pure, but for the keystore file."""
