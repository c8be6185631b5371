"""Flask on port 5000. `::` is every address, IPv6 first: what a gateway that dials over IPv6 can reach."""

import os

from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "Hello from Flask"


@app.post("/echo")
def echo() -> Response:
    return Response(request.get_data(), content_type=request.content_type)


if __name__ == "__main__":
    app.run(host=os.environ.get("HOST", "::"), port=int(os.environ.get("PORT", "5000")))
