# The three images: docker build --target ingest|worker|operator -t sluice-<target>:dev .
# The base's digest is the builder's to pin: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# -- dependencies: wheels, and nkeys, which is nothing but Python: no compiler. A change of our code leaves these layers ---
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/sluice
COPY pyproject.toml requirements.lock docker/requirements.py ./

FROM build AS ingest-packages
RUN python requirements.py ingest >wanted.txt \
 && pip --python /opt/sluice/bin/python install --only-binary=:all: --no-binary=nkeys --constraint requirements.lock --requirement wanted.txt

FROM build AS worker-packages
RUN python requirements.py worker >wanted.txt \
 && pip --python /opt/sluice/bin/python install --only-binary=:all: --no-binary=nkeys --constraint requirements.lock --requirement wanted.txt

FROM build AS operator-packages
RUN python requirements.py operator >wanted.txt \
 && pip --python /opt/sluice/bin/python install --only-binary=:all: --no-binary=nkeys --constraint requirements.lock --requirement wanted.txt

# -- what all three are: a number for a user, and nothing that has to be written but /tmp ------------------------------
FROM ${PYTHON_IMAGE} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="Multi-tenant log intake for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# USER and HOME: there is no entry for the number in /etc/passwd, and libraries ask who they are.
ENV PATH=/opt/sluice/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    USER=sluice HOME=/tmp
WORKDIR /app
STOPSIGNAL SIGTERM

FROM base AS ingest
COPY --from=ingest-packages /opt/sluice /opt/sluice
COPY LICENSE NOTICE /app/
COPY core/sluice_core /app/sluice_core
COPY ingest/sluice_ingest /app/sluice_ingest
RUN python -m compileall -q /app
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["python", "-m", "sluice_ingest"]

FROM base AS worker
COPY --from=worker-packages /opt/sluice /opt/sluice
COPY LICENSE NOTICE /app/
COPY core/sluice_core /app/sluice_core
COPY redact/sluice_redact /app/sluice_redact
COPY worker/sluice_worker /app/sluice_worker
RUN python -m compileall -q /app
USER 10001:10001
EXPOSE 9090
ENTRYPOINT ["python", "-m", "sluice_worker"]

FROM base AS operator
COPY --from=operator-packages /opt/sluice /opt/sluice
COPY LICENSE NOTICE /app/
COPY core/sluice_core /app/sluice_core
COPY redact/sluice_redact /app/sluice_redact
COPY operator/sluice_operator /app/sluice_operator
RUN python -m compileall -q /app
USER 10001:10001
EXPOSE 9090
ENTRYPOINT ["python", "-m", "sluice_operator"]
