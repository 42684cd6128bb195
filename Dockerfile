# Two images: everything but documents, and with them.
#
#   docker build --target freshline --tag freshline .
#   docker build --target freshline-semantic --tag freshline-semantic .

FROM python:3.11-slim AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/freshline

# What others wrote. Our own code lies in layers of its own, so that its changes leave these as they are.
FROM tools AS packages
COPY requirements-run.txt ./
RUN python -m pip --python /opt/freshline/bin/python install --require-hashes --only-binary :all: -r requirements-run.txt

FROM tools AS packages-semantic
COPY requirements-run-semantic.txt ./
RUN python -m pip --python /opt/freshline/bin/python install --require-hashes --only-binary :all: -r requirements-run-semantic.txt

# Our own code, as a wheel.
FROM tools AS wheel
COPY requirements-build.txt ./
RUN python -m pip install --require-hashes --only-binary :all: -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY infra infra
COPY consumers consumers
COPY streams streams
COPY freshline freshline
RUN python -m hatchling build -t wheel -d /wheel \
    && python -m pip --python /opt/freshline/bin/python install --no-deps --no-index /wheel/*.whl

# Nothing is written but below /tmp, so the root file system may be read-only.
FROM python:3.11-slim AS runtime
ENV PATH=/opt/freshline/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin freshline
USER 10001
ENTRYPOINT ["freshline"]

# Keeps entries and tags fresh, coalesces edits of documents, watches lag, prepares database, topics and connector.
FROM runtime AS freshline
COPY --from=packages /opt/freshline /opt/freshline
COPY --from=wheel /opt/freshline /opt/freshline

# Indexes documents, too. The model is a package in it, and nothing is looked for on a hub.
FROM runtime AS freshline-semantic
ENV HF_HUB_OFFLINE=1
COPY --from=packages-semantic /opt/freshline /opt/freshline
COPY --from=wheel /opt/freshline /opt/freshline
