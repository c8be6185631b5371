"""A directory record as the API's JSON: what a registration says, checked field by field, and what is answered.

Also the entity tag of a record, which is its generation. Knows no routes and no backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

import msgspec

from gateway.admin.errors import ApiError, FieldError, invalid
from gateway.app_protocol import as_json
from gateway.config import Settings
from gateway.directory.fields import read_fields
from gateway.directory.sandbox import Sandbox
from gateway.errors import GatewayError
from gateway.hostname import is_sandbox_id
from gateway.upstream.policy import AddressPolicy, special_range

ANY = frozenset("*")
"""`If-Match: *`: whatever generation it has, if there is a record."""
_FIELDS = ("address", "ipv4", "host", "protocol", "lifetime")
NOT_AN_ID = "expected a sandbox id: a-z, 0-9, inner hyphens, at most 57 characters"

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
_TAGS = re.compile(rf"{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")
_STRONG_TAG = re.compile(r'(W/)?"([^"]*)"')
_UNENCODED = "".join(chr(octet) for octet in range(0x21, 0x7F) if chr(octet) not in '"%')


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a sandbox."""

    id: str
    address: str
    generation: str
    ipv4: str | None
    host: str | None
    template: str | None = msgspec.field(name="publicAccessUrlTemplate")
    """None: the gateway serves no domain."""
    protocol: str | dict[str, object] | None = None


class BrokenRecord(msgspec.Struct, frozen=True):
    """What is listed in the place of a sandbox whose record nobody can read."""

    id: str
    broken: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What is to be stored. The sandbox's generation is empty: it is the registry's to give."""

    sandbox: Sandbox
    lifetime: float | None


def as_record(sandbox: Sandbox, settings: Settings) -> Record:
    """`sandbox` as it is answered."""
    return Record(
        id=sandbox.id,
        address=str(sandbox.address),
        generation=sandbox.generation,
        ipv4=str(sandbox.ipv4) if sandbox.ipv4 else None,
        host=sandbox.host or None,
        protocol=as_json(sandbox.protocol) if sandbox.protocol else None,
        template=url_template(sandbox.id, settings),
    )


def url_template(sandbox_id: str, settings: Settings) -> str | None:
    """`https://{port}-abc123.sandbox.example.dev`, in the first of the domains; without its port if that is 443."""
    edge = settings.edge
    if not edge.domains:
        return None
    port = "" if edge.public_port == 443 else f":{edge.public_port}"
    return f"https://{{port}}-{sandbox_id}.{edge.domains[0]}{port}"


def read_registration(
    sandbox_id: str, body: bytes, policy: AddressPolicy, allow_ipv4: Sequence[IPv4Network]
) -> Registration:
    """What `body` (JSON) wants stored under `sandbox_id`.

    `allow_ipv4` is `upstream.allow_ipv4`.

    Raises ApiError: 400 if it is no object, 422 with everything that is wrong with it.
    """
    members = _read_object(body)
    errors = [] if is_sandbox_id(sandbox_id) else [FieldError("id", NOT_AN_ID)]
    for name in sorted(members.keys() - set(_FIELDS)):
        errors.append(FieldError(name, f"unknown field (expected {', '.join(_FIELDS)})"))
    values, wrong = read_fields(members, _FIELDS)
    errors += [FieldError(name, why) for name, why in wrong.items()]
    address, ipv4 = values.get("address"), values.get("ipv4")
    if address is not None:
        try:
            policy.check_address(address)
        except GatewayError as error:
            errors.append(FieldError("address", f"{error.detail}; {policy.allowed}"))
    # Where loopback is dialed (a laptop, a test), 127.0.0.1 is that same machine's other address, and nobody asks it.
    same = address is not None and ipv4 is not None and address.is_loopback and ipv4.is_loopback
    if ipv4 is not None and not same and (what := special_range(ipv4, allow_ipv4)):
        errors.append(FieldError("ipv4", f"{ipv4} is {what}"))
    if errors:
        raise invalid(errors)
    lifetime = values.pop("lifetime")
    return Registration(Sandbox(sandbox_id, generation="", **values), lifetime)


def _read_object(body: bytes) -> Mapping[str, object]:
    try:
        members = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise ApiError(400, 'the body is not a JSON object such as {"address": "fd00::5"}')
    return members


# --- entity tags ----------------------------------------------------------------------------------------------------


def entity_tag(generation: str) -> str:
    """`generation` as an ETag (RFC 9110 section 8.8.3), percent-encoded where a tag cannot hold it."""
    return f'"{percent_encode(generation, safe=_UNENCODED)}"'


def read_if_match(values: list[str]) -> frozenset[str] | None:
    """The generations that the If-Match fields name, `ANY` for `*`, None without a field.

    Weak tags never match (RFC 9110 section 13.1.1). Raises ApiError(400): a condition that cannot be read must not be
    taken for none.
    """
    if not values:
        return None
    text = ", ".join(values).strip()
    if text == "*":
        return ANY
    if not _TAGS.fullmatch(text):
        raise ApiError(400, 'If-Match is not a generation in double quotes, such as "7", and not *')
    return frozenset(unquote(tag) for weak, tag in _STRONG_TAG.findall(text) if not weak)
