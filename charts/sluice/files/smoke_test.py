"""`helm test`: a Tenant of its own, a line through the Service, and the line back out of the tenant's database.

Runs in the operator's image, which has all that it needs. Invariant: it removes its Tenant, with what it stored, also
when it fails.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

from pymongo import MongoClient

ACCOUNT = Path(os.environ.get("ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount"))
SERVER = os.environ.get("API_SERVER", "https://kubernetes.default.svc")
NAMESPACE = os.environ["NAMESPACE"]
INGEST = os.environ["INGEST"]
NAME = os.environ["TENANT"]
SECONDS = float(os.environ.get("SECONDS_LIMIT", "240"))
TENANTS = f"/apis/sluice.dev/v1alpha1/namespaces/{NAMESPACE}/tenants"
MARK = f"helm-test-{time.time_ns()}"
LINE = "User 555-0199 accessed from IP 192.168.1.100"
_context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")) if (ACCOUNT / "ca.crt").exists() else None


def call(method: str, url: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    """Status and JSON of an answer, whatever the status."""
    request = urllib.request.Request(  # noqa: S310 - addresses of the cluster's own
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    context = _context if url.startswith("https://") else None
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def kube(method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The API server's answer."""
    return call(method, SERVER + path, body, (ACCOUNT / "token").read_text().strip())


def until(deadline: float, what: str, look: Any) -> Any:
    """The first true thing that `look` returns."""
    last: object = None
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except OSError as error:
            last = type(error).__name__
        time.sleep(1)
    sys.exit(f"FAILED: {what} within {SECONDS:.0f} s" + (f" ({last})" if last else ""))


def is_ready() -> bool:
    """Whether the operator says that all is there."""
    conditions = kube("GET", f"{TENANTS}/{NAME}")[1].get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def post(key: str) -> bool:
    """Whether the line got its 202; 401 and 503 are answers of a replica that has not heard of the tenant yet."""
    status, answer = call("POST", f"{INGEST}/ingest", {"log_id": MARK, "text": LINE}, key)
    if status not in {202, 401, 503}:
        sys.exit(f"FAILED: ingest answers {status} {answer.get('code', '')}")
    return status == 202


def run() -> None:
    """The test."""
    deadline = time.monotonic() + SECONDS
    manifest = {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"deletionPolicy": "Delete", "retention": {"days": 1}},
    }
    until(deadline, "the Tenant was not taken", lambda: kube("POST", TENANTS, manifest)[0] == 201)
    until(deadline, "the Tenant did not become ready", is_ready)
    secret = kube("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}-sluice")[1]["data"]
    print("the Tenant is ready")  # noqa: T201 - what it prints is what `helm test --logs` shows
    until(deadline, "the line was not accepted", lambda: post(b64decode(secret["default"]).decode()))
    print("the line is accepted")  # noqa: T201
    client: MongoClient[dict[str, Any]] = MongoClient(b64decode(secret["MONGODB_URI"]).decode(), timeoutMS=10_000)
    with client:
        logs = client.get_default_database()["processed_logs"]
        stored = until(deadline, "the line was not stored", lambda: logs.find_one({"_id": MARK}))
    if "555-0199" in stored["modified_data"] or "192.168.1.100" in stored["modified_data"]:
        sys.exit("FAILED: the line was stored without being redacted")
    print("the line is stored, once and redacted")  # noqa: T201


def main() -> None:
    """Clean before and after."""
    gone = time.monotonic() + SECONDS / 2
    kube("DELETE", f"{TENANTS}/{NAME}")
    until(gone, "an earlier Tenant did not go", lambda: kube("GET", f"{TENANTS}/{NAME}")[0] == 404)
    try:
        run()
    finally:
        kube("DELETE", f"{TENANTS}/{NAME}")


if __name__ == "__main__":
    main()
