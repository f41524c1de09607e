"""Making a fresh mongod usable: a replica set of one with access control and an administrator.

Until the first user exists, MongoDB lets a connection from the same machine create it and nothing else. Invariant:
running this on a server that is already set up changes nothing.
"""

import asyncio

from pymongo.errors import OperationFailure, PyMongoError

from sluice_core.edge.store import Client, connect
from sluice_core.errors import StoreUnavailable

_ALREADY_INITIALIZED = 23
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_POLL_SECONDS = 0.05


async def set_up_replica_set(host: str, port: int, user: str, password: str, *, timeout: float = 30.0) -> None:
    """Initiate the set, wait until it takes writes, and create the administrator.

    Raises StoreUnavailable when that does not work within `timeout` seconds, or the password is another one.
    """
    local = connect(f"mongodb://{host}:{port}/?directConnection=true", timeout_ms=5000)
    member = {"_id": 0, "host": f"{host}:{port}"}
    try:
        try:
            await local.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        except OperationFailure as error:
            if error.code not in {_ALREADY_INITIALIZED, _UNAUTHORIZED}:
                raise
        await _wait_for_primary(local, timeout)
        try:
            await local.admin.command("createUser", user, pwd=password, roles=["root"])
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:  # the first user is there already
                raise
    except PyMongoError as error:
        raise _failed(error) from error
    finally:
        local.close()
    admin = connect(
        f"mongodb://{user}:{password}@{host}:{port}/?authSource=admin&directConnection=true", timeout_ms=5000
    )
    try:
        await admin.admin.command("ping")
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.code == _AUTHENTICATION_FAILED:
            raise StoreUnavailable("the database knows another administrator's password than ours") from error
        raise _failed(error) from error
    finally:
        admin.close()


def _failed(error: PyMongoError) -> StoreUnavailable:
    return StoreUnavailable(f"the database could not be set up ({type(error).__name__})")


async def _wait_for_primary(client: Client, timeout: float) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not (await client.admin.command("hello")).get("isWritablePrimary"):
        if asyncio.get_running_loop().time() > deadline:
            raise StoreUnavailable("the database did not become primary in time")
        await asyncio.sleep(_POLL_SECONDS)
