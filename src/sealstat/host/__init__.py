"""The untrusted host: a postman that stores ciphertext, statements and the log, and can open none of it."""
