"""What is answered to a request that is not served."""

from __future__ import annotations


class Refusal(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
    retry_after : float, optional
        Seconds after which trying again makes sense.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after
