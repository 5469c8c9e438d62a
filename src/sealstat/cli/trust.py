"""What a verifier trusts, and what it holds a proof against, read from folders."""
