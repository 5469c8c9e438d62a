"""The trusted runner: one process per request, from the measured modules alone."""
