"""NATS' decentralised login, made here: an operator who signs accounts, which sign users, and their credentials files.

The form is that of nats-io/jwt version 2: three parts in base64url, signed with the issuer's Ed25519 key.
"""

import os
import time
from base64 import b32encode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import msgspec
import nkeys

_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
_ACCOUNT_LIMITS = {**_UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
_STREAMS = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


class Identity:
    """A key pair with what it is for: `operator`, `account` or `user`."""

    def __init__(self, kind: str) -> None:
        prefix = getattr(nkeys, f"PREFIX_BYTE_{kind.upper()}")
        self.kind = kind
        self.seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self._pair.public_key.decode()

    def sign(self, subject: "Identity", name: str, **nats: Any) -> str:
        """A JWT in which this one says what the subject is and may do."""
        claims = {
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject.public,
            "nats": {"type": subject.kind, "version": 2, **nats},
        }
        claims["jti"] = b32encode(sha256(msgspec.json.encode(claims)).digest()).decode().rstrip("=")
        head = _part(msgspec.json.encode({"typ": "JWT", "alg": "ed25519-nkey"}))
        signed = f"{head}.{_part(msgspec.json.encode(claims))}"
        return f"{signed}.{_part(self._pair.sign(signed.encode()))}"


def account_jwt(operator: Identity, account: Identity, name: str, *, streams: bool) -> str:
    """The system's account must not have streams."""
    return operator.sign(account, name, limits=_ACCOUNT_LIMITS | (_STREAMS if streams else {}))


def credentials_file(account: Identity, name: str, permissions: dict[str, Any]) -> str:
    """What `nsc generate creds` writes, for a new user with these permissions."""
    user = Identity("user")
    allowed = {"pub": _allowed(permissions["publish"]), "sub": _allowed(permissions["subscribe"])}
    jwt = account.sign(user, name, **_UNLIMITED, **allowed)
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )


def _allowed(permission: list[str] | dict[str, list[str]]) -> dict[str, list[str]]:
    return permission if isinstance(permission, dict) else {"allow": permission}


def _part(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
