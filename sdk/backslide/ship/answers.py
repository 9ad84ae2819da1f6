"""What MLflow's answers, and their absence, mean to a delivery."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

import mlflow.utils.request_utils
import requests
from mlflow.exceptions import MlflowException, RestException
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from backslide.ship.remote import AwayError, GoneError, RejectedError

REFUSALS: Final = frozenset({400, 404, 409, 413, 422})


def refused(error: Exception) -> bool:
    """True when sending the same again can only fail again.

    An answer counts as a refusal only when it is MLflow's own JSON; an HTML page comes from
    something in between and says nothing about the content. The exception is 413, which a proxy
    gives to what is too large for it.
    """
    match error:
        case requests.HTTPError() if error.response is not None:
            return error.response.status_code in REFUSALS
        case RestException():
            return error.get_http_status_code() in REFUSALS
        case MlflowException():
            text = str(error)
            if "API request to" in text:
                return "failed with error code 413" in text
            return error.get_http_status_code() in REFUSALS  # MLflow's own check on this side
        case _:
            return False


@contextmanager
def answers() -> Iterator[None]:
    """Turns whatever goes wrong with a call into AwayError or RejectedError."""
    _advice.clear()
    try:
        yield
    except (AwayError, RejectedError, GoneError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        if refused(error):
            raise RejectedError(text) from error
        raise AwayError(text, max(_advice, default=None)) from error


_advice: list[float] = []
"""What servers have said in Retry-After, in seconds, since the last call began."""


class _Listener(Retry):
    """Hears Retry-After, which MLflow's client drops when it is not to retry by itself."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        *args: Any,  # noqa: ANN401  # passed on
        **kwargs: Any,  # noqa: ANN401  # the same
    ) -> Self:
        """Notes the answer's advice, then does what urllib3 does."""
        with suppress(InvalidHeader):
            wait = None if response is None else self.get_retry_after(response)
            if wait is not None:
                _advice.append(wait)
        return super().increment(method, url, response, *args, **kwargs)


# The one place to stand: MLflow builds its sessions with the class of this name. A version of
# MLflow that does not will be asked again after our own pauses.
mlflow.utils.request_utils.Retry = _Listener


def missing(why: RejectedError) -> bool:
    """Whether MLflow refused because it knows no such run."""
    cause = why.__cause__
    return isinstance(cause, MlflowException) and cause.error_code == "RESOURCE_DOES_NOT_EXIST"
