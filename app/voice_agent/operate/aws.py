"""Access to AWS: clients of boto3, and its errors in sentences.

Region, credentials, profile and endpoint are boto3's own business (``AWS_REGION``,
``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and so on).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from voice_agent.operate.blocking import optional
from voice_agent.operate.ports import CutoverError

THROTTLED = frozenset(
    "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException "
    "TooManyRequestsException RequestLimitExceeded PriorRequestNotComplete LimitExceededException".split()
)
REFUSED = frozenset("AccessDenied AccessDeniedException UnauthorizedOperation".split())
NOT_KNOWN = frozenset("ExpiredToken ExpiredTokenException InvalidClientTokenId SignatureDoesNotMatch".split())


def client(service: str, *, error: type[CutoverError]) -> Any:
    """A client that tries again by itself, with growing pauses, four times in all. Raises `CutoverError`."""
    boto3, config = optional("boto3"), optional("botocore.config")
    options = config.Config(
        retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=10, tcp_keepalive=True
    )
    with sentences(f"a client of {service} cannot be made", error):
        # boto3's own default session would keep the first credentials that it found.
        return boto3.Session().client(service, config=options)


@contextmanager
def sentences(failed: str, error: type[CutoverError]) -> Iterator[None]:
    """Turn what botocore raises into `error`; `failed` says in words what did not happen."""
    exceptions = optional("botocore.exceptions")
    try:
        yield
    except exceptions.ClientError as raised:
        raise _answered(failed, raised, error) from raised
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError) as raised:
        raise error(f"{failed}: {_one_line(raised)}; set up AWS as for the `aws` command") from raised
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as raised:
        raise error(f"{failed}: AWS does not answer: {_one_line(raised)}", retryable=True) from raised
    except exceptions.BotoCoreError as raised:
        raise error(f"{failed}: {_one_line(raised)}") from raised


def _answered(failed: str, raised: Any, error: type[CutoverError]) -> CutoverError:
    told: dict[str, Any] = raised.response.get("Error", {})
    code, message = str(told.get("Code", "")), " ".join(str(told.get("Message", "")).split())
    status = raised.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in THROTTLED:
        return error(f"{failed}: AWS throttles {raised.operation_name} ({code}); try again", retryable=True)
    if code in REFUSED:
        return error(f"{failed}: AWS does not allow {raised.operation_name}; grant it to who runs this: {message}")
    if code in NOT_KNOWN:
        return error(f"{failed}: AWS does not take these credentials ({code}); renew them: {message}")
    return error(f"{failed}: {raised.operation_name} was refused with {code}: {message}", retryable=status >= 500)


def _one_line(raised: Exception) -> str:
    return " ".join(str(raised).split()).rstrip(".")
