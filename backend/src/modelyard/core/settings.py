"""Everything the environment decides, read once."""

import re
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from modelyard.core.keys import clean_key
from modelyard.core.private_files import tighten

_PUBLIC_PATH = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~-]+)*")
_PUBLIC_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_OWN_FOLDERS = ("/api/", "/hub/", "/v1/", "/assets/", "/docs/")
"""This server's own paths, which could not be told from a path in front of them."""


def _default_home() -> Path:
    try:
        return Path(platformdirs.user_data_dir("modelyard"))
    except RuntimeError:  # nobody has a home folder here; that is refused below, by name
        return Path("~/modelyard")


class Settings(BaseSettings):
    """`MODELYARD_*` variables. `HF_*` belong to huggingface_hub, which reads them itself."""

    model_config = SettingsConfigDict(
        env_prefix="MODELYARD_", env_ignore_empty=True, str_strip_whitespace=True, use_attribute_docstrings=True
    )

    home: Path = Field(default_factory=_default_home, validate_default=True)
    """The folder of the database, the queue, quantized copies and logs; the platform's data folder if not set."""
    host: str = "127.0.0.1"
    """The address the server listens on; beyond this machine only with a key."""
    port: int = 8000
    """The port the server listens on; 0 takes a free one."""
    database_url: str | None = None
    """`postgresql+psycopg://…`; SQLite in the home if not set."""
    broker_url: str | None = None
    """`redis://…` or `amqp://…`; a folder in the home if not set."""
    api_key: SecretStr | None = None
    """The key that clients send, of 16 characters or more where the server listens beyond this machine."""
    server: str | None = None
    """The server that a command uses; `modelyard serve` gives its own address to all its processes."""
    lease_seconds: float = 30.0
    """How long a job belongs to a worker that no longer responds."""
    warm: bool = True
    """Whether a process that has imported torch and transformers waits to be forked; costs its memory while idle."""
    max_upload_bytes: int = Field(default=10_000_000_000, gt=0)
    """The largest data set that can be sent over the API."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks of the reverse proxies whose `X-Forwarded-*` headers are believed."""
    public_url: str | None = None
    """The address that people open, where a reverse proxy stands in front of the server; may end in a path."""
    allowed_paths: Annotated[tuple[Path, ...] | None, NoDecode] = None
    """Folders, with `:` between them, below which every path that a user names must lie."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        """Raises ValueError for a `~` that stands for nobody's home folder."""
        return _without_tilde(home).absolute()

    @field_validator("api_key")
    @classmethod
    def _stripped(cls, key: SecretStr | None) -> SecretStr | None:
        """Raises ValueError for what no header can carry."""
        cleaned = clean_key(key.get_secret_value()) if key else ""
        return SecretStr(cleaned) if cleaned else None

    @field_validator("server")
    @classmethod
    def _address(cls, server: str | None) -> str | None:
        server = server.strip().rstrip("/") if server else ""
        return server if not server or "://" in server else f"http://{server}"

    @field_validator("public_url")
    @classmethod
    def _public_address(cls, url: str | None) -> str | None:
        """Take the slash at the end away. Raises ValueError for what is not the address of a page."""
        url = url.rstrip("/") if url else ""
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not _PUBLIC_HOST.fullmatch(parts.netloc) or parts.port == 0:
            raise ValueError("write an address such as https://models.example.org/modelyard")
        if parts.query or parts.fragment or not _PUBLIC_PATH.fullmatch(parts.path):
            raise ValueError("only a plain path may follow the name and the port")
        if f"{parts.path}/".startswith(_OWN_FOLDERS):
            raise ValueError(f"its path may not begin with any of {', '.join(_OWN_FOLDERS)}")
        return url

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, given: str | tuple[str, ...]) -> tuple[str, ...]:
        """Split a list with commas or spaces between its items. Raises ValueError for what is no address."""
        names = given.replace(",", " ").split() if isinstance(given, str) else given
        return tuple(str(ip_network(name, strict=False)) for name in names)

    @field_validator("allowed_paths", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        folders = tuple(_without_tilde(Path(name)) for name in value.split(":") if name)
        for folder in folders:
            if not folder.is_absolute():
                raise ValueError(f"{folder} is not an absolute path")
        return folders

    @property
    def sqlalchemy_url(self) -> str:
        """The database in use; SQLite in `home` unless `MODELYARD_DATABASE_URL` names another."""
        return self.database_url or f"sqlite:///{self.home / 'modelyard.db'}"

    @property
    def database_file(self) -> Path | None:
        """The file of the database in use, None if that is on a server."""
        if self.database_url is None:
            return self.home / "modelyard.db"
        scheme, separator, path = self.database_url.partition(":///")
        return Path(path.partition("?")[0]) if separator and scheme.startswith("sqlite") and path else None

    @property
    def is_shareable(self) -> bool:
        """Return whether several servers may use `home`: the database and the queue are not files in it."""
        return self.database_file is None and self.broker_url is not None

    @property
    def broker_folder(self) -> Path:
        return self.home / "broker"

    @property
    def samples_folder(self) -> Path:
        return self.home / "samples"

    @property
    def artifacts_folder(self) -> Path:
        return self.home / "artifacts"

    @property
    def datasets_folder(self) -> Path:
        return self.home / "datasets"

    @property
    def trainings_folder(self) -> Path:
        return self.home / "trainings"

    @property
    def saes_folder(self) -> Path:
        return self.home / "saes"

    @property
    def bundles_folder(self) -> Path:
        return self.home / "bundles"

    @property
    def bundle_uploads_folder(self) -> Path:
        return self.bundles_folder / "uploads"

    @property
    def activations_folder(self) -> Path:
        return self.home / "activations"

    @property
    def logs_folder(self) -> Path:
        return self.home / "logs"

    @property
    def local_url(self) -> str:
        """Return where processes on this machine reach the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"http://{host}:{self.port}"

    def prepare_home(self) -> None:
        """Create the folders that belong to this instance, readable by its owner only."""
        folders = (
            self.broker_folder,
            self.samples_folder,
            self.artifacts_folder,
            self.datasets_folder,
            self.trainings_folder,
            self.saes_folder,
            self.bundles_folder,
            self.bundle_uploads_folder,
            self.activations_folder,
            self.logs_folder,
            self.home / "workers",
        )
        for folder in (self.home, *folders):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Older versions left the files to the umask. The mode of an existing home is its owner's choice.
        tighten(
            (*folders, *self.home.glob("modelyard.db*"), *self.home.glob("modelyard-id"), *self.home.glob("serve.lock"))
        )


def _without_tilde(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder in {path} is not known; write an absolute path") from error


@lru_cache
def get_settings() -> Settings:
    return Settings()
