"""Sites of other people, or out of reach of our files: what `balsam login` has stored, and such a site for programs.

A login is a file in the user's data directory, ``logins/DIGEST.json``, which only the user may read: it holds the
token. A `MemberSite` is seen through its job store alone; what a launcher needs of the site's settings that tells, and
what it writes for itself lies in the user's state directory.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balsam.addresses import looks_like_address, parse_address
from balsam.endpoints import Endpoint, read_connect
from balsam.errors import SiteError
from balsam.site import CONNECT_FILE, Site, run_of_this_host, write_secret

if TYPE_CHECKING:
    from balsam.settings import Settings


@dataclass(frozen=True)
class Login:
    """The way into a site.

    Attributes:
        site: what was logged in to: absolute path of a directory, or ``HOST:PORT``.
        address: where the site listens.
        authority: certificate of its authority (PEM).
        token: the credential.
        path: the site's directory, on its own hosts.
        host: on which its services run.
        user: as whom.
        job_stores: how many there are.
    """

    site: str
    address: str
    authority: str
    token: str = field(repr=False)
    path: str = ""
    host: str = ""
    user: str = ""
    job_stores: int = 1

    def endpoint(self) -> Endpoint:
        """The way to its job stores."""
        address = parse_address(self.address, "address", self.job_stores)
        return Endpoint(address, self.authority, self.host, self.job_stores, self.site)


def user_data() -> Path:
    """This user's data directory for Balsam; not made by asking for it."""
    import platformdirs

    return Path(platformdirs.user_data_dir("balsam", appauthor=False))


def store(login: Login) -> Path:
    """Keeps a login, in the place of one to the same site; gives the file."""
    directory = user_data() / "logins"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = _file(login.site)
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    write_secret(draft, json.dumps(asdict(login), indent=1))
    draft.replace(target)
    return target


def find(site: str) -> Login | None:
    """The login to a site, by its path or ``HOST:PORT``; None: there is none."""
    return _read(_file(site))


def stored() -> Iterator[Login]:
    """All logins."""
    for file in sorted((user_data() / "logins").glob("*.json")):
        if (login := _read(file)) is not None:
            yield login


def _read(file: Path) -> Login | None:
    try:
        values = json.loads(file.read_text())
        return Login(**{one.name: values[one.name] for one in fields(Login) if one.name in values})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        raise SiteError(f"the login {file} is damaged: remove it, then `balsam login` again") from None


def _file(site: str) -> Path:
    return user_data() / "logins" / f"{_digest(site)}.json"


def _digest(site: str) -> str:
    return hashlib.sha256(os.fsencode(site)).hexdigest()[:16]


def member_site(path: str) -> MemberSite | None:
    """The site of somebody else at `path`, a directory or ``HOST:PORT``; None: there is none that lets us in.

    Raises:
        SiteError: nobody has logged in at this address.
    """
    directory = Path(path).expanduser().absolute()
    login = find(str(directory))
    if login is not None or os.access(directory / CONNECT_FILE, os.R_OK):
        return MemberSite(directory, login)
    if os.path.exists(directory) or not looks_like_address(path):
        return None
    login = find(path)
    if login is None:
        raise SiteError(f"nobody has logged in to {path} here: `balsam login {path}`, with the invitation of its owner")
    return MemberSite(Path(path), login)


@dataclass(frozen=True)
class MemberSite(Site):
    """A site that is somebody else's, or whose files are out of reach.

    Its `path` is its directory, or ``HOST:PORT``.
    """

    login: Login | None = None
    is_own = False

    def endpoint(self) -> Endpoint:
        """The way to its job stores.

        Raises:
            SiteError: it does not listen any more.
        """
        said = read_connect(self.path) if self.path.is_absolute() else None
        if self.login is None and said is None:
            raise SiteError(f"{self.path} does not listen for others: its owner makes it, by `balsam server --listen`")
        if said is None or self.login is None:
            return said or self._login.endpoint()
        # Where it is, the directory knows; whom to trust, we have been told.
        return Endpoint(said.address, self.login.authority, said.host, said.job_stores, self.login.site)

    @property
    def _login(self) -> Login:
        assert self.login is not None
        return self.login

    def token(self) -> str:
        """The token of the login, as it is now. Raises SiteError if there is none."""
        login = find(str(self.path))
        if login is None:
            raise SiteError(
                f"you are not logged in to {self.path}: `balsam login {self.path}`, with the invitation of its owner"
            )
        return login.token

    @functools.cached_property
    def _said(self) -> Any:
        """What the job store says of the site (a GetSiteResponse)."""
        from balsam.rpc import ask_site

        return ask_site(self)

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings that the job store tells; the others have their defaults."""
        from balsam.settings import Settings

        told = self._said.settings
        names = [one.name for one in told.DESCRIPTOR.fields if told.HasField(one.name)]
        return Settings(**{name: getattr(told, name) for name in names})

    @property
    def data(self) -> Path:
        """Where working directories are made, on the site's own hosts."""
        path = Path(self.login.path) if self.login is not None and self.login.path else self.path
        return path / "data"

    @property
    def state(self) -> Path:
        """What processes of this user write for themselves."""
        import platformdirs

        return Path(platformdirs.user_state_dir("balsam", appauthor=False)) / "sites" / _digest(str(self.path))

    @property
    def log(self) -> Path:
        """Logs of this user's launchers."""
        return self.state / "log"

    @property
    def qsubmit(self) -> Path:
        """Scripts that were given to a batch system: where only this user can change them."""
        return self.state / "qsubmit"

    @property
    def ledgers(self) -> Path:
        """What launchers of this user have written down."""
        return self.state / "ledger"

    @functools.cached_property
    def run(self) -> Path:
        """Directory of sockets of this user's launchers."""
        return run_of_this_host(self.path)

    def make_run(self) -> Path:
        """Makes the run directory, and those of what is written.

        Raises:
            SiteError: it cannot be made, or belongs to somebody else.
        """
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (self.log, self.qsubmit):
                directory.mkdir(exist_ok=True)
        except OSError as error:
            raise SiteError(f"cannot make {error.filename}: {error.strerror}") from None
        return super().make_run()
