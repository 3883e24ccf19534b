"""Every setting, in one typed place: environment variables `LEVAIN_*`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ingest.errors import ConfigurationError, first_line

_PREFIX = "LEVAIN_"

_SERVER = re.compile(r"([^\s:/\[\],]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
_MEMORY = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?((?P<unit>[KMGT])(?P<binary>i)?)?B")

SPARK_VARIABLES = ("LEVAIN_SPARK_JARS", "LEVAIN_SPARK_MASTER")
"""Settings of the Spark target, which profiles/profiles.yml reads."""

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Settings read from the environment; each field is `LEVAIN_<FIELD>`, and one that is empty is not set."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, extra="ignore", allow_inf_nan=False)

    home: Path = Field(PROJECT_ROOT / ".levain", description="where all state lives")

    kafka_bootstrap: str = Field("", description="host:port[,host:port]; empty: the embedded broker")
    kafka_cluster: str = Field("", description="alias of the cluster, part of each message's identity")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ssl_cafile: str = ""
    kafka_ssl_certfile: str = ""
    kafka_ssl_keyfile: str = ""
    kafka_ssl_key_password: SecretStr = SecretStr("")
    kafka_group: str = Field("levain-ingest", description="consumer group of the worker (Faust's app id)")
    kafka_replication_factor: int = Field(1, ge=1, description="of the topics that `levain init` creates")
    broker_port: int = Field(19092, ge=1, le=65535, description="port of the embedded broker")

    schema_registry_url: str = Field("", description="of an API like Confluent's; needed by `confluent-avro` topics")
    schema_registry_username: str = Field("", description="empty: no authentication")
    schema_registry_password: SecretStr = SecretStr("")
    schema_registry_ssl_cafile: str = Field("", description="PEM file; empty: the usual authorities")

    catalog_uri: str = Field("", description="empty: SQLite in the home; else any PyIceberg catalog URI")
    catalog_type: Literal["sql", "rest", "glue"] = "sql"
    catalog_warehouse: str = Field("", description="empty: `lake/` in the home")
    catalog_credential: SecretStr = Field(SecretStr(""), description="`client:secret` for a REST catalog, by OAuth2")
    catalog_token: SecretStr = Field(SecretStr(""), description="bearer token for a REST catalog")
    catalog_properties: dict[str, SecretStr] = Field(
        default_factory=dict, description="JSON object: any other property of PyIceberg's catalogs and storage"
    )

    s3_endpoint: str = Field("", description="http(s)://host:port of an S3-compatible storage; empty: AWS")
    s3_region: str = Field("", description="empty: what AWS says; with an endpoint: us-east-1")
    s3_access_key_id: str = Field("", description="empty: what the AWS environment gives")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), validate_default=True)

    accept_missing: bool = Field(False, description="land on where Kafka has removed messages that never landed")
    commit_every_seconds: float = Field(2.0, gt=0)
    commit_every_bytes: int = Field(32 * 1024 * 1024, gt=0)
    commit_patience_seconds: float = Field(
        300.0, ge=0, le=3600, description="how long a commit that fails is tried again"
    )

    metrics_host: str = Field("127.0.0.1", description="address the worker serves its metrics and health on")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="0: any free port; unset: see `health.serve`")
    scores_group: str = Field("levain-scores", description="consumer group of the worker that scores purchases")
    scores_model: str = Field("", description="version of the model it scores with; empty: the newest")
    scores_metrics_port: int = Field(0, ge=0, le=65535, description="of that worker's metrics; 0: any free port")
    log_format: Literal["text", "json"] = Field("text", description="of the logs of worker and sources")

    drops_dir: Path | None = Field(
        None, description="holds a folder per topic of extracts; unset: `drops/` in the home"
    )
    drops_settle_seconds: float = Field(5.0, gt=0, description="a file that has not changed for so long is whole")

    weather_url: str = Field("https://api.open-meteo.com", description="of an API like Open-Meteo's")
    weather_api_key: SecretStr = Field(SecretStr(""), description="empty: Open-Meteo's free access, non-commercial use")
    weather_stores: Path | None = Field(None, description="CSV of places to ask for; unset: the drops")
    weather_every_seconds: float = Field(900.0, gt=0)
    weather_timeout_seconds: float = Field(10.0, gt=0, description="of each try, to connect and to answer")
    weather_tries: int = Field(5, ge=1, description="of a request, before a poll has failed")

    duckdb_memory_limit: str = Field("2GB", description="of a build's engine; the rest goes to disk")
    duckdb_threads: int = Field(2, ge=1, le=1024)

    maintain_every_commits: int = Field(100, ge=0, description="0: the worker leaves maintenance to `levain maintain`")
    maintain_file_bytes: int = Field(128 * 1024 * 1024, gt=0, description="size that compaction packs files up to")
    maintain_keep_hours: int = Field(
        72, ge=1, le=1_000_000, description="how long files that were replaced can still be read"
    )
    maintain_keep_snapshots: int = Field(100, ge=20, description="the newest ones, whatever their age")

    @field_validator("home")
    @classmethod
    def _home_can_be_opened(cls, home: Path) -> Path:
        odd = sorted({c for c in str(home) if c in '"?' or ord(c) < 32})
        if odd:
            raise ValueError(f"a path with {' or '.join(map(repr, odd))} is one that DuckDB or dbt-duckdb cannot open")
        return home

    @field_validator("kafka_bootstrap")
    @classmethod
    def _servers_have_ports(cls, servers: str) -> str:
        for server in servers.split(",") if servers else []:
            found = _SERVER.fullmatch(server.strip())
            if found is None or not 1 <= int(found["port"]) <= 65535:
                raise ValueError(f"`{server}` is not host:port, with a port from 1 to 65535")
        return servers

    @field_validator("schema_registry_url")
    @classmethod
    def _registry_can_be_asked(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("write it as http://host:port or https://host:port, with the path of the API")
        if parts.username or parts.password:
            raise ValueError("set its user and password by LEVAIN_SCHEMA_REGISTRY_USERNAME and _PASSWORD")
        return url

    @field_validator("duckdb_memory_limit")
    @classmethod
    def _memory_suffices(cls, limit: str) -> str:
        found = _MEMORY.fullmatch(limit)
        if found is None:
            raise ValueError("write it as `2GB` or `512MiB`")
        size = float(found["number"]) * (1024 if found["binary"] else 1000) ** " KMGT".index(found["unit"] or " ")
        if not 64e6 <= size <= 1e15:
            raise ValueError("it has to be from 64MB to 1000TB")
        return limit

    @field_validator("home", "drops_dir")
    @classmethod
    def _leads_somewhere(cls, path: Path | None) -> Path | None:
        try:
            if path is not None:
                path.expanduser().resolve()
        except (OSError, RuntimeError) as error:  # a loop of symbolic links, or no such user
            raise ValueError(f"this path leads nowhere: {first_line(error)}") from error
        return path

    @field_validator("s3_secret_access_key")
    @classmethod
    def _s3_key_is_whole(cls, secret: SecretStr, others: ValidationInfo) -> SecretStr:
        if bool(secret.get_secret_value()) != bool(others.data.get("s3_access_key_id")):
            raise ValueError("set it together with LEVAIN_S3_ACCESS_KEY_ID, or neither")
        return secret

    @cached_property
    def root(self) -> Path:
        """Absolute path of `LEVAIN_HOME`."""
        return self.home.expanduser().resolve()

    @property
    def lake(self) -> str:
        """Location of the Iceberg warehouse: a URI, or a path, in which `%`, `#` and `?` are what they are."""
        return self.catalog_warehouse or str(self.root / "lake")

    @property
    def has_own_catalog(self) -> bool:
        """The catalog is the home's own file, not one that `LEVAIN_CATALOG_URI` or Glue names."""
        return self.catalog_type == "sql" and not self.catalog_uri

    @property
    def catalog_file(self) -> Path:
        """The SQLite catalog both engines open on one machine."""
        return self.root / "catalog.db"

    @property
    def duckdb_file(self) -> Path:
        return self.root / "levain.duckdb"

    @property
    def drops(self) -> Path:
        """The drop folder; below it one folder per topic."""
        return (self.drops_dir or self.root / "drops").expanduser().resolve()

    @property
    def models_dir(self) -> Path:
        """What was trained, a file per version."""
        return self.root / "models"

    @property
    def run_dir(self) -> Path:
        """Pid files, logs and locks."""
        return self.root / "run"


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: a variable has a value that cannot be used, or a name that is no setting; names each one.
    """
    _check_names(os.environ)
    try:
        return Settings()
    except SettingsError as error:  # the only one that is JSON; its text is not shown, for it holds secrets
        raise ConfigurationError(
            "Settings cannot be used: LEVAIN_CATALOG_PROPERTIES is not JSON.",
            'Write it as one object: {"name": "value"}.',
        ) from error
    except ValidationError as error:
        wrong = "; ".join(
            f"LEVAIN_{str(each['loc'][0]).upper()}{''.join(f', {part}' for part in each['loc'][1:])}: "
            f"{each['msg'].removeprefix('Value error, ').rstrip('.')}"
            for each in error.errors()
        )
        raise ConfigurationError(
            f"Settings cannot be used: {wrong}.", "Correct or unset these environment variables."
        ) from error


def _check_names(environment: Iterable[str]) -> None:
    """See that each `LEVAIN_*` variable is a setting: a misspelt one would have no effect."""
    known = [
        *(name.upper() for name in Settings.model_fields),
        *(name.removeprefix(_PREFIX) for name in SPARK_VARIABLES),
    ]
    ours = {name: name.upper().removeprefix(_PREFIX) for name in environment if name.upper().startswith(_PREFIX)}
    unknown = sorted(name for name, field in ours.items() if field not in known)
    if unknown:
        meant = [difflib.get_close_matches(ours[name], known, 1) for name in unknown]
        raise ConfigurationError(
            f"{', '.join(unknown)}: there is no such setting.",
            "; ".join(
                f"Write {_PREFIX}{close[0]}, or unset {name}" if close else f"Unset {name}"
                for name, close in zip(unknown, meant, strict=True)
            )
            + ". README.md lists the settings.",
        )
