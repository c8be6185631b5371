"""The Python answer most people would write: an aiohttp server that calls an aiohttp client, streaming both ways.

It routes <port>-<id>.<domain> to [::1]:<port>. Easier than the gateway's job: no directory, no limits, no log.
"""

import argparse
import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade"}


async def proxy(request: web.Request) -> web.StreamResponse:
    url = f"http://[::1]:{request.host.partition('-')[0]}{request.path_qs}"
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await websocket(request, url)
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
    body = request.content if request.body_exists else None
    session = request.app[SESSION]
    try:
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response
    except aiohttp.ClientConnectorError:
        return web.Response(status=502, text="bad gateway\n")


async def websocket(request: web.Request, url: str) -> web.StreamResponse:
    async with request.app[SESSION].ws_connect(url, max_msg_size=0) as upstream:
        downstream = web.WebSocketResponse(max_msg_size=0, compress=False)
        await downstream.prepare(request)
        async with asyncio.TaskGroup() as group:
            up = group.create_task(relay(downstream, upstream))
            await relay(upstream, downstream)
            up.cancel()
    return downstream


async def relay(source: Socket, sink: Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
    await sink.close()


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as app[SESSION]:
        yield


async def main(options: argparse.Namespace) -> None:
    app = web.Application(client_max_size=2**40)
    app.router.add_route("*", "/{path:.*}", proxy)
    app.cleanup_ctx.append(session)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(options.cert, options.key)
    await web.TCPSite(runner, "127.0.0.1", options.tls, ssl_context=context, backlog=4096).start()
    await web.TCPSite(runner, "127.0.0.1", options.plain, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", type=int)
    parser.add_argument("--plain", type=int)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    uvloop.run(main(parser.parse_args()))
