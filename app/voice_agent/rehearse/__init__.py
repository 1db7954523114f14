"""A rehearsal: a store, two pods of each color, HAProxy and talking callers on one machine, cut over for real."""
