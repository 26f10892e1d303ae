"""What a client is told when it gets no answer, in the form that OpenAI's clients read.

Takes: a status and one sentence.
Gives: an error that the application turns into its response.
Does not know: why it was raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, LlamariumError, NetworkError, NotFoundError, ResourceError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """A request that gets no answer. `code` is for programs, `param` the part of the request that is at fault."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def as_dict(self) -> dict[str, Any]:
        """``{"error": {"message", "type", "param", "code"}}``."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The response that says so."""
        return JSONResponse(self.as_dict(), self.status, headers=self.headers)


def busy() -> RefusedError:
    """The model answers somebody else."""
    return RefusedError(429, "The model is busy with another answer; it has one place.", code="busy", headers={"Retry-After": "1"})


def stopping() -> RefusedError:
    """The server was told to end."""
    return RefusedError(503, "The server is stopping.", code="stopping", headers={"Retry-After": "30"})


def refused(error: LlamariumError) -> RefusedError:
    """What went wrong below, as a refusal. A path of this machine is nobody's business: of a bad file only the reason is told.

    Nor is the address of another server that this one asks for vectors; who runs this one is told.
    """
    if isinstance(error, NetworkError):
        progress.say(error.message)
        return RefusedError(503, "A server that this one asks for vectors gives no answer.")
    message = error.reason if isinstance(error, BadFileError) else " ".join(filter(None, (error.message, error.hint)))
    status = 503 if isinstance(error, ResourceError) else 404 if isinstance(error, NotFoundError) else 400
    return RefusedError(status, message)
