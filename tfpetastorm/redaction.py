"""Keeping credentials out of messages: those in URLs, and those that a filesystem was given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)(::|://)")
#: A URL in the middle of a text; what ends a sentence or a quotation is not part of it.
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://[^\s'\"<>`]*[^\s'\"<>`.,;:)\]}]")
#: `abfs://container@account/…` is an address, not a credential.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")
#: Options of filesystems, and parts of them, that are no credentials; whatever else is a text may be one.
_HARMLESS = frozenset({"endpoint_url", "region_name", "region", "scheme", "protocol", "host", "project", "consistency"})
_SECRET_VARIABLE = re.compile(r"SECRET|TOKEN|PASSWORD|_KEY|SAS|CREDENTIAL")
#: Shorter texts are found within words, and as options are no credentials.
_LEAST = 4


def redact(url: str) -> str:
    """`url` without user name, password and query values, fit for a message."""
    scheme, separator, rest = url.partition("://")
    if not _SCHEME.match(url) or not separator:
        return url
    kept = ""
    container, at, below = rest.partition("@")
    if at and scheme.lower() in _CONTAINERS and not re.search("[:/]", container):
        kept, rest = container + at, below
    else:
        # To the last "@": a secret that isn't quoted may hold any character, "/" and "::" and "@" too.
        rest = rest.rpartition("@")[2]
    rest, _, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    name, colon, port = host.rpartition(":")
    if colon and not port.isdigit() and not host.endswith("]"):
        host = name + ":…"
    shown = "&".join(part.partition("=")[0] + "=…" for part in query.split("&")) if query else ""
    return f"{scheme}://{kept}{host}{slash}{path}{'?' if shown else ''}{shown}"


def redact_text(text: str) -> str:
    """`text` with every URL in it redacted."""
    return _URL.sub(lambda found: redact(found.group()), text) if "://" in text else text


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without these secrets, as they are and as URLs have them, and with every URL in it redacted."""
    forms = {form for secret in secrets for form in (secret, unquote(secret), quote(secret, safe=""))}
    for form in sorted(filter(None, forms), key=len, reverse=True):
        # Of those that any word may hold, whole words.
        text = text.replace(form, "…") if len(form) >= _LEAST else re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "…", text)
    return redact_text(text)


def secrets_of_url(url: str) -> set[str]:
    """User name, password and query values of a URL: what may be secret in it."""
    userinfo = url.partition("://")[2].rpartition("@")[0]
    values = (part.partition("=")[2] for part in url.partition("?")[2].split("&"))
    # A driver that takes them for a part of its address cuts them at each "/".
    parts = (userinfo, *userinfo.split(":"), *re.split("[:/@]+", userinfo), *values)
    return {part for part in parts if part}


def secrets_of_options(options: Any) -> set[str]:
    """All texts in a filesystem's options, but for addresses, and those that the environment keeps for it."""
    return {text for text in (*_texts(options), *_environment()) if len(text) >= _LEAST}


def _texts(options: Any) -> Iterator[str]:
    if isinstance(options, str):
        yield options
    elif isinstance(options, bytes):
        yield options.decode("utf-8", "replace")
    elif isinstance(options, Mapping):
        for name, value in options.items():
            if name not in _HARMLESS:
                yield from _texts(value)
    elif isinstance(options, (list, tuple, set, frozenset)):
        for value in options:
            yield from _texts(value)


def _environment() -> Iterator[str]:
    return (value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name) and len(value) >= 8)
