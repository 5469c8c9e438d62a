"""The calls that parties and enclaves make: signed requests to the host, and how its log is followed."""
