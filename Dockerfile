# syntax=docker/dockerfile:1
ARG BASE=python:3.11-slim

# hadolint ignore=DL3006  # the tag is in BASE's default
FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/voice-agent
COPY requirements.lock ./
RUN /opt/build/bin/pip --python /opt/voice-agent/bin/python install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY app ./app
RUN /opt/build/bin/pip --python /opt/voice-agent/bin/python install --no-deps .

# hadolint ignore=DL3006  # as above
FROM ${BASE}
LABEL org.opencontainers.image.title="voice-agent" \
      org.opencontainers.image.licenses="Apache-2.0"
# Debian has a group "voice" already, for sound devices.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin agent \
    && install -d -o agent -g agent -m 0700 /var/lib/voice-agent
COPY --from=build /opt/voice-agent /opt/voice-agent
ENV PATH=/opt/voice-agent/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VOICE_HOST=0.0.0.0 \
    VOICE_STORE_URL=embedded:///var/lib/voice-agent
WORKDIR /var/lib/voice-agent
USER 10001:10001
EXPOSE 8080
# The first SIGTERM starts the drain, so give the container longer to stop than VOICE_DRAIN_DEADLINE.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('VOICE_PORT', '8080')}/healthz/live\", timeout=2)"]
ENTRYPOINT ["voice-agent"]
CMD ["serve"]
