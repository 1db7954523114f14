"""Resume tokens: proof that a client was given a call, which any pod can check without the store.

One token a call, made of the call's id and `VOICE_SECRET`; it has no time of its own. What ends it is the end of the
call, or its API key's revocation.
"""

from __future__ import annotations

import hashlib
import hmac


def resume_token(secret: bytes, call_id: str) -> str:
    """HMAC-SHA256 over the call id, as 64 hex digits."""
    return hmac.new(secret, b"resume:" + call_id.encode(), hashlib.sha256).hexdigest()


def is_resume_token(secret: bytes, call_id: str, token: str) -> bool:
    """Whether `token` belongs to the call; takes the same time for every wrong one."""
    return hmac.compare_digest(resume_token(secret, call_id).encode(), token.encode())
