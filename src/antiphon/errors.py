"""The exception tree, which is the API's error table: every HTTP error of the API is one of these classes.

Shape and codes follow the reference's error object ``{"error": {"message", "type", "param", "code"}}``.
Client mistakes are exceptions of this tree; programmer mistakes are asserts.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

RETRY_AFTER: Final = 1.0
"""Seconds after which a client may repeat a request, unless the error gives a better estimate."""


class APIError(Exception):
    """An error that a client may see. ``param`` is a path such as ``messages[0].role``."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = "server_error"
    retry_after: float | None = None
    """Seconds after which a retry may succeed; sent as the Retry-After header."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code
        if retry_after is not None:
            self.retry_after = retry_after
        self.headers: Mapping[str, str] = headers or {}
        """Further headers of the answer."""


class InvalidRequestError(APIError):
    """The request is malformed, or this server or model cannot do it (400)."""

    status = 400
    type = "invalid_request_error"
    code: str | None = None


class AuthenticationError(APIError):
    """The API key is missing, unknown, expired or revoked (401)."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDeniedError(APIError):
    """The key is known but lacks the scope that the route needs (403)."""

    status = 403
    type = "invalid_request_error"
    code = "insufficient_permissions"


class NotFoundError(APIError):
    """The route, model or object does not exist, or another project owns it (404)."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFoundError(NotFoundError):
    """This server does not serve the requested ``model`` (404)."""

    code = "model_not_found"


class MethodNotAllowedError(APIError):
    """The path exists, the method does not (405)."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeoutError(APIError):
    """The body did not arrive in time, or the answer was read too slowly; the connection is closed (408)."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class ConflictError(APIError):
    """The request contradicts an earlier one (409)."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class PayloadTooLargeError(APIError):
    """The body is larger than the server accepts (413)."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaTypeError(APIError):
    """The body is not ``application/json``, in UTF-8 and not compressed (415)."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_content_type"


class RateLimitError(APIError):
    """The waiting queue is full or a limit is reached (429, with Retry-After)."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry_after: float | None = RETRY_AFTER


class BodyMemoryError(RateLimitError):
    """Other requests' bodies leave no memory for this one; the connection is closed (429, with Retry-After)."""

    code = "body_memory_exceeded"


class AnswerMemoryError(RateLimitError):
    """Other answers leave no memory for more of this one (429, with Retry-After)."""

    code = "answer_memory_exceeded"


class InternalServerError(APIError):
    """A defect of the server (500)."""


class ServiceUnavailableError(APIError):
    """The engine is starting or restarting, or it died while it answered (503, with Retry-After)."""

    status = 503
    type = "server_error"
    code = "service_unavailable"
    retry_after: float | None = RETRY_AFTER


class DatabaseUnavailableError(ServiceUnavailableError):
    """The database fails, and the request needs it (503, with Retry-After)."""

    code = "database_unavailable"
