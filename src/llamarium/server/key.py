"""The key that opens the server.

Takes: a file, or the environment variable LLAMARIUM_API_KEY; never the command line, which every user of a machine can read.
Gives: whether what a request shows is that key, in a time that tells nothing about it.
Does not know: which routes there are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, NotFoundError, UsageError

VARIABLE = "LLAMARIUM_API_KEY"
_HINT = "Put one line of 16 or more letters and digits there, for example from `openssl rand -hex 24`."


class Key:
    """Only the SHA-256 of a key is kept: no log, traceback or dump of memory can show what was never held."""

    def __init__(self, secret: str) -> None:
        self._digest = hashlib.sha256(secret.encode()).digest()

    def opens(self, authorization: Sequence[bytes]) -> bool:
        """Whether the values of a request's Authorization header are one, and it is this key.

        ``Bearer KEY`` is what OpenAI's clients send; ``Basic``, with the key as password, is what a browser asks a person for,
        so that the page itself can be behind the key.
        """
        if len(authorization) != 1:
            return False
        scheme, _, value = authorization[0].partition(b" ")
        secret = value.strip()
        if scheme.lower() == b"basic":
            try:
                secret = base64.b64decode(secret, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(hashlib.sha256(secret).digest(), self._digest)


def read_key(file: Path | None, environment: Mapping[str, str]) -> Key | None:
    """The key in `file`, else in the environment; None where neither is given."""
    if file is None:
        return _key(environment[VARIABLE], UsageError(f"{VARIABLE} holds no key.", hint=_HINT)) if VARIABLE in environment else None
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > 4096:
            raise BadFileError(file, "holds no key.", hint=_HINT)
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"{file} does not exist.", hint=_HINT) from None
    except (OSError, UnicodeDecodeError):
        raise BadFileError(file, "cannot be read as a key.", hint=_HINT) from None
    key = _key(text, BadFileError(file, "holds no key.", hint=_HINT))
    if state.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        progress.say(f"others on this machine can read {file}: chmod 600 keeps the key yours")
    return key


def _key(text: str, error: Exception) -> Key:
    secret = text.strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise error
    return Key(secret)
