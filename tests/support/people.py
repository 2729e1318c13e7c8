"""People who use a site beside its owner, for tests: added with a token, and calling with it."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from balsam.site import Site
from balsam.v1 import user_pb2, user_service_pb2
from tests.support.rpc_client import Client

MEMBER, VIEWER = user_pb2.User.MEMBER, user_pb2.User.VIEWER


def new_token() -> str:
    """A token as `balsam server --add-user` makes them."""
    return f"user.{secrets.token_urlsafe(32)}"


def add_user(owner: Client, name: str, role: user_pb2.User.Role.ValueType = MEMBER, *, seconds: int = 0) -> str:
    """Adds a user, or gives one another token; gives the token."""
    token = new_token()
    digest = hashlib.sha256(token.encode()).digest()
    user = user_pb2.User(name=name, role=role)
    request = user_service_pb2.AddUserRequest(user=user, token_digest=digest, expire_seconds=seconds)
    owner.call("UserService/AddUser", request)
    return token


def token_file(directory: Path, token: str) -> str:
    """A file with a token, as BALSAM_TOKEN_FILE names it."""
    file = directory / f"{hashlib.sha256(token.encode()).hexdigest()[:8]}.token"
    file.write_text(token)
    file.chmod(0o600)
    return str(file)


def client_of(site: Site, token: str) -> Client:
    """The line of somebody who has this token."""
    return Client(site, token)
