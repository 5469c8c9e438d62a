"""The local web page on a party's own machine: what its agent does and why, from the log it read itself."""
