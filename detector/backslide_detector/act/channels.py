"""Where alerts go: the log and a signed webhook."""

import base64
import hmac
import ipaddress
import json
import logging
import socket
import time
from typing import Final, Protocol
from urllib.parse import urlsplit

import requests

from backslide_detector.errors import DeliveryError, UserError
from backslide_detector.ledger.outbox import Alert

log = logging.getLogger(__name__)

SECONDS: Final = 20.0
PREFIX: Final = "whsec_"
LEAST_SECRET_BYTES: Final = 16
METADATA: Final = frozenset({"100.100.100.200", "fd00:ec2::254"})
"""Cloud metadata services outside the link-local range."""


class Channel(Protocol):
    """One way to tell somebody."""

    def send(self, alert: Alert) -> None:
        """Hands an alert over, or raises DeliveryError; `alert.id` marks repeats."""
        ...


class LogChannel:
    """One line in the detector's log."""

    def send(self, alert: Alert) -> None:
        """Logs the message as a warning."""
        # An alert that waited through an upgrade has a summary alone.
        text = alert.payload.get("text") or alert.payload.get("summary")
        log.warning("ALERT %s: %s (run %s)", alert.reason, text, alert.run_id)


class WebhookChannel:
    """JSON by POST, signed as Standard Webhooks 1.0.0 says (standardwebhooks.com)."""

    def __init__(self, url: str, secret: str | None) -> None:
        """Posts to `url`; without a secret nothing is signed.

        Raises:
            UserError: the secret is not `whsec_` and base64 of at least 16 bytes.
        """
        self._url = url
        self._key = None if secret is None else _key(secret)
        self._session = requests.Session()

    def send(self, alert: Alert) -> None:
        """Posts once; the outbox repeats."""
        refuse_internal(self._url)
        body = json.dumps(dict(alert.payload), sort_keys=True)
        headers = {"content-type": "application/json", "user-agent": "backslide"}
        headers |= self._signature(alert.id, int(time.time()), body)
        try:
            answer = self._session.post(
                self._url,
                data=body.encode(),
                headers=headers,
                timeout=SECONDS,
                allow_redirects=False,  # a redirect could lead anywhere
                stream=True,  # whatever it answers is not read
            )
        except requests.RequestException as error:
            raise DeliveryError(f"{type(error).__name__} at {_host(self._url)}") from error
        answer.close()
        if not 200 <= answer.status_code < 300:
            raise DeliveryError(
                f"{_host(self._url)} answered {answer.status_code}",
                final=answer.status_code == requests.codes.gone,
                retry_after=_seconds(answer.headers.get("retry-after")),
            )

    def _signature(self, key: str, moment: int, body: str) -> dict[str, str]:
        headers = {"webhook-id": key, "webhook-timestamp": str(moment)}
        if self._key is not None:
            signed = hmac.digest(self._key, f"{key}.{moment}.{body}".encode(), "sha256")
            headers["webhook-signature"] = "v1," + base64.b64encode(signed).decode()
        return headers


def refuse_internal(url: str) -> None:
    """Refuses addresses that no receiver of alerts has: cloud metadata, multicast and the like.

    Loopback and private networks are allowed: the destination comes from the administrator's
    settings, never from a run.

    Raises:
        DeliveryError: the host cannot be resolved (try later) or must not be talked to.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DeliveryError("only http:// and https:// addresses are posted to", final=True)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{parts.hostname}: {error}") from error
    for *_, address in found:
        where = _plain(ipaddress.ip_address(str(address[0]).partition("%")[0]))
        if _internal(where):
            raise DeliveryError(f"{parts.hostname} is {where}: refused", final=True)


def _internal(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.is_loopback:
        return False  # IPv6 counts ::1 among the reserved
    odd = address.is_multicast or address.is_unspecified or address.is_reserved
    return odd or address.is_link_local or str(address) in METADATA


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside a mapped, 6to4 or NAT64 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if len(key) < LEAST_SECRET_BYTES:
        raise UserError(
            f"webhook_secret: must be {PREFIX} and base64 of at least "
            f"{LEAST_SECRET_BYTES} random bytes"
        )
    return key


def _host(url: str) -> str:
    """A path may hold a token, so only the host is shown."""
    return urlsplit(url).hostname or "the webhook"


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None
