"""Run before the chart is uninstalled with `crds.keep=false`: refuses while there are Tenants.

Uninstalling takes the Tenant's definition along then, and the API server every Tenant with it, in all namespaces.
Invariant: it ends with 0 only if the API server itself said that there are none.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount"))
SERVER = os.environ.get("API_SERVER", "https://kubernetes.default.svc")
TENANTS = "/apis/sluice.dev/v1alpha1/tenants?limit=500"


def main() -> int:
    """The exit code."""
    request = urllib.request.Request(  # noqa: S310 - the API server's address is the cluster's own
        SERVER + TENANTS, headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}"}
    )
    authority = ACCOUNT / "ca.crt"
    context = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:  # noqa: S310
            tenants = json.load(answer)["items"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return 0  # the definition is gone already
        return _refuse(f"the API server answers {error.code}")
    except (OSError, ValueError, KeyError) as error:
        return _refuse(f"the API server cannot be asked ({type(error).__name__})")
    if not tenants:
        return 0
    names = sorted("{namespace}/{name}".format(**tenant["metadata"]) for tenant in tenants)
    shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    return _refuse(f"there are Tenants ({shown}), and with crds.keep=false uninstalling would delete them all")


def _refuse(why: str) -> int:
    message = f"uninstalling is refused: {why}. Delete the Tenants first, or upgrade with crds.keep=true.\n"
    sys.stderr.write(message)
    # `kubectl describe pod` shows it also when the log is gone.
    Path(os.environ.get("TERMINATION_LOG", "/dev/termination-log")).write_text(message)
    return 1


if __name__ == "__main__":
    sys.exit(main())
