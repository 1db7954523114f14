"""Wire protocols: bytes to inputs of a call, and its events to bytes. One module each; nothing here waits."""
