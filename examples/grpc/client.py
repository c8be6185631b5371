"""Calls the server of this example at its public URL.

CA=~/.local/share/gateway/certs/sandbox.localhost/ca.pem
python examples/grpc/client.py https://50051-local.sandbox.localhost:8443 World --ca $CA
"""

import argparse
from pathlib import Path
from urllib.parse import urlsplit

import grpc

TEXT = {"request_serializer": str.encode, "response_deserializer": bytes.decode}


def open_channel(url: str, ca: Path | None) -> grpc.Channel:
    """A connection to the gateway. On the internet: `grpc.secure_channel(name, grpc.ssl_channel_credentials())`."""
    name, port = urlsplit(url).hostname or "", urlsplit(url).port or 443
    credentials = grpc.ssl_channel_credentials(ca.read_bytes() if ca else None)
    if not name.endswith(".localhost"):
        return grpc.secure_channel(f"{name}:{port}", credentials)
    # Browsers know that names below .localhost are this machine. gRPC asks a name server: so the gateway is dialed
    # here, and asked for the sandbox by its name.
    options = [("grpc.default_authority", f"{name}:{port}"), ("grpc.ssl_target_name_override", name)]
    return grpc.secure_channel(f"localhost:{port}", credentials, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the app's public URL, https://50051-…")
    parser.add_argument("name", nargs="?", default="World")
    parser.add_argument("--ca", type=Path, help="certificate authority of the gateway; default: those of the internet")
    options = parser.parse_args()
    with open_channel(options.url, options.ca) as channel:
        try:
            print(channel.unary_unary("/example.Greeter/Hello", **TEXT)(options.name, timeout=10))
            print(*channel.unary_stream("/example.Greeter/Spell", **TEXT)(options.name, timeout=10))
            print(*channel.stream_stream("/example.Greeter/Chat", **TEXT)(iter(["ping", "pong"]), timeout=10))
        except grpc.RpcError as error:
            # The gateway's own failures end in their reason (docs/errors.md), which is x-gateway-error in the metadata.
            raise SystemExit(f"{error.code().name}: {error.details()}") from None


if __name__ == "__main__":
    main()
