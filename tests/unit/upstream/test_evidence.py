"""What is not HTTP is named where that is certain, and quoted where it is not."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.upstream import evidence
from gateway.upstream.evidence import PLAIN_HTTP_REFUSED
from gateway.wordings import ANOTHER_PROTOCOL

ERROR = GatewayError(Reason.HTTP_PROTOCOL_ERROR, "the answer begins with “…”")

# --- first octets -----------------------------------------------------------------------------------------------------

GREETINGS = {
    "ssh": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "SSH"),
    "redis-protected": (b"-DENIED Redis is running in protected mode because protected mode is enabled", "Redis"),
    "smtp": (b"220 mail.example.com ESMTP Postfix (Debian/GNU)\r\n", "SMTP"),
    "ftp": (b"220-Welcome\r\n220 (vsFTPd 3.0.3)\r\n", "FTP"),
    "pop3": (b"+OK Dovecot ready.\r\n", "POP3"),
    "imap": (b"* OK [CAPABILITY IMAP4rev1 SASL-IR] Dovecot ready.\r\n", "IMAP"),
    "mysql": (b"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00", "MySQL"),
    "mariadb": (b"\x6e\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\x00", "MariaDB"),
    "mysql-blocked": (b"\x45\x00\x00\x00\xff\x6a\x04Host '::1' is not allowed to connect", "MySQL"),
    "postgresql": (b"E\x00\x00\x00\x8eSFATAL\x00VFATAL\x00C0A000\x00Munsupported frontend protocol", "PostgreSQL"),
    "amqp": (b"AMQP\x00\x00\x09\x01", "AMQP"),
    "vnc": (b"RFB 003.008\n", "VNC"),
    "nats": (b'INFO {"server_id":"NCXMJZYQ","version":"2.10.7"}\r\n', "NATS"),
    # nginx 1.22 with `listen … http2` and no TLS; then the empty SETTINGS of a gRPC server written in Go.
    "h2c-nginx": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", "HTTP/2"),
    "h2c-grpc": (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", "HTTP/2"),
    # Node's http2.createServer would begin with SETTINGS, too; what is told first is its server's choice.
    "h2c-goaway": (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02", "HTTP/2"),
}


@pytest.mark.parametrize(("octets", "name"), GREETINGS.values(), ids=GREETINGS.keys())
def test_a_certain_signature_is_named(octets: bytes, name: str) -> None:
    judged = evidence.recognize(ERROR, octets)
    assert judged.reason is (Reason.UPSTREAM_SPEAKS_HTTP2 if name == "HTTP/2" else Reason.HTTP_PROTOCOL_ERROR)
    assert judged.detail.startswith("the app began with an " if name == "HTTP/2" else f"{ERROR.detail}: ")
    assert name in judged.detail
    assert judged.wording is (None if name == "HTTP/2" else ANOTHER_PROTOCOL)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"S",
        b"SSH is not spoken here",
        b"2200",
        b"-1\r\n",
        # Redis's, and anybody's who begins an error so: POP3 does, and so may a protocol of one's own.
        b"-ERR wrong number of arguments for 'get' command\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-DENIED by policy\r\n",
        b"Unauthorized",
        b"\x16\x03\x01\x02\x00\x01",  # a ClientHello: whoever says that echoes us
        b"\x15\x03\x03\x00\x03\x02\x46",  # an alert has two octets
        b"* OKTETT",
        b"Exception in thread main: StackOverflow",
        b"Unauthorized access is logged\r\n",
        b"ERROR\r\n",
        bytes(9),
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x01",  # SETTINGS belong to stream 0
        b"\x15",
        b"\x17\x03\x03\x00\x02\x02\x46",  # no TLS connection begins with application data
        b"http/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_is_not_certain_is_left_as_it_was(octets: bytes) -> None:
    assert evidence.recognize(ERROR, octets) is ERROR


@pytest.mark.parametrize(
    ("octets", "kind"),
    [(b"\x15\x03\x01\x00\x02\x02\x46", "an alert"), (b"\x16\x03\x03\x00\x7a\x02", "a handshake")],
    ids=["alert", "handshake"],
)
def test_tls_records(octets: bytes, kind: str) -> None:
    judged = evidence.recognize(ERROR, octets)
    assert judged.reason is Reason.UPSTREAM_SPEAKS_TLS
    assert kind in judged.detail


def test_other_failures_are_nobodys_protocol() -> None:
    too_large = GatewayError(Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, "the answer's head is too large")
    assert evidence.recognize(too_large, b"SSH-2.0-OpenSSH_9.2") is too_large


# --- words ------------------------------------------------------------------------------------------------------------

# As nginx 1.22, Go 1.19 (and Caddy 2.6, which stands on it), Apache httpd 2.4 and Tomcat 9 send them.
REFUSALS = {
    "nginx": b"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n",
    "go": b"Client sent an HTTP request to an HTTPS server.\n",
    "apache": b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>400 Bad Request</title>\n'
    b"</head><body>\n<h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not understand.<br />"
    b"\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n",
    "tomcat": b"Bad Request\r\nThis combination of host and port requires TLS.\r\n",
}


@pytest.mark.parametrize("beginning", REFUSALS.values(), ids=REFUSALS.keys())
def test_tls_servers_that_answer_in_http(beginning: bytes) -> None:
    assert evidence.words_of_tls(400, beginning) in PLAIN_HTTP_REFUSED
    assert evidence.words_of_tls(404, beginning) is None, "a page about the phrase"


def test_other_bad_requests_do_not_sound_so() -> None:
    assert evidence.words_of_tls(400, b"<h1>Bad Request</h1>") is None
