"""Tables: their schemas, reading and checking a provider's file, pseudonyms, sealed tables. Pure but for files."""
