"""FastAPI on uvicorn, port 8000. `::` is every IPv6 address: what a gateway that dials IPv6 can reach."""

import os

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def hello() -> str:
    return "Hello from FastAPI"


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers.get("content-type"))


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ.get("HOST", "::"), port=int(os.environ.get("PORT", "8000")))
