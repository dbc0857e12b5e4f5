"""Trying again what a store failed at in passing: an overloaded server, a connection that was cut.

pyarrow's and fsspec's own clients try again too, each in its way; this covers what they give up on, all stores alike.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tfpetastorm.errors import Place, StoreError, describe

_T = TypeVar("_T")

#: Waits of about 0.1, 0.3, 0.9 and 2.7 s lie between the tries.
TRIES = 5
_FIRST_WAIT = 0.1
_FACTOR = 3.0
#: Seconds after which nothing is tried again: some clients have then tried a dozen times by themselves, with waits.
_PATIENCE = 30.0

#: Answers, and no failures: the caller knows what they mean.
_ANSWERS = (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError)
#: Words of our own, for servers that files can't be read from in ranges: each try would cost the whole file again.
IGNORES_RANGES = "ignores ranges"
TELLS_NO_SIZE = "does not tell the size"
_ABSENT_WORDS = ("NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "HTTP status 404")
#: Refusals that the same request will meet again, where a client gives only words: pyarrow's names of S3's errors, and
#: status codes.
_LASTING_WORDS = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "INVALID_CLIENT_TOKEN_ID",
    "INVALID_SIGNATURE",
    "SIGNATURE_DOES_NOT_MATCH",
    "HTTP status 301",
    "HTTP status 400",
    "HTTP status 401",
    "HTTP status 403",
    "HTTP status 416",
    # A bucket that is not there, and what clients refuse to ask at all.
    "allow_bucket_creation",
    "Parameter validation failed",
    IGNORES_RANGES,
    TELLS_NO_SIZE,
)
#: Packages whose exceptions are no `OSError`, but tell of a connection.
_CLIENTS = {
    "aiohttp",
    "aiobotocore",
    "asyncio",
    "azure",
    "botocore",
    "concurrent",
    "gcsfs",
    "http",
    "requests",
    "urllib3",
}


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later: trouble of a network or a server, and no answer."""
    if isinstance(error, (*_ANSWERS, PermissionError)):
        return False
    if isinstance(error, OSError):
        return not any(word in str(error) for word in (*_LASTING_WORDS, *_ABSENT_WORDS))
    root = type(error).__module__.partition(".")[0]
    return isinstance(error, EOFError) or (isinstance(error, Exception) and root in _CLIENTS)


def retried(call: Callable[[], _T], what: str, place: Place) -> _T:
    """What `call` returns, tried up to 5 times with growing waits while its errors may pass, not
    again after 30 seconds.

    what, place: what failed and where, for the message. Raises StoreError after the last try, and at once if the store
    refuses; FileNotFoundError for what is not there; what is no trouble of a store, as it is.
    """
    wait = _FIRST_WAIT
    # Not the global generator, whose state belongs to the user.
    chance = random.SystemRandom()
    start = time.monotonic()
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            if passes(error):
                if attempt == TRIES or time.monotonic() - start > _PATIENCE:
                    times = f"{attempt} times" if attempt > 1 else "once"
                    raise _failed(f"{what}, tried {times}", place, error) from None
            elif isinstance(error, _ANSWERS) or not isinstance(error, OSError):
                raise
            elif any(word in str(error) for word in _ABSENT_WORDS):
                raise FileNotFoundError(reason_of(error)) from None
            else:
                raise _failed(what, place, error) from None
        # Workers that failed together should not come back together.
        time.sleep(wait * chance.uniform(0.5, 1.5))
        wait *= _FACTOR
    raise AssertionError("unreachable")


def refused(error: StoreError) -> bool:
    """Whether a web server refused what was asked, of which it may hide so whether it is there."""
    return any(word in str(error) for word in ("HTTP status 401", "HTTP status 403"))


def _failed(what: str, place: Place, error: Exception) -> StoreError:
    remedy = "Check the address, the permissions and the network, and try again. No rows were left out."
    return StoreError(describe(f"{what}: {reason_of(error)}", place, remedy=remedy))


def reason_of(error: BaseException) -> str:
    """An error's words on one line, without a full stop, or its class where it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
