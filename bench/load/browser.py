"""Heads of HTTP/2 requests as a browser and a gRPC client send them, as lists of fields."""

from __future__ import annotations

from hashlib import blake2b

AGENT = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36"
Fields = list[tuple[bytes, bytes]]


def request(host: str, path: str, tag: str = "", *, length: int = 0) -> Fields:
    """What Chromium asks with for a script, sixteen fields with the authority; a POST of `length` octets if that is
    not 0. Cookie, referrer and entity tag are made of `tag`: two requests differ in them if their tags do.
    """
    unique = blake2b(tag.encode(), digest_size=16).hexdigest().encode()
    fields = [
        (b":method", b"POST" if length else b"GET"),
        (b":authority", host.encode()),
        (b":scheme", b"https"),
        (b":path", path.encode()),
        (b"sec-ch-ua-platform", b'"Linux"'),
        (b"user-agent", AGENT),
        (b"sec-ch-ua", b'"Chromium";v="150", "Not_A Brand";v="24"'),
        (b"sec-ch-ua-mobile", b"?0"),
        (b"accept", b"*/*"),
        (b"sec-fetch-site", b"same-origin"),
        (b"sec-fetch-mode", b"cors"),
        (b"sec-fetch-dest", b"script"),
        (b"referer", b"https://%s/src/pages/%s.html" % (host.encode(), unique[:12])),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
        (b"accept-language", b"en-US,en;q=0.9"),
        (b"cookie", b"session=%s; theme=dark" % unique),
        (b"if-none-match", b'W/"%s"' % unique[16:]),
        (b"priority", b"u=1, i"),
        (b"cache-control", b"max-age=0"),
    ]
    return [*fields, (b"content-length", b"%d" % length)] if length else fields


def call(host: str, method: str) -> Fields:
    """What grpcio asks with (gRPC over HTTP/2, "Requests")."""
    return [
        (b":scheme", b"https"),
        (b":method", b"POST"),
        (b":authority", host.encode()),
        (b":path", method.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-python/1.85.3 grpc-c/53.0.0 (linux; chttp2)"),
        (b"grpc-accept-encoding", b"identity, deflate, gzip"),
        (b"grpc-timeout", b"20S"),
        (b"x-request-id", b"0123456789abcdef0123456789abcdef"),
    ]
