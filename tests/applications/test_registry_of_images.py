"""Docker's registry (distribution), met by skopeo: an image is pushed blob by blob and pulled again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from tests.applications.harness import Application, Applications
from tests.support.components import require

LAYER = 20_000_000

# No `host` in it: the registry then says in Location what the request's own fields name, X-Forwarded-Proto among them.
CONFIG = """
version: 0.1
storage: {{ filesystem: {{ rootdirectory: {root} }} }}
http: {{ addr: "[::1]:{port}" }}
"""


def _blob(layout: Path, content: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(content)}


def image(layout: Path) -> None:
    """An OCI image layout with one layer of noise."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("noise")
        member.size = LAYER
        archive.addfile(member, io.BytesIO(os.urandom(LAYER)))
    identity = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(packed.getvalue()).hexdigest()]}
    # Compressed, as skopeo would otherwise do it itself, which makes another blob of it.
    layer = gzip.compress(packed.getvalue(), compresslevel=1)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": identity}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(layout, config, "config.v1+json"),
        "layers": [_blob(layout, layer, "layer.v1.tar+gzip")],
    }
    described = _blob(layout, json.dumps(manifest).encode(), "manifest.v1+json")
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def test_an_image_is_pushed_and_pulled(gateway: Applications, tmp_path: Path) -> None:
    require("docker-registry", "skopeo")
    image(tmp_path / "image")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    skopeo = ("skopeo", "--policy", tmp_path / "policy.json")
    config = tmp_path / "registry.yml"
    with Registry(gateway, config, tmp_path / "storage") as registry:
        name = f"docker://{registry.authority()}/noise:1"
        gateway.client(*skopeo, "copy", f"oci:{tmp_path / 'image'}", name)
        assert json.loads(gateway.client(*skopeo, "list-tags", name.removesuffix(":1")))["Tags"] == ["1"]
        gateway.client(*skopeo, "copy", name, f"oci:{tmp_path / 'back'}")
    blobs = Path("blobs") / "sha256"
    sent = {each.name for each in (tmp_path / "image" / blobs).iterdir()}
    assert {each.name for each in (tmp_path / "back" / blobs).iterdir()} == sent


class Registry(Application):
    """Its address stands in its configuration, not in its command."""

    def __init__(self, gateway: Applications, config: Path, storage: Path) -> None:
        super().__init__(gateway, "docker-registry", "serve", config, cwd=config.parent)
        config.write_text(CONFIG.format(root=storage, port=self.port))
