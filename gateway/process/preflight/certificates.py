"""Checks of certificates: for whom they are, until when, whether everybody can follow their chain, who has the key."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.counting import counted
from gateway.process.preflight.finding import Check, Found, Level, Subject
from gateway.tls.choice import choose
from gateway.tls.expiry import days_to_tell
from gateway.tls.inspect import chain_gap, covers_sandboxes, key_readers
from gateway.tls.pair import Certificate

_RENEW = "renew the certificate; the gateway takes the new files without a reload"


# --- for whom -------------------------------------------------------------------------------------------------------


def _broken(subject: Subject) -> Iterator[Found]:
    for error in subject.broken:
        yield Found(f"{error.path} {error.problem}", error.advice or "name other files in tls.certificates")


def _of_another_domain(subject: Subject) -> Iterator[Found]:
    for domain in _uncovered(subject):
        if not _names_in(subject, domain):
            names = sorted({name for each in subject.certificates for name in each.names})
            text = f"no certificate is for *.{domain}, so no browser shows any of its sandboxes; {_listed(names)}"
            parent = "*." + domain.partition(".")[2]
            if parent in names:
                text += f" (a wildcard stands for one label: {parent} is not for what lies below {domain})"
            yield Found(text, _a_wildcard(domain))


def _without_wildcard(subject: Subject) -> Iterator[Found]:
    for domain in _uncovered(subject):
        if (names := _names_in(subject, domain)) and not _single_sandboxes(names, domain):
            text = f"no certificate is for *.{domain}, only for {', '.join(names)}: no browser shows its sandboxes"
            yield Found(text, _a_wildcard(domain))


def _for_some_sandboxes(subject: Subject) -> Iterator[Found]:
    for domain in _uncovered(subject):
        if names := _single_sandboxes(_names_in(subject, domain), domain):
            text = f"no certificate is for *.{domain}: browsers show {', '.join(names)}, and no other of its sandboxes"
            yield Found(text, _a_wildcard(domain))


def _not_for_servers(subject: Subject) -> Iterator[Found]:
    for certificate in subject.certificates:
        try:
            usage = certificate.parsed()[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (x509.ExtensionNotFound, ValueError):
            continue
        if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
            text = f"{certificate.pair.cert} is not for servers (its extended key usage says so): browsers refuse it"
            yield Found(text, "have it issued with the extended key usage serverAuth")


def _unused(subject: Subject) -> Iterator[Found]:
    if subject.broken or any(_uncovered(subject)):
        return  # which is told, and why
    domains = subject.settings.edge.domains
    served = choose(subject.certificates, subject.now) if subject.certificates else {}
    for certificate in subject.certificates:
        path = certificate.pair.cert
        if not any(_names_of(certificate, domain) for domain in domains):
            names = _listed(list(certificate.names))
            yield Found(f"{path} is for none of edge.domains; {names}", f"take {path} out of tls.certificates")
        elif certificate.is_valid(subject.now) and not any(
            each is certificate for chosen in served.values() for each in chosen
        ):
            text = f"{path} is never served: earlier ones of its kind ({certificate.kind}) have all its names"
            yield Found(text, f"take {path} out of tls.certificates, or put it first")


# --- until when -----------------------------------------------------------------------------------------------------


def _expired(subject: Subject) -> Iterator[Found]:
    for certificate, domains in _needed(subject):
        if subject.now > certificate.not_after:
            when = f"expired on {certificate.not_after:%Y-%m-%d at %H:%M UTC}"
            text = f"{certificate.pair.cert} {when}, and no other is valid for *.{', *.'.join(domains)}"
            yield Found(f"{text}: browsers refuse all of it", _RENEW)


def _not_valid_yet(subject: Subject) -> Iterator[Found]:
    for certificate, domains in _needed(subject):
        if subject.now < certificate.not_before:
            when = f"is not valid before {certificate.not_before:%Y-%m-%d at %H:%M UTC}"
            text = f"{certificate.pair.cert} {when}, and no other is valid now for *.{', *.'.join(domains)}"
            yield Found(text, f"wait, or set this machine's clock (it says {subject.now:%Y-%m-%d %H:%M UTC})")


def _expired_beside_others(subject: Subject) -> Iterator[Found]:
    needed = [certificate for certificate, _ in _needed(subject)]
    for certificate in subject.certificates:
        if subject.now > certificate.not_after and certificate not in needed:
            text = (
                f"{certificate.pair.cert} expired on {certificate.not_after:%Y-%m-%d}; others are valid for its names"
            )
            yield Found(text, f"renew it, or take {certificate.pair.cert} out of tls.certificates")


def _expires_tomorrow(subject: Subject) -> Iterator[Found]:
    for certificate, days in _ending(subject):
        if days <= 1:
            hours = int((certificate.not_after - subject.now) / timedelta(hours=1))
            left = counted(hours, "hour").upper()
            text = f"{certificate.pair.cert} EXPIRES IN {left}, on {_date(certificate)}"
            yield Found(f"{text}: then browsers refuse all its names", _RENEW)


def _expires_soon(subject: Subject) -> Iterator[Found]:
    for certificate, days in _ending(subject):
        if days > 1:
            left = counted((certificate.not_after - subject.now).days, "day")
            yield Found(f"{certificate.pair.cert} expires in {left}, on {_date(certificate)}", _RENEW)


# --- chain and key --------------------------------------------------------------------------------------------------


def _chain(subject: Subject) -> Iterator[Found]:
    for certificate in subject.certificates:
        if gap := chain_gap(certificate):
            text = f"{certificate.pair.cert}: {gap}; curl, Python, Go and phones refuse it, browsers may not"
            yield Found(text, "put the certificate first and its issuers after it (certbot: fullchain.pem)")


def _readable_key(subject: Subject) -> Iterator[Found]:
    for certificate in subject.certificates:
        key = certificate.pair.key
        if read_by_everybody(key):
            yield Found(f"{key} can be read by every user of this machine", f"chmod o-rwx {key}{IN_KUBERNETES}")


IN_KUBERNETES = " (a Kubernetes secret: defaultMode: 0440 and a securityContext with fsGroup)"


def read_by_everybody(path: Path) -> bool:
    """Whether any user can open the file. A group is meant; what lies in a folder that only its owner enters, as
    systemd's credentials do, is the owner's whatever its mode."""
    try:
        if key_readers(path) != "everybody":
            return False
        return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
    except OSError:
        return False


# --- helpers --------------------------------------------------------------------------------------------------------


def _uncovered(subject: Subject) -> Iterator[str]:
    """Domains that no certificate has a wildcard for. None, while one cannot be read that may have it."""
    if subject.broken or not subject.certificates:
        return
    for domain in subject.settings.edge.domains:
        if not any(covers_sandboxes(certificate, domain) for certificate in subject.certificates):
            yield domain


def _names_of(certificate: Certificate, domain: str) -> list[str]:
    return [name for name in certificate.names if name == domain or name.endswith(f".{domain}")]


def _names_in(subject: Subject, domain: str) -> list[str]:
    return [name for certificate in subject.certificates for name in _names_of(certificate, domain)]


def _single_sandboxes(names: list[str], domain: str) -> list[str]:
    return [name for name in names if name.partition(".")[2] == domain and not name.startswith("*")]


def _needed(subject: Subject) -> Iterator[tuple[Certificate, list[str]]]:
    """Certificates that are not valid now, with the domains for which no other is."""
    for certificate in subject.certificates:
        domains = [
            domain
            for domain in subject.settings.edge.domains
            if covers_sandboxes(certificate, domain)
            and not any(each.is_valid(subject.now) for each in subject.certificates if covers_sandboxes(each, domain))
        ]
        if domains:
            yield certificate, domains


def _ending(subject: Subject) -> Iterator[tuple[Certificate, int]]:
    for certificate in subject.certificates:
        if certificate.is_valid(subject.now) and (days := days_to_tell(certificate, subject.now)) is not None:
            yield certificate, days


def _date(certificate: Certificate) -> str:
    return f"{certificate.not_after:%Y-%m-%d at %H:%M UTC}"


def _listed(names: list[str]) -> str:
    if not names:
        return "there is no DNS name in what is configured"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"the names are {', '.join(names[:5])}{more}"


def _a_wildcard(domain: str) -> str:
    return f"add to tls.certificates one with the name *.{domain}"


CHECKS = (
    Check("certificate-broken", Level.ERROR, _broken, at_start=False),
    Check("certificate-of-another-domain", Level.ERROR, _of_another_domain),
    Check("certificate-without-wildcard", Level.ERROR, _without_wildcard),
    Check("certificate-for-some-sandboxes", Level.WARNING, _for_some_sandboxes),
    Check("certificate-not-for-servers", Level.ERROR, _not_for_servers),
    Check("certificate-unused", Level.WARNING, _unused),
    Check("certificate-expired", Level.ERROR, _expired, at_start=False),
    Check("certificate-expired-beside-others", Level.WARNING, _expired_beside_others, at_start=False),
    Check("certificate-not-valid-yet", Level.ERROR, _not_valid_yet, at_start=False),
    Check("certificate-expires-tomorrow", Level.WARNING, _expires_tomorrow, at_start=False),
    Check("certificate-expires-soon", Level.WARNING, _expires_soon, at_start=False),
    Check("certificate-chain", Level.WARNING, _chain),
    Check("key-readable-by-everybody", Level.WARNING, _readable_key),
)
