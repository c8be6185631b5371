"""Every setting, its type, its default and where the default comes from.

One frozen struct per section; attribute names are the TOML keys (`settings.timeouts.request_header`). Durations are
floats of seconds, sizes ints of bytes, lists tuples. A number's docstring names the precedent it follows; "ours" marks
one without. Constructing a struct checks nothing: what comes from a user is read by `sources`, which does.
"""

from __future__ import annotations

from ipaddress import IPv6Network
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.config.kinds import (
    Address,
    Addresses,
    Bytes,
    Count,
    Domains,
    FilePath,
    Flag,
    HealthPath,
    HostMask,
    HttpUrl,
    Ipv4Prefixes,
    Keepalive,
    ListOf,
    Nameservers,
    Networks,
    OptionalDomain,
    OptionalPath,
    Port,
    Ports,
    Prefixes,
    Ratio,
    RedisUrl,
    Seconds,
    SecondsOrZero,
    Table,
    choice,
    integer,
    kind_of,
)
from gateway.config.values import KIB, MIB, Listen

MINUTE = 60.0
HOUR = 60 * MINUTE


class Edge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[edge]`: what the gateway is to the outside."""

    domains: Domains = ()
    """Suffixes served, in lower case: `<port>-<id>.<domain>` is a sandbox's name. Exact: no wildcard is written."""

    listen: Addresses = (Listen("::", 443),)
    """TLS listeners. On Linux `[::]` takes IPv4 connections too."""

    listen_plain: Addresses = ()
    """Plain HTTP listeners; `plain` says what they are for."""

    plain: Annotated[Literal["forward", "redirect"], choice("forward", "redirect")] = "forward"
    """Plain listeners either forward, because an HTTP balancer ended TLS, or answer 308 with the https URL (names under
    `domains` only)."""

    proxy_protocol: Annotated[Literal["off", "require"], choice("off", "require")] = "off"
    """Whether every connection, TLS or plain, has to begin with a PROXY header, version 1 or 2, of one of
    `trusted_proxies`; what has none, or is from elsewhere, is closed. Never guessed: a guess lets anybody forge one."""

    trusted_proxies: Networks = ()
    """Peers whose PROXY header, X-Forwarded-* and Forwarded are believed; from everybody else those fields are deleted.
    A proxy that forwards HTTP must append to X-Forwarded-For, or write Forwarded and delete X-Forwarded-For: where that
    comes, it is its word. And it must set or delete X-Forwarded-Host, -Proto and -Port: what it passes on of a
    visitor's is told to the app."""

    http2: Flag = True
    """Whether HTTP/2 is offered: by ALPN over TLS, and spoken on plain listeners with whoever begins with it. See
    [http2.md](http2.md)."""

    coalescing: Annotated[Literal["allow", "discourage"], choice("allow", "discourage")] = "allow"
    """Browsers send the requests of several sandboxes over one HTTP/2 connection, because one wildcard certificate
    names them all; each is still routed by its own name. `"discourage"` asks for a connection per name (an empty ORIGIN
    frame, RFC 8336), for balancers that choose a gateway by the name of the handshake."""

    public_port: Port = 443
    """The port in public URLs: what the browser connects to, which behind a balancer is not a port of ours."""

    health_path: HealthPath = ""
    """Where balancers ask whether this gateway is ready, e.g. `/healthz`: `200` or `503`, on every public listener, for
    a Host that is none of ours (an address, any name, over HTTP/1.0 none at all). On a name below `domains` the path
    is the app's. Checks are counted, and not in the access log. Empty: none is answered."""

    websocket_errors: Annotated[Literal["status", "close"], choice("status", "close")] = "status"
    """How a WebSocket handshake that cannot be forwarded is refused: with its HTTP status, which browsers hide from
    scripts, or accepted and closed with 4000 plus the status. A URL may ask for the latter: `?gateway_close=1`."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One certificate chain with its key, both PEM. Relative paths start at the current working directory."""

    cert: FilePath
    """The leaf first, then its intermediates."""

    key: FilePath
    """Unencrypted, readable by the gateway's user alone."""


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tls]`: how downstream TLS is ended."""

    certificates: Annotated[
        tuple[Certificate, ...],
        ListOf(Table(Certificate, {"cert": kind_of(FilePath), "key": kind_of(FilePath)})),
    ] = ()
    """`[{ cert = "…", key = "…" }]`; a wildcard per domain covers every sandbox below it. Of two for one name with keys
    of different kinds (ECDSA, RSA) each is served to whom it fits; `gateway check` says what is served for which name.
    The files are followed: a renewal is served within three seconds, see [operate.md](operate.md#certificates).
    As with nginx -p, relative paths start at the working directory, so `certs/` and `config/` stay side by side
    whichever file is read."""

    local_authority: OptionalPath = None
    """Where `gateway dev` and `gateway certs` keep the authority of this machine, as `--certs` does; `gateway serve`
    has no use for it. Empty: `certs` in the working directory if it holds one, else the user's own,
    `$XDG_DATA_HOME/gateway/certs/<domain>`."""

    minimum_version: Annotated[Literal["1.2", "1.3"], choice("1.2", "1.3")] = "1.2"
    """1.0 and 1.1 are forbidden by RFC 8996."""

    groups: Annotated[
        tuple[str, ...],
        ListOf(choice("X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"), unique=True),
    ] = ("X25519MLKEM768", "X25519", "P-256", "P-384")
    """Key exchanges agreed to, the best first (nginx ssl_ecdh_curve; Go's default but for P-521, which no browser has).
    What OpenSSL does not know of them is left out. No finite-field group is to be had: a handshake with ffdhe8192 takes
    a tenth of a second of CPU. OPENSSL_CONF in the environment goes before this; `gateway check` says what holds."""


class Directory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[directory]`: where sandbox ids are looked up, and how long an answer is kept."""

    backend: Annotated[Literal["sqlite", "file", "redis", "dns"], choice("sqlite", "file", "redis", "dns")] = "sqlite"
    """What holds the records: an embedded database, written through the admin API; a TOML file, read again when it
    changes; a Redis server for a fleet of gateways; a DNS zone."""

    path: FilePath = Path("var/sandboxes.db")
    """The database (made if there is none) or the TOML file of the records; relative to the working directory."""

    url: RedisUrl = "redis://127.0.0.1:6379/0"
    """The Redis server and its database: `rediss://` for TLS, `redis://user:password@…` to log in, `unix:///path`."""

    zone: OptionalDomain = ""
    """The DNS zone: a sandbox's address is the AAAA record of `<id>.<zone>`. Required by the DNS backend."""

    nameservers: Nameservers = ()
    """Who is asked, as addresses with an optional port (53); none: the system's, as in /etc/resolv.conf."""

    ttl: Seconds = 5.0
    """How long a found record is used without asking again (ours): bounds how long a moved sandbox is missed."""

    negative_ttl: SecondsOrZero = 1.0
    """How long "no such sandbox" is believed (ours): short, since a browser often asks before the record is there."""

    stale: SecondsOrZero = 10 * MINUTE
    """How long past `ttl` a record still serves while the backend fails (ours): longer than a failover takes. Never
    past the end of its lifetime."""

    known_file: OptionalPath = Path("var/known-sandboxes")
    """Where what was looked up is kept, should the backend be away at the next start (nginx: `proxy_cache_path`); for
    this user alone, one for each gateway. Empty: nothing is kept. Workers tell each other without; the file
    backend needs none."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[upstream]`: the connections to sandboxes."""

    allow: Prefixes = (IPv6Network("fd00::/8"),)
    """Prefixes sandboxes live in; nothing else is ever dialed. The default is the locally assigned half of the unique
    local addresses (RFC 4193). A special range (loopback, link-local, metadata, …) needs a prefix wholly inside it.
    IPv6 only; the one IPv4 prefix there can be is 127.0.0.1/32, put here by `gateway dev` where there is no IPv6."""

    allow_ipv4: Ipv4Prefixes = ()
    """Where a look over IPv4 is allowed after a refusal, at the `ipv4` of a sandbox's record, to tell an app that
    listens on IPv4 only from one that does not run. Nothing is ever forwarded over IPv4. Special ranges as above."""

    deny_ports: Ports = ()
    """Ports closed for every sandbox, answered with `port_denied`."""

    connect_timeout: Seconds = 3.0
    """From SYN to connected (Caddy 3 s, Envoy 5 s). A refusal is reported at once, not after this."""

    response_header_timeout: Seconds = 5 * MINUTE
    """From the request's last byte, or an interim answer (1xx), to the next one or the response head (Envoy's stream
    idle timeout). A visitor who reads slowly does not lengthen it, and an answer that could not be read for that reason
    is not late. A call of gRPC, whose answer may begin long after it did, has `timeouts.tunnel_idle`."""

    idle_timeout: Seconds = 60.0
    """How long an unused connection is kept for the next request (nginx upstream keepalive_timeout)."""

    idle_proven: Seconds = 4.0
    """A connection idle for longer is proven alive before it is used again (ours: Node closes its side at 5 s)."""

    max_idle_per_target: Count = 256
    """Idle connections kept per sandbox port and worker (ours): as many as one HTTP/2 connection's requests need
    (`limits.http2_streams`), because whoever keeps fewer closes and dials again with every burst of them."""

    max_idle: Count = 4_096
    """Idle connections kept per worker over all targets (ours; Go's transport keeps 100): the oldest goes to make room.
    While descriptors are short there are fewer, because nothing is refused as long as connections lie idle."""

    tunnel_grace: SecondsOrZero = 10.0
    """How long what is under way lives on, a request or a tunnel, once its sandbox was replaced or removed, or its
    lifetime has ended (ours): the machine may be finishing too."""

    host: HostMask = "preserve"
    """The Host field sent upstream: the public name as it came, or a mask such as `localhost:{port}` for dev servers
    that refuse names they do not know. Under a mask the app's Location, Content-Location and Refresh lead back to the
    public URL (nginx: proxy_redirect), and a WebSocket's Origin that is the public URL becomes the mask's."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[timeouts]`: deadlines of downstream connections, exchanges and tunnels."""

    handshake: Seconds = 10.0
    """TLS handshake, from accept (ours: asyncio's 60 s lets one address hold that many more sockets)."""

    request_header: Seconds = 10.0
    """A request head, from its first byte to the blank line, then 408 (Envoy edge 10 s; hyper 30 s, nginx and Caddy
    60 s). Absolute: an inactivity timer never fires against one byte now and then."""

    idle: Seconds = 75.0
    """Keep-alive without a request, then a silent close (nginx keepalive_timeout). Behind a balancer it must be longer
    than the balancer's own (AWS ALB 60 s: 75 s; Google 600 s: 620 s), or requests race with the close."""

    body_idle: Seconds = 60.0
    """A request body without progress before its answer has begun, and a reader that takes nothing (nginx
    client_body_timeout and send_timeout). Reset by every byte that moves: there is no total, uploads may last. It does
    not run while the app is the one that takes no more."""

    tunnel_idle: Seconds = HOUR
    """A tunnel (WebSocket) without a byte either way (ours: editors sit idle for minutes, nobody for an hour). So
    may an answer be that has begun (event streams), and a request body still open then: it is a conversation."""

    half_closed: Seconds = 30.0
    """A tunnel of which one side has finished sending, or a visitor who has after asking, without an octet (ours):
    bounds what a peer that never closes can hold. TCP shows no difference between a visitor who has left and one who
    waits for the answer, as `nc -N` does. nginx, Envoy and Go take both for gone, at once; here who waits is answered.
    Over TLS close_notify says that no more is sent, of any version (RFC 8446 section 6.1); a FIN, with one or without,
    that nobody listens."""

    tcp_keepalive: Keepalive = 45.0
    """Silence after which the kernel asks whether the other side is still there, a visitor's or an app's. Who does not
    answer, or has acknowledged nothing of what was sent, is gone after twice as long (ours; nginx and Envoy leave the
    system's 2 h, for which a closed laptop holds its WebSocket). 0: nobody is asked."""

    linger: Seconds = 5.0
    """How long a refused request's remaining bytes are waited for, read and dropped before the close (nginx
    lingering_timeout), so that the answer is not lost to a TCP reset. An upload that was answered early has as long
    after each piece of it, 30 s in all (nginx lingering_time)."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: how much of anything one peer may ask for."""

    header_bytes: Bytes = 32 * KIB
    """A head in total, start line and fields (nginx 4 x 8k; Caddy and HAProxy 16k, Envoy 60k), then 431."""

    header_fields: Count = 100
    """Fields of a message, trailers included (Envoy and hyper 100, HAProxy 101), then 431."""

    target_bytes: Bytes = 8 * KIB
    """The request target (nginx large_client_header_buffers 8k), then 414."""

    field_bytes: Bytes = 8 * KIB
    """One field, name and value (nginx large_client_header_buffers 8k), then 431."""

    buffer_bytes: Bytes = 64 * KIB
    """What may wait per connection and direction for a slow reader, and one TLS record (16 KiB) more; less than 40 KiB
    has no effect (Envoy edge recommends 32 KiB; 64 KiB is asyncio's own default for plain transports). Counted is what
    the gateway holds, not what the kernel does."""

    connections: Count = 20_000
    """Downstream connections per worker (ours). Each may need a second descriptor, to its app; `serve` raises the soft
    limit to the hard one, and says at start if that is not enough; then as many are
    accepted as there are two for, and the others wait in the kernel's queue. The streams of an HTTP/2 connection may
    need one each: apps have three quarters of what there is at most, and who asks beyond is answered `overloaded`."""

    connections_per_address: Count = 1_000
    """Downstream connections per source address, IPv6 by /64 (ours): a large office behind one NAT fits. A trusted
    proxy's are not counted; the exchanges of each visitor it names are (as by nginx's limit_conn and realip)."""

    handshake_bytes: Bytes = 16 * MIB
    """ClientHellos that wait for their turn, per worker (ours: 8,000 with the 2 KiB of a browser's). One source address
    may fill as much as is left free, so no more than half; the rest is refused with an alert."""

    http2_streams: Count = 256
    """Streams of an HTTP/2 connection at a time (Envoy edge and hyper 100; ours is more, since a connection may carry
    the pages of several sandboxes). Where several are asked, one has half of them, at least one: what a program asks
    beyond is refused (REFUSED_STREAM), a browser gives it back once all have been taken for a while. A stream counts
    until its work is over."""

    exchanges_per_sandbox: Count = 1_000
    """Exchanges and dials per sandbox and worker (ours): one dead sandbox cannot occupy the whole gateway."""


class Admin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[admin]`: the operator's listener; it shares no socket with the public ones."""

    listen: Address = Listen("127.0.0.1", 9090)
    """Where health, the API, metrics and the status page answer."""

    token_file: OptionalPath = None
    """A file holding the bearer token; `""` is none. Required when `listen` is not on loopback. A browser
    gives it to the status page as the password, with any name. The file is followed: a new token is asked for within
    three seconds."""


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[process]`: workers and their end."""

    workers: Annotated[int, integer(0, 1024)] = 0
    """Worker processes, one event loop each; 0 is one per core (nginx: worker_processes auto), or as many as a
    container's CPU quota is worth, rounded up (Go 1.25, the JVM)."""

    drain_delay: SecondsOrZero = 5.0
    """Between failing readiness and closing the listeners (ours): one round of a balancer's health checks. Answers say
    `Connection: close` from its first second on."""

    drain_timeout: Seconds = 60.0
    """From closing the listeners to closing what is still open (ours; Envoy's default drain time is 10 min). Event
    streams end, and WebSockets are told to go (close code 1001), 5 s before, or after half of it if that is less."""

    drain_spread: SecondsOrZero = 10.0
    """Idle connections are closed each at a random moment within so long after the listeners, so that not all of them
    are made anew, somewhere else, at once (ours; HAProxy's close-spread-time has no default). At once with `"0s"`."""

    max_draining: Annotated[int, integer(1, 64)] = 2
    """Generations of processes that may finish what they have beside the one that serves (ours); the next reload waits
    for the oldest. Each holds memory of its own, for `drain_timeout` at most."""
    stuck_timeout: SecondsOrZero = 30.0
    """A process whose event loop has not turned for so long writes its stack and is replaced (gunicorn's timeout): far
    more than a busy machine needs. `"0s"` is never, as for a process that is to be stopped in a debugger."""


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[log]`: what goes to standard error, and to standard output or a file. See [logs.md](logs.md)."""

    format: Annotated[Literal["json", "text"], choice("json", "text")] = "json"
    """One JSON object per line for collectors, or text for people."""

    level: Annotated[Literal["debug", "info", "warning", "error"], choice("debug", "info", "warning", "error")] = "info"
    """The least severe that is written."""

    access: Flag = True
    """Whether every exchange leaves one line in the access log. Nobody waits for its reader: while it stands still, or
    the disk is full, 1 MiB of lines waits per worker, then lines are dropped, counted, and told of on standard
    error."""

    path: OptionalPath = None
    """The file of the access log, made if there is none; its directory is not. Empty: standard output. It is opened
    anew at SIGUSR1 to the supervisor, and once it was moved (nginx: `access_log`). `gateway dev` writes it besides the
    lines of its terminal, which no setting of `[log]` changes but `level`."""


class Otel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[otel]`: spans for OpenTelemetry, with the extra `otel`. See
    [logs.md](logs.md#opentelemetry)."""

    endpoint: HttpUrl = ""
    """Where a collector takes spans over OTLP and HTTP, e.g. `http://127.0.0.1:4318/v1/traces`. Empty: there are
    none."""

    sample_ratio: Ratio = 1.0
    """Which part of exchanges becomes spans; a trusted proxy's `traceparent` decides for itself (OpenTelemetry's
    parent-based sampler)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. `Settings()` is the defaults, which serve no domain until one is named."""

    edge: Edge = Edge()
    tls: Tls = Tls()
    directory: Directory = Directory()
    upstream: Upstream = Upstream()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    admin: Admin = Admin()
    process: Process = Process()
    log: Log = Log()
    otel: Otel = Otel()
