# syntax=docker/dockerfile:1
ARG BASE=python:3.11-slim

# hadolint ignore=DL3006  # the tag is in BASE's default
FROM ${BASE} AS build
# What a pod is made of: core.txt; run-light.txt with small engines of speech, run.txt with natural ones.
ARG LOCK=core.txt
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY locks ./locks
# The build backend is locked too: nothing is fetched whose hash is not known.
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r locks/build.txt \
    && python3 -m venv --without-pip /opt/voice-agent \
    && /opt/build/bin/pip --python /opt/voice-agent/bin/python install --require-hashes -r "locks/${LOCK}"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app ./app
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/pip --python /opt/voice-agent/bin/python install --no-deps --no-index /dist/*.whl

# What moves callers from one color to the other: routers' libraries come on top.
FROM build AS build-operator
RUN /opt/build/bin/pip --python /opt/voice-agent/bin/python install --require-hashes -r locks/operator.txt

# hadolint ignore=DL3006  # as above
FROM ${BASE} AS base
LABEL org.opencontainers.image.title="voice-agent" \
      org.opencontainers.image.licenses="Apache-2.0"
# Debian has a group "voice" already, for sound devices.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin agent \
    && install -d -o agent -g agent -m 0700 /var/lib/voice-agent
ENV PATH=/opt/voice-agent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/voice-agent
USER 10001:10001
ENTRYPOINT ["voice-agent"]

# `docker build --target operator`: smoke, drain, fleet and cutover.
FROM base AS operator
COPY --from=build-operator /opt/voice-agent /opt/voice-agent
HEALTHCHECK NONE
CMD ["--help"]

# The last one is what `docker build` makes: a pod.
FROM base AS server
COPY --from=build /opt/voice-agent /opt/voice-agent
ENV VOICE_HOST=0.0.0.0 \
    VOICE_STORE_URL=embedded:///var/lib/voice-agent
EXPOSE 8080
# The first SIGTERM starts the drain, so give the container longer to stop than VOICE_DRAIN_DEADLINE.
STOPSIGNAL SIGTERM
# A server that speaks TLS answers plain HTTP with 400: its loop turns, which is what is asked.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/${VOICE_PORT:-8080}\" && printf 'GET /healthz/live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && case $status in 200) ;; 400) [ -n \"${VOICE_TLS_CERT:-}\" ] ;; *) false ;; esac"]
CMD ["serve"]
