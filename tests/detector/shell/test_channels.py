"""Alerts over the wire: what a receiver can verify, and what is never posted to."""

import json

import pytest
import requests
from pytest_httpserver import HTTPServer
from standardwebhooks import Webhook, WebhookVerificationError
from tests.detector.shell.builders import Mailbox, a_ledger
from tests.detector.shell.test_ledger import A_RECORD, a_head, an_alert, change

from backslide_detector.act.alerts import deliver
from backslide_detector.act.channels import WebhookChannel, refuse_internal
from backslide_detector.errors import DeliveryError, UserError
from backslide_detector.ledger.outbox import RETRY_SECONDS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def ledger(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.enqueue([a_head(0)])
    (lease,) = ledger.claim(1)
    ledger.record(lease, A_RECORD, [an_alert()])
    yield ledger
    ledger.close()


def test_the_reference_library_verifies_our_signature(httpserver: HTTPServer):
    httpserver.expect_request("/hook", method="POST").respond_with_data(status=204)
    WebhookChannel(httpserver.url_for("/hook"), SECRET).send(an_alert())
    request, _ = httpserver.log[0]
    verified = Webhook(SECRET).verify(request.data, dict(request.headers.items()))
    assert verified == {"summary": "worse"}
    assert request.headers["webhook-id"] == "key-regressed"
    other = "whsec_" + "B" * 32
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(request.data, dict(request.headers.items()))


def test_without_a_secret_nothing_is_signed(httpserver: HTTPServer):
    httpserver.expect_request("/hook").respond_with_data(status=200)
    WebhookChannel(httpserver.url_for("/hook"), None).send(an_alert())
    assert "webhook-signature" not in httpserver.log[0][0].headers


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_äää", "password"])
def test_a_secret_that_is_none_is_a_mistake(secret):
    with pytest.raises(UserError):
        WebhookChannel("http://127.0.0.1/", secret)


def test_a_redirect_is_not_followed(httpserver: HTTPServer):
    target = httpserver.url_for("/elsewhere")
    httpserver.expect_request("/hook").respond_with_data(
        status=307, headers={"location": target}
    )
    with pytest.raises(DeliveryError, match="answered 307"):
        WebhookChannel(httpserver.url_for("/hook"), None).send(an_alert())
    assert [request.path for request, _ in httpserver.log] == ["/hook"]


def test_gone_is_final_and_retry_after_is_heard(httpserver: HTTPServer):
    httpserver.expect_ordered_request("/hook").respond_with_data(status=410)
    httpserver.expect_ordered_request("/hook").respond_with_data(
        status=503, headers={"retry-after": "77"}
    )
    channel = WebhookChannel(httpserver.url_for("/hook"), None)
    with pytest.raises(DeliveryError) as gone:
        channel.send(an_alert())
    assert gone.value.final
    with pytest.raises(DeliveryError) as busy:
        channel.send(an_alert())
    assert (busy.value.final, busy.value.retry_after) == (False, 77.0)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://2852039166/",
        "http://224.0.0.1/",
        "http://0.0.0.0/",
        "http://[::]/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
    ],
)
def test_addresses_that_are_no_receivers_are_refused(url):
    with pytest.raises(DeliveryError) as error:
        refuse_internal(url)
    assert error.value.final


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]/", "http://10.0.0.8/"])
def test_the_administrators_own_network_is_allowed(url):
    refuse_internal(url)


def test_what_fails_is_tried_again_on_schedule_and_then_given_up(ledger):
    class Dead:
        def send(self, alert):
            raise DeliveryError("nobody there")

    for attempt in range(len(RETRY_SECONDS) + 1):
        assert ledger.outbox.pending() == 1, attempt
        assert deliver(ledger.outbox, {"mail": Dead()}) == 0
        assert deliver(ledger.outbox, {"mail": Mailbox()}) == 0, "not due yet"
        change(ledger, "UPDATE outbox SET due_at = 0 WHERE due_at IS NOT NULL")
    assert ledger.outbox.pending() == 0


def test_a_delivery_that_recovers_arrives_under_the_same_id(ledger, httpserver: HTTPServer):
    httpserver.expect_ordered_request("/hook").respond_with_data(status=500)
    httpserver.expect_ordered_request("/hook").respond_with_data(status=200)
    channels = {"mail": WebhookChannel(httpserver.url_for("/hook"), SECRET)}
    assert deliver(ledger.outbox, channels) == 0
    change(ledger, "UPDATE outbox SET due_at = 0")
    assert deliver(ledger.outbox, channels) == 1
    ids = {request.headers["webhook-id"] for request, _ in httpserver.log}
    assert (len(httpserver.log), len(ids)) == (2, 1)
    assert json.loads(httpserver.log[1][0].data) == {"summary": "worse"}


def test_an_answer_without_end_does_not_hold_the_sender(httpserver: HTTPServer, monkeypatch):
    def refused(*args, **kwargs):
        raise requests.ReadTimeout("too slow")

    channel = WebhookChannel(httpserver.url_for("/hook"), None)
    monkeypatch.setattr(channel._session, "post", refused)
    with pytest.raises(DeliveryError, match="ReadTimeout at localhost"):
        channel.send(an_alert())
