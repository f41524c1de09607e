"""An emulated API server, for where there is no real one: kmock, with what it lacks for us.

It has no schema, no CEL rules, no garbage collection and no roles: what it shows is only that our handlers, client and
kopf understand each other. Invariant: one emulator for each run of an operator; events between a list and the watch
after it are lost in kmock, so objects are made once the watches have begun.
"""

import copy
import gzip
import json
import re
from importlib.resources import files
from itertools import count
from typing import Any

import jsonpatch
import kmock
from aiohttp import web
from kmock._internal import enums, k8s

from sluice_operator.kube.client import Object
from sluice_operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, NAMESPACE, SCALED_OBJECT, SECRET, TENANT, Kind

_NAMESPACE = re.compile(r"/api/v1/namespaces/([a-z0-9-]+)")
_numbers = count(1)


class Emulator(k8s.KubernetesEmulator):
    """With JSON Patch, server-side apply, resourceVersion, generation, and PUT."""

    async def _handle(self, request: Any) -> Any:
        if namespace := _NAMESPACE.fullmatch(request.url.path):  # which kmock takes for something inside of one
            meta = {"name": namespace[1], "uid": f"uid-of-{namespace[1]}"}
            return web.json_response({**NAMESPACE.head, "metadata": meta})
        if request.resource is not None:
            if request.method is kmock.method.PUT:
                _set(request, "action", enums.action.UPDATE)
            if request.action in {enums.action.CREATE, enums.action.UPDATE}:
                try:
                    self._prepare(request)
                except jsonpatch.JsonPatchTestFailed:  # of an object that was changed meanwhile: kopf looks again
                    return _refusal(422, "Invalid")
            key = (request.resource, request.namespace, request.name)
            if request.action is enums.action.DELETE and key in self._objects and not self._objects[key].deleted:
                self._objects[key].patch({"metadata": {"resourceVersion": str(next(_numbers))}})
        try:
            return await super()._handle(request)
        except k8s.KubernetesError as error:
            return _refusal(error.status, error.reason)

    def _prepare(self, request: Any) -> None:
        data = json.loads(request.body)
        if request.action is enums.action.CREATE:
            meta = data["metadata"]
            name = meta.get("name") or f"{meta['generateName']}{next(_numbers)}"
            data = {**data, "metadata": {"generation": 1, "uid": f"uid-{next(_numbers)}", **meta, "name": name}}
        else:
            key = (request.resource, request.namespace, request.name)
            if key not in self._objects or self._objects[key].deleted:
                kinds = [value for name, value in request.headers.items() if name.lower() == "content-type"]
                if "application/apply-patch+yaml" not in kinds:
                    return
                self._objects[key] = {"metadata": {"generation": 1, "uid": f"uid-{next(_numbers)}"}}
            before = copy.deepcopy(dict(self._objects[key].raw))
            if isinstance(data, list):
                data = _merge(before, jsonpatch.apply_patch(before, data))
            if data.get("spec") and data["spec"] != before.get("spec"):
                generation = before["metadata"].get("generation", 0) + 1
                data = {**data, "metadata": {**data.get("metadata", {}), "generation": generation}}
        data = {**data, "metadata": {**data.get("metadata", {}), "resourceVersion": str(next(_numbers))}}
        _set(request, "data", data)

    def add(self, kind: Kind, namespace: str | None, manifest: Object) -> None:
        """An object that is there from the beginning."""
        meta = {"uid": f"uid-{next(_numbers)}", "resourceVersion": "1", **manifest["metadata"]}
        if namespace is not None:
            meta["namespace"] = namespace
        self.objects[resource(kind), namespace, meta["name"]] = {**kind.head, **manifest, "metadata": meta}

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """An object as it is now."""
        key = (resource(kind), namespace, name)
        if key not in self.objects or self.objects[key].deleted:
            return None
        return dict(self.objects[key].raw)

    def declare(self) -> None:
        """The kinds that there are."""
        bundled = files("kmock._internal").joinpath("resources.json.gz").read_bytes()
        self.resources.load_data(gzip.decompress(bundled))
        for kind in (TENANT, SCALED_OBJECT, NAMESPACE, SECRET, CONFIG_MAP, EVENT, DEPLOYMENT):
            self.resources[resource(kind)] = kmock.ResourceInfo(
                kind=kind.kind,
                singular=kind.kind.lower(),
                namespaced=kind.namespaced,
                subresources={"status"} if kind is TENANT else set(),
                verbs={"get", "list", "watch", "create", "update", "patch", "delete"},
            )


def resource(kind: Kind) -> Any:
    """kmock's name of a kind."""
    group, _, version = kind.api.rpartition("/")
    return kmock.resource(group, version, kind.plural)


def _refusal(status: int, reason: str | None) -> web.Response:
    return web.json_response({"kind": "Status", "apiVersion": "v1", "code": status, "reason": reason}, status=status)


def _set(request: Any, name: str, value: Any) -> None:
    object.__setattr__(request, name, value)


def _merge(old: Object, new: Object) -> Object:
    """A merge patch that makes one of the other."""
    patch: Object = {}
    for name in old.keys() | new.keys():
        if name not in new:
            patch[name] = None
        elif name not in old or old[name] != new[name]:
            both = isinstance(old.get(name), dict) and isinstance(new[name], dict)
            patch[name] = _merge(old[name], new[name]) if both else new[name]
    return patch
