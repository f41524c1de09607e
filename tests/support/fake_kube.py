"""The API server as far as one look at a Tenant needs it, in memory: writes are noted, and can be made to fail."""

from collections.abc import Callable
from typing import Any

from sluice_operator.kube.client import Object
from sluice_operator.kube.errors import Conflict, KubeError
from sluice_operator.kube.kinds import CONFIG_MAP, NAMESPACE, Kind


class FakeKube:
    """Objects by kind, namespace and name."""

    def __init__(self, *config_maps: Object) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[str] = []
        self.fails: Callable[[str], KubeError | None] = lambda _: None
        """Asked before every write, such as `create Secret acme-sluice`."""
        for one in config_maps:
            self._put(CONFIG_MAP, one)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        if kind is NAMESPACE:
            return {"metadata": {"name": name, "uid": f"uid-of-{name}"}}
        return self.objects.get((kind.kind, namespace, name))

    async def list(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Object]:
        return [
            one for (found, where, _), one in self.objects.items() if found == kind.kind and namespace in ("", where)
        ]

    async def create(self, kind: Kind, manifest: Object) -> Object:
        meta = manifest["metadata"]
        if "name" in meta and (kind.kind, meta["namespace"], meta["name"]) in self.objects:
            raise Conflict("create", 409, "AlreadyExists")
        return self._write("create", kind, manifest)

    async def replace(self, kind: Kind, manifest: Object) -> Object:
        return self._write("replace", kind, manifest)

    async def apply(self, kind: Kind, manifest: Object) -> Object:
        return self._write("apply", kind, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str = "") -> None:
        self._note(f"delete {kind.kind} {name}")
        self.objects.pop((kind.kind, namespace, name), None)

    def _write(self, verb: str, kind: Kind, manifest: Object) -> Object:
        self._note(f"{verb} {kind.kind} {manifest['metadata'].get('name', '')}".strip())
        return self._put(kind, manifest)

    def _note(self, what: str) -> None:
        if (error := self.fails(what)) is not None:
            raise error
        self.writes.append(what)

    def _put(self, kind: Kind, manifest: Object) -> Object:
        meta: dict[str, Any] = {"uid": f"uid-{len(self.objects)}", "resourceVersion": "1", **manifest["metadata"]}
        made = {**manifest, "metadata": meta}
        self.objects[kind.kind, meta["namespace"], meta.get("name", f"event-{len(self.objects)}")] = made
        return made
