"""The client on each party's premises: its home and keys, its agent, its deliveries, runs and results."""
