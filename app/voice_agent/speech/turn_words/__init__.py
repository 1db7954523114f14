"""What a language's speakers say where a turn goes on, and while they only listen: one file a language."""
