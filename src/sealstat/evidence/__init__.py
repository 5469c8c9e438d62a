"""Evidence of what code an instance runs: one module per kind that verifies it, and attesters that produce it."""
