"""What callers may say: a JSGF grammar, and the pronunciations of its words from the CMU dictionary."""
