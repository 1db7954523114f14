"""What people say for what is written, a file for each language: see `spoken_form`."""
