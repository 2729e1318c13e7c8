"""A site: the directory that holds a campaign's database, data, logs and credentials, and how to find one.

Each script of each job finds its site and speaks to it: what that does not need is imported where it is used.
"""

from __future__ import annotations

import functools
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balsam.directories import user_name
from balsam.errors import SiteError

if TYPE_CHECKING:
    from balsam.endpoints import Endpoint
    from balsam.settings import Settings

SETTINGS_FILE = "settings.toml"
CONNECT_FILE = "connect.json"
"""Says where a site listens, and holds the certificate of its authority; no secret."""
ENV_SITE = "BALSAM_DB_PATH"
ENV_JOB_TOKEN = "BALSAM_JOB_TOKEN"
ENV_TOKEN_FILE = "BALSAM_TOKEN_FILE"

_SHORTEST_TOKEN = 32
_LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 107


@dataclass(frozen=True)
class Site:
    """A directory with settings in it. Making one of these touches nothing on disk."""

    path: Path

    is_own = True
    """Whether it is ours: its settings and credentials can be read."""

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, read once. Raises SiteError if they are not valid."""
        from balsam.settings import load

        return load(self.path / SETTINGS_FILE)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def data(self) -> Path:
        """Where working directories are made."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """Logs of services and launchers, one file a process."""
        return self.path / "log"

    @property
    def qsubmit(self) -> Path:
        """Scripts that were given to a batch system."""
        return self.path / "qsubmit"

    @property
    def templates(self) -> Path:
        """The site's own job templates."""
        return self.path / "templates"

    @property
    def database(self) -> Path:
        """Directory of the embedded database."""
        return self.path / "database"

    @property
    def backups(self) -> Path:
        """Copies of the database, made before each upgrade."""
        return self.path / "backups"

    @property
    def set_aside(self) -> Path:
        """Rows of the database that were damaged, one file each."""
        return self.path / "set-aside"

    @property
    def credentials(self) -> Path:
        """Directory of keys and tokens, closed to everyone else."""
        return self.path / "credentials"

    @property
    def owner_token_file(self) -> Path:
        """The token that may do everything."""
        return self.credentials / "owner.token"

    @property
    def ledgers(self) -> Path:
        """What launchers have written down of results that they could not report yet."""
        return self.path / "ledger"

    @functools.cached_property
    def run(self) -> Path:
        """Directory of sockets and of what the running services say of themselves."""
        run = self.path / "run"
        if len(os.fsencode(run / "launcher-1234567890.sock")) <= _LONGEST_SOCKET_PATH:
            return run
        return run_of_this_host(self.path)

    def endpoint(self) -> Endpoint | None:
        """The way to the job stores over TLS; None: their sockets are in the run directory.

        Here and nowhere else it is decided how a site is reached.
        """
        try:
            text = (self.path / CONNECT_FILE).read_text()
            host = json.loads(text)["host"]
        except OSError:
            return None
        except (ValueError, KeyError, TypeError):
            return None  # damaged; the job store writes it anew when it starts
        # Services that have never run will run where somebody starts them.
        if host in ("", os.uname().nodename):
            return None
        import dataclasses

        from balsam.certificates import authority_of
        from balsam.endpoints import parse_connect

        # Others may have a hand in the directory, but not in the credentials: these say whom to trust.
        return dataclasses.replace(parse_connect(text, self.path), authority=authority_of(self))

    def token(self) -> str:
        """The credential of the person who uses the site. Raises SiteError if it cannot be read."""
        return _read_token_file(self.owner_token_file)

    def make_run(self) -> Path:
        """Makes the run directory, closed to everyone else.

        Raises:
            SiteError: it exists and belongs to somebody else; or others may write to what decides what runs here.
        """
        from balsam.closed import require_closed

        require_closed(self)
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = os.lstat(self.run)
        if info.st_uid != os.getuid():
            raise SiteError(f"{self.run} belongs to {owner_name(self.run)}: the services of a site are its owner's")
        if not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o077:
            raise SiteError(f"{self.run} must be a directory with mode 0700; set that with `chmod 700 {self.run}`")
        return self.run

    def socket(self, service: str) -> Path:
        """Path of a service's Unix socket."""
        return self.run / f"{service}.sock"

    def address(self, service: str) -> str:
        """gRPC target of a service."""
        return f"unix:{self.socket(service)}"

    def write_info(self, service: str, **values: Any) -> None:
        """Records what a running service says of itself (pid, version, start time, ...)."""
        target = self.run / f"{service}.json"
        draft = target.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(values))
        draft.replace(target)

    def read_info(self, service: str) -> dict[str, Any]:
        """What a service last said of itself; empty if nothing."""
        try:
            info = json.loads((self.run / f"{service}.json").read_text())
        except (OSError, ValueError):
            return {}
        return info if isinstance(info, dict) else {}


def run_of_this_host(path: Path) -> Path:
    """A directory for sockets, short enough, that other hosts do not share; another one for each site and user."""
    import hashlib
    import tempfile

    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(base) / f"balsam-{os.getuid()}-{digest}"


