# The worker and dbt in one image; all state in the volume /data.
#
#   docker build -t levain .
#   docker run -v lake:/data -e LEVAIN_KAFKA_BOOTSTRAP=broker:9092 levain faust -A ingest.app worker -l info
#   docker run -v lake:/data levain dbt build
#   docker run -v lake:/data levain levain ledger
FROM python:3.11-slim-bookworm

# uv has the Makefile's version and installs as it does there: with a lock file of hashes, older versions of pip ask for
# hashes of extras too (`mashumaro[msgpack]`). Bytecode is compiled now, since a read-only container cannot keep it.
ARG UV_VERSION=0.13.8
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    UV_SYSTEM_PYTHON=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1

WORKDIR /app

# First what changes seldom: a change of the code does not install everything again.
COPY requirements/runtime.txt requirements/runtime.in requirements/
RUN pip install uv==${UV_VERSION} && uv pip install --require-hashes -r requirements/runtime.txt

COPY . .
RUN uv pip install --no-deps --no-build-isolation -e . \
 && useradd --create-home --uid 10001 levain \
 && install -d -o levain -g levain /data

# By number: an orchestrator that asks for a user without rights cannot look names up.
USER 10001

# DuckDB keeps its extensions in the user's folder: installed here, a read-only container has them too.
RUN python -c "import duckdb; from levain.warehouse.bronze import load_extensions; load_extensions(duckdb.connect())"

# A container's network is its own: what is served in it is reached only where its port is published.
ENV LEVAIN_HOME=/data \
    LEVAIN_METRICS_HOST=0.0.0.0 \
    DBT_PROFILES_DIR=/app/profiles \
    DBT_LOG_PATH=/data/run \
    DBT_TARGET_PATH=/data/run/target \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false \
    DO_NOT_TRACK=1

VOLUME /data
EXPOSE 19100

CMD ["faust", "-A", "ingest.app", "worker", "-l", "info"]
