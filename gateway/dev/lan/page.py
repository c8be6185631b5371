"""The page that a phone opens first, over plain HTTP: the authority to install, how, and the links to the apps.

It is for everybody in the local network. Of the authority it has the certificate, which is public; the key it never
sees. Nothing of a request is repeated, and nothing can be changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from gateway.dev.content import CSS, HTML, TEXT, Content, path_of, wants_page

if TYPE_CHECKING:
    from gateway.dev.lan.certificate import LanCertificate
    from gateway.http.message import RequestHead

DER_PATH, PEM_PATH = "/gateway-ca.crt", "/gateway-ca.pem"
_INSTALLED: Final = b"application/x-x509-ca-cert"
"""What phones take for an authority that is to be installed, in DER."""
_PEM: Final = b"application/x-pem-file"
_STEPS: Final = (
    "iPhone, iPad: open http://<this address>{der} in Safari and allow the download. Settings > Profile Downloaded >",
    "  Install. Then Settings > General > About > Certificate Trust Settings: switch it on.",
    "Android: download {der}. Settings > Security > Encryption & credentials > Install a certificate >",
    "  CA certificate > Install anyway, and choose the file.",
)


class LanPage:
    """One per gateway. `urls` are those of the apps."""

    def __init__(self, certificate: LanCertificate) -> None:
        self.urls: Sequence[str] = ()
        self._certificate = certificate
        folder, palette = files("gateway.dev.lan"), files("gateway.problems") / "palette.css"
        self._page = Template((folder / "page.html").read_text(encoding="utf-8"))
        self._style = palette.read_bytes() + (folder / "page.css").read_bytes()

    def content(self, head: RequestHead) -> Content:
        path = path_of(head).decode("latin-1")
        if path == DER_PATH:
            return 200, _INSTALLED, self._certificate.der()
        if path == PEM_PATH:
            return 200, _PEM, self._certificate.pem()
        if path == "/page.css":
            return 200, CSS, self._style
        if path == "/":
            return (200, HTML, self._html()) if wants_page(head) else (200, TEXT, self._text())
        return 404, TEXT, b"the page is at /\n"

    def _html(self) -> bytes:
        links = "".join(f'<li><a href="{escape(url)}">{escape(url)}</a></li>' for url in self.urls)
        fingerprint = self._certificate.fingerprint.replace(":", ":<wbr>")
        return self._page.substitute(links=links, fingerprint=fingerprint, der=DER_PATH, pem=PEM_PATH).encode()

    def _text(self) -> bytes:
        lines = [
            "To open these, install the authority that vouches for them:",
            *(f"  {url}" for url in self.urls),
            *(step.format(der=DER_PATH) for step in _STEPS),
            f"Other computers: {PEM_PATH}",
            f"SHA-256 {self._certificate.fingerprint}",
        ]
        return "".join(f"{line}\n" for line in lines).encode()