def open_site(path: str | os.PathLike[str]) -> Site:
    """The site at `path`: a directory of ours or of somebody else, or the ``HOST:PORT`` of a login.

    Raises:
        SiteError: there is none, or it is somebody else's who has not let us in.
    """
    site = Site(Path(path).expanduser().absolute())
    settings = site.path / SETTINGS_FILE
    if os.path.isfile(settings) and os.access(settings, os.R_OK) and _is_ours(site.path):
        return site
    from balsam.logins import member_site

    member = member_site(os.fspath(path))
    if member is not None:
        return member
    if os.path.isfile(settings):
        raise SiteError(
            f"the site {site.path} belongs to {owner_name(settings)}, who alone may use it; for others its owner has "
            "it listen (`balsam server --listen HOST:PORT`) and adds them (`balsam server --add-user NAME`)"
        )
    raise SiteError(f"{site.path} is not a Balsam site; make one with `balsam init {site.path}`")


def _is_ours(directory: Path) -> bool:
    """Whether a site is this user's. A directory that can only be read may be anybody's, and a launcher would run what
    it holds; root does as its owner."""
    owners = {path.stat().st_uid for path in (directory, directory / SETTINGS_FILE)}
    return os.getuid() == 0 or owners == {os.getuid()}


def owner_name(path: Path) -> str:
    """Name of the user whose file this is."""
    return user_name(path.stat().st_uid)


def find_site(path: str | os.PathLike[str] | None = None) -> Site:
    """The site that commands and scripts work on: `path`, else ``BALSAM_DB_PATH``, else the nearest above.

    Raises:
        SiteError: there is none.
    """
    if path is not None:
        return open_site(path)
    if os.environ.get(ENV_SITE):
        return open_site(os.environ[ENV_SITE])
    here = Path.cwd()
    for directory in (here, *here.parents):
        if os.path.isfile(directory / SETTINGS_FILE) and os.path.isdir(directory / "credentials"):
            return _open_found(directory)
    raise SiteError(f"no Balsam site at or above {here}; make one with `balsam init PATH`, or point {ENV_SITE} at one")


def _open_found(directory: Path) -> Site:
    """The site in a directory that nobody has named. We may only happen to be below it: neither is what it holds run,
    nor a token given to the address that it names, but by who has made it or has logged in to it."""
    from balsam.logins import find

    site = open_site(directory)
    settings = directory / SETTINGS_FILE
    if settings.stat().st_uid == os.getuid() if site.is_own else find(str(directory)) is not None:
        return site
    raise SiteError(
        f"the site {directory}, above the current directory, belongs to {owner_name(settings)}: "
        f"`balsam login {directory}` first, or name it by {ENV_SITE}"
    )


def make_site(path: str | os.PathLike[str], settings: Settings | None = None) -> Site:
    """Makes a site's directory, settings and credentials; its database is made at the first start.

    Raises:
        SiteError: `path` is a site already, or cannot be made.
    """
    import secrets

    from balsam.closed import close, make_closed
    from balsam.settings import Settings, render

    site = Site(Path(path).expanduser().absolute())
    if (site.path / SETTINGS_FILE).exists():
        raise SiteError(f"{site.path} is a Balsam site already")
    if settings is not None and settings.listen:
        from balsam import certificates

        certificates.require_cryptography()
    try:
        # With a umask of 002, in a directory that hands its group on, all of the group could write there.
        site.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        close(site.path)
        site.data.mkdir(mode=0o755, exist_ok=True)
        for directory in (site.log, site.qsubmit, site.database, site.credentials):
            make_closed(directory)
        write_secret(site.owner_token_file, "owner." + secrets.token_urlsafe(32))
        write_secret(site.credentials / "site.key", secrets.token_hex(32))
        if settings is not None and settings.listen:
            certificates.establish(site, settings)
        # Last: only a complete site has settings.
        write_secret(site.path / SETTINGS_FILE, render(settings or Settings()))
    except OSError as error:
        raise SiteError(f"cannot make a site at {site.path}: {error.strerror}: {error.filename}") from None
    return site


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner can read."""
    write_closed(path, text, 0o600)


def write_closed(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file that only its owner can write to, whatever the umask is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + ("" if text.endswith("\n") else "\n"))
        file.flush()
        os.fsync(descriptor)


def read_owner_token(site: Site) -> str:
    """The owner's token, as a service compares it with what callers send.

    Raises:
        SiteError: the file was cut off; nobody may get in with what is left of it.
    """
    try:
        token = site.owner_token_file.read_text(errors="replace").strip()
    except OSError as error:
        raise SiteError(f"cannot read the token {site.owner_token_file}: {error.strerror}") from None
    if len(token) < _SHORTEST_TOKEN:
        raise SiteError(
            f"{site.owner_token_file} is damaged: restore it, or write at least {_SHORTEST_TOKEN} random characters"
            " to it, then start the services again"
        )
    return token


def sync(path: Path) -> None:
    """Makes what is in a file last, or what was made, renamed and removed in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_token(site: Site) -> str:
    """The credential to use: that of the run or script we are in, else a file that is named, else our own.

    Raises:
        SiteError: the file cannot be read.
    """
    token = os.environ.get(ENV_JOB_TOKEN)
    # The token of a run is good for that run's site only.
    if token and os.environ.get(ENV_SITE) == str(site.path):
        return token
    if file := os.environ.get(ENV_TOKEN_FILE):
        return _read_token_file(Path(file))
    return site.token()


def _read_token_file(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SiteError(f"cannot read the token {file}: {error.strerror}; is the site yours?") from None
