"""tus, resumable uploads: its own server, its own client, an upload that is broken off and taken up again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.applications.harness import Applications, module, node_program
from tests.support.components import require

SIZE, CHUNK = 20_000_000, 3_000_000

SERVER = """
import {FileStore} from "@tus/file-store";
import {Server} from "@tus/server";

const datastore = new FileStore({directory: "./files"});
const server = new Server({path: "/files", datastore, respectForwardedHeaders: true});
server.listen({host: "::1", port: Number(process.argv[2])});
"""

CLIENT = """
import {createHash, randomBytes} from "node:crypto";
import {Upload} from "tus-js-client";

const [endpoint, size, chunkSize] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const data = randomBytes(size);

// Ends at once with the upload's URL when more than `limit` octets are there, with null when all are.
const upload = (uploadUrl, limit) => new Promise((resolve, reject) => {
  const upload = new Upload(data, {
    endpoint, uploadUrl, chunkSize, retryDelays: null, metadata: {filename: "größe"},
    onError: reject,
    onSuccess: () => resolve(null),
    onChunkComplete: (_, accepted) => accepted > limit && upload.abort().then(() => resolve(upload.url)),
  });
  upload.start();
});

const url = await upload(undefined, size / 3);
const broken = await fetch(url, {method: "HEAD", headers: {"Tus-Resumable": "1.0.0"}});
await upload(url, Infinity);
const sum = (octets) => createHash("sha256").update(octets).digest("hex");
const back = Buffer.from(await (await fetch(url)).arrayBuffer());
console.log(JSON.stringify({url, offset: Number(broken.headers.get("upload-offset")), same: sum(back) === sum(data)}));
"""


def test_an_upload_that_is_resumed(gateway: Applications, tmp_path: Path) -> None:
    require("@tus/server", "@tus/file-store", "tus-js-client")
    with node_program(gateway, SERVER, tmp_path) as app:
        client = module(CLIENT, tmp_path, "client.mjs")
        said = json.loads(gateway.client("node", client, app.url("/files"), str(SIZE), str(CHUNK)))
    assert said["url"].startswith(app.url("/files/"))
    assert said["offset"] == 3 * CHUNK
    assert said["same"]
