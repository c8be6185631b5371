# The gateway in an image of its own: compiled in one stage, run without compilers or root in the other.
#
#   docker build --tag sandbox-gateway:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker run --stop-timeout 80 -p 443:443 -p 80:80 \
#       -v ./config:/srv/gateway/config:ro -v ./certs:/srv/gateway/certs:ro sandbox-gateway:0.1.0
#
# --stop-timeout: a drain takes drain_delay + drain_timeout, 65 s, and Docker kills after 10. No image can say so itself.
# Ports 443 and 80 without root: Docker lets anybody in a container open them; where that is not so (Podman, --network host),
# --sysctl net.ipv4.ip_unprivileged_port_start=0, or listen on 8443 and publish -p 443:8443.
# The key: uid 10001 has to be able to read it (chown 10001 certs/wildcard.key). Mount the folder, or no renewal is seen.
# --build-arg HATCH_BUILD_HOOK_ENABLE_CUSTOM=0 leaves the hot path plain Python: built in seconds, twice the CPU under load.
# IPv6: the sandboxes must be reachable over it from inside (--network host, or a network with IPv6: deploy/compose.yaml).

# Python 3.13.15 on Debian, for amd64 and arm64 alike. Anew: docker buildx imagetools inspect python:3.13-slim
ARG PYTHON=python:3.13-slim@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${PYTHON} AS build
# The compiler is Debian's of the day: none of it is in the image that runs.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /src
# What comes from PyPI first, and by its hashes, so that a change of the sources installs none of it anew.
COPY config/deploy/requirements.txt config/deploy/build-requirements.txt ./
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes --requirement build-requirements.txt --requirement requirements.txt \
 && python -m venv --without-pip /opt/gateway \
 && /opt/build/bin/pip --python /opt/gateway/bin/python install --no-cache-dir --only-binary :all: --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY config/build ./config/build
COPY gateway ./gateway
ARG HATCH_BUILD_HOOK_ENABLE_CUSTOM=1
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/gateway/bin/python install --no-cache-dir --no-deps --no-index --find-links /wheels sandbox-gateway

FROM ${PYTHON}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sandbox-gateway" \
      org.opencontainers.image.description="The public HTTPS door of a sandbox platform" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin gateway \
 && install --directory --owner=gateway --group=gateway --mode=0700 /srv/gateway/var
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1
# Relative paths of a configuration start here: certs/ is mounted, config/ is the examples until one is mounted over it,
# var/ is for the embedded registry (a volume).
WORKDIR /srv/gateway
COPY config/*.toml ./config/
USER 10001:10001

# 443 and 80: config/edge.toml. 8443 and 8080: the files for balancers. The admin listener stays on the container's loopback.
EXPOSE 443 80 8443 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9090/livez', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "config/edge.toml"]
