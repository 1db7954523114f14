"""How large the parts of this tree are, and which of them import which: see ``python -m tests.house --help``."""
