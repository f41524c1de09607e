"""Makes a fresh mongod usable: a replica set of one member, and the operator's user.

Until the first user exists, MongoDB lets a connection from the same host create it and nothing else, so this runs
beside mongod. Invariant: on a server that is already set up it changes nothing.
"""

import os
import signal
import sys
import time

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

ALREADY_INITIALIZED, UNAUTHORIZED = 23, 13


def set_up(local: MongoClient[dict[str, object]], member: str, user: str, password: str) -> None:
    """Raises PyMongoError while that does not work yet."""
    try:
        local.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": member}]})
    except OperationFailure as error:
        if error.code not in {ALREADY_INITIALIZED, UNAUTHORIZED}:
            raise
    if not local.admin.command("hello")["isWritablePrimary"]:
        raise PyMongoError("no primary yet")
    try:
        local.admin.command("createUser", user, pwd=password, roles=["root"])
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:  # the first user is there already
            raise


def main() -> int:
    """Set it up, and rest until asked to stop: a container that ends is started again."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = os.environ.get("ADDRESS", "127.0.0.1:27017")
    with MongoClient[dict[str, object]](f"mongodb://{address}/?directConnection=true", timeoutMS=5000) as local:
        while True:
            try:
                set_up(local, os.environ["MEMBER"], os.environ["ADMIN_USER"], os.environ["ADMIN_PASSWORD"])
                break
            except PyMongoError as error:
                sys.stderr.write(f"waiting for mongod: {type(error).__name__}\n")
                time.sleep(1)
    sys.stderr.write("the database is set up\n")
    if "--once" not in sys.argv:
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
