# The gateway in an image of its own: built in one stage, run without compilers, sources or root in the other.
#
#   docker build -t sandbox-gateway .
#   docker run -p 443:443 -p 80:80 -v ./config:/srv/gateway/config:ro -v ./certs:/srv/gateway/certs:ro sandbox-gateway
#
# The sandboxes must be reachable over IPv6 from inside the container (--network host, or a network with IPv6).

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway ./gateway
RUN pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/gateway \
 && pip --python /opt/gateway/bin/python install --no-cache-dir --no-index --find-links /wheels sandbox-gateway

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin gateway
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1
# Relative paths of a configuration start here: certs/ is mounted, config/ is the examples until one is mounted over it.
WORKDIR /srv/gateway
COPY config ./config
USER 10001:10001

# 443 and 80: config/edge.toml. 8080: config/behind-http-lb.toml. The admin listener stays on the container's loopback.
EXPOSE 443 80 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9090/livez', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "config/edge.toml"]
