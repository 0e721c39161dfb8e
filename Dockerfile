# One process of Amity: `docker build -t amity .`, then `amity serve`, `amity migrate`, `amity train`, whatever is asked of it.
# Pinned by tag; pin by digest in your own builds (`--build-arg PYTHON=3.11.14-slim-bookworm@sha256:...`).
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python -m venv /opt/amity
ENV PATH=/opt/amity/bin:$PATH
WORKDIR /source
# Libraries first: they change seldom, and their layer is kept. The lock with S3's holds all others, too.
COPY requirements-s3.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-s3.lock
COPY pyproject.toml README.md LICENSE ./
COPY rankers rankers
COPY migrations migrations
COPY service service
RUN pip install --no-index --no-deps --no-build-isolation ./rankers . && pip check

FROM python:${PYTHON}
# libgomp: LightGBM and implicit want the system's. Its version is that of the pinned base's Debian, which keeps only the newest.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 amity \
    && useradd --uid 10001 --gid amity --no-create-home --home-dir /var/lib/amity --shell /usr/sbin/nologin amity \
    && install --directory --owner amity --group amity --mode 0750 /var/lib/amity
COPY --from=build /opt/amity /opt/amity
# 0.0.0.0 wants API keys, or AMITY_ALLOW_KEYLESS_BIND where nobody else gets to the container. Nothing but AMITY_HOME is written to.
ENV PATH=/opt/amity/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AMITY_HOME=/var/lib/amity \
    AMITY_HOST=0.0.0.0 \
    AMITY_PORT=8000
WORKDIR /var/lib/amity
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"AMITY_PORT\"]}/health/ready', timeout=4)"]
ENTRYPOINT ["amity"]
CMD ["serve"]
