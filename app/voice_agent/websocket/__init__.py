"""WebSocket connections (RFC 6455) on the event loop: frames, flow control, closing. Nothing here knows of calls."""
