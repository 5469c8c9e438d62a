"""Why no proof can be made or read."""


class BundleError(ValueError):
    """A proof that cannot be made yet, or a file that is none."""
