"""All calls of one process: who is let in, who owns what, what is looked after, how a pod leaves."""
