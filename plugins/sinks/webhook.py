"""The `webhook` sink: each event as JSON to an address, signed as Standard Webhooks asks."""

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from daemon.contracts import ConfigPath, Factory, Needs, Sink
from daemon.domain import Event
from daemon.errors import RejectedEventError, SinkError
from daemon.hookspecs import hookimpl
from daemon.text import printable
from plugins.sinks._wanted import EventOptions, as_json

if TYPE_CHECKING:
    import urllib3

_NOT_NOW = {408, 425, 429}
"""Answers of the kind 4xx that say nothing against the event."""

_PREFIX = "whsec_"
_MOST_READ, _MOST_SAID = 65_536, 200


class WebhookOptions(EventOptions):
    """Where events are posted to, and how the receiver knows that they are genuine."""

    url: str = Field(description="The address, http or https; redirects are not followed.")
    secret: SecretStr | None = Field(
        default=None, description="The key of the signature; never shown. None: no signature."
    )
    secret_env: str | None = Field(
        default=None, description="The variable of the environment that holds the key instead."
    )
    secret_file: ConfigPath | None = Field(
        default=None, description="The file that holds the key instead."
    )
    headers: dict[str, SecretStr] = Field(
        default={},
        description="Further headers, such as Authorization; their values are hidden.",
    )
    timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="Seconds to connect, and to wait for the answer."
    )
    ca_file: ConfigPath | None = Field(
        default=None, description="Certificates to trust in place of the system's (PEM)."
    )
    proxy: str | None = Field(
        default=None,
        description="The address of an HTTP proxy; variables such as HTTPS_PROXY do not count.",
    )

    @field_validator("url", "proxy")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must be an address such as https://example.org/hook")
            if parts.username or parts.password:
                raise ValueError("must not hold a password; send one with `headers`")
        return url

    @field_validator("secret_env", "secret_file")
    @classmethod
    def _one_secret(cls, value: object, info: ValidationInfo) -> object:
        others = (info.data.get(name) for name in ("secret", "secret_env"))
        if value is not None and any(each is not None for each in others):
            raise ValueError("must be left out where another key gives the secret")
        return value

    def key(self) -> bytes | None:
        """Return the key of the signature as bytes, None for no signature.

        `whsec_` and Base64, as some receivers give it, is read as such; any other text is the key
        itself. Raises `SinkError`.
        """
        text = self._secret_text()
        if text is None:
            return None
        if not text:
            raise SinkError("the secret of the webhook is empty; give it at least 24 characters")
        if not text.startswith(_PREFIX):
            return text.encode()
        try:
            return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except binascii.Error as error:
            raise SinkError(f"the secret of the webhook is no Base64 behind {_PREFIX}") from error

    def _secret_text(self) -> str | None:
        if self.secret is not None:
            return self.secret.get_secret_value()
        if self.secret_env is not None:
            if self.secret_env not in os.environ:
                raise SinkError(f"the variable {self.secret_env} with the secret is not set")
            return os.environ[self.secret_env].strip()
        if self.secret_file is not None:
            try:
                return self.secret_file.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SinkError(f"the secret cannot be read: {error}") from error
        return None


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: HMAC-SHA256 over id, time and body, in Base64."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def message_id(event: Event) -> str:
    """Return what tells an event from all others, of earlier databases too; the same each try."""
    return f"{event.event_id}-{event.at}"


class Webhook:
    """Posts events one at a time over a connection that is kept; an answer 2xx is a receipt.

    408, 425, 429, 5xx and no answer mean later; any other 4xx rejects the event.
    """

    def __init__(self, options: WebhookOptions, now: Callable[[], float] = time.time) -> None:
        self._options = options
        self._now = now
        self._pool: urllib3.PoolManager | None = None

    def publish(self, event: Event) -> None:
        """Post a wanted event; raises `SinkError` or `RejectedEventError` with what was said."""
        if self._options.wants(event):
            body = as_json(event)
            answer = self._post(body, self._headers(event, body))
            if not 200 <= answer.status < 300:
                raise self._refusal(answer)

    def close(self) -> None:
        """Close the connection; the next event opens another."""
        if self._pool is not None:
            self._pool.clear()
            self._pool = None

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        timestamp = int(self._now())
        headers = {name: text.get_secret_value() for name, text in self._options.headers.items()}
        headers |= {
            "content-type": "application/json",
            "user-agent": "classifyd",
            "webhook-id": message_id(event),
            "webhook-timestamp": str(timestamp),
        }
        key = self._options.key()
        if key is not None:
            headers["webhook-signature"] = signature(key, message_id(event), timestamp, body)
        return headers

    def _post(self, body: bytes, headers: dict[str, str]) -> "_Answer":
        import urllib3

        if self._pool is None:
            self._pool = self._new_pool()
        try:
            with self._pool.request(
                "POST",
                self._options.url,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
            ) as response:
                return _Answer(response.status, _said(response), response.headers)
        except urllib3.exceptions.HTTPError as error:
            raise SinkError(f"{self._host}: {self._reason(error)}") from error

    def _new_pool(self) -> "urllib3.PoolManager":
        import ssl

        import urllib3

        settings: dict[str, Any] = {
            "timeout": urllib3.Timeout(self._options.timeout_s, self._options.timeout_s),
            "ssl_context": ssl.create_default_context(cafile=self._options.ca_file),
        }
        if self._options.proxy is not None:
            return urllib3.ProxyManager(self._options.proxy, **settings)
        return urllib3.PoolManager(**settings)

    def _refusal(self, answer: "_Answer") -> SinkError:
        said = f"{self._host} answered {answer.status}"
        if 300 <= answer.status < 400:
            return SinkError(f"{said}: redirects are not followed, so `url` must be the last one")
        if answer.text:
            said += f": {answer.text}"
        is_rejected = 400 <= answer.status < 500 and answer.status not in _NOT_NOW
        return (RejectedEventError if is_rejected else SinkError)(said, answer.after_s())

    def _reason(self, error: Exception) -> str:
        """Say what went wrong without the address, whose path may be a secret."""
        import urllib3

        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, TimeoutError | urllib3.exceptions.ReadTimeoutError):
            return f"no answer within {self._options.timeout_s:g} s"
        return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)

    @property
    def _host(self) -> str:
        return urlsplit(self._options.url).netloc


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a receiver answered."""

    status: int
    text: str
    headers: Mapping[str, str]

    def after_s(self) -> float | None:
        """Return the seconds that `Retry-After` asks to wait, a number or a date; None: none."""
        import urllib3

        asked = self.headers.get("retry-after")
        try:
            return None if asked is None else urllib3.Retry().parse_retry_after(asked)
        except urllib3.exceptions.InvalidHeader:
            return None


def _said(response: "urllib3.BaseHTTPResponse") -> str:
    """Read the beginning of an answer; a long one costs the connection, not memory."""
    import urllib3

    try:
        text = response.read(_MOST_READ, decode_content=False)
    except urllib3.exceptions.HTTPError:
        return ""  # the status has been told, and says enough
    return printable(text.decode("utf-8", "replace").strip()[:_MOST_SAID])


@hookimpl
def register_sinks() -> Iterable[Factory[Sink]]:
    """Offer posting to an address."""
    summary = "events as signed JSON to an address"
    return [Factory("webhook", Webhook, WebhookOptions, summary, lambda _: Needs(network=True))]
