"""Other servers beside this one, under the same load, in one run: ``python -m loadtest.peers --help``."""
