"""The chart as Helm renders it, and the programs that these tests need."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from sluice_operator.kube.client import Object
from support.cluster import NAMESPACE, REPO, cache_folder

CHART = REPO / "charts/sluice"

CASES: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "dev": ("--values", str(CHART / "values-dev.yaml")),
    "staging": ("--values", str(CHART / "values-staging.yaml")),
    "prod": ("--values", str(CHART / "values-prod.yaml")),
    "guarded": ("--set", "crds.keep=false"),
    "everything": ("--values", str(CHART / "ci/everything-values.yaml")),
    "namespaced": ("--set", "operator.watchNamespaces={team-a,team-b}"),
}
"""What is rendered, by name: the arguments that make it."""


@cache
def find_program(name: str) -> Path | None:
    """On the PATH or in the cache of the cluster's own build; None: not there."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), str(cache_folder() / "bin"))))
    return Path(found) if found else None


def run(name: str, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """A program that is there."""
    program = find_program(name)
    assert program is not None, name
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False)


@cache
def render_text(*arguments: str) -> str:
    """What would be installed, as Helm prints it."""
    done = run("helm", "template", "sluice", str(CHART), "--namespace", NAMESPACE, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*arguments: str) -> list[Object]:
    """What would be installed."""
    return [document for document in yaml.safe_load_all(render_text(*arguments)) if document]


def refusal(*arguments: str) -> str:
    """Why these values are refused."""
    done = run("helm", "template", "sluice", str(CHART), "--namespace", NAMESPACE, *arguments)
    assert done.returncode != 0, "they are taken"
    return done.stderr


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def worker_pod(objects: list[Object]) -> Object:
    """The pod template that the operator makes lanes of."""
    text = find(objects, "ConfigMap", "sluice-worker-template")["data"]["template.yaml"]
    pod: Object = yaml.safe_load(text)
    return pod


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The name of whatever makes a pod, and the pod's spec; the workers' template, too."""
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        match one["kind"]:
            case "Pod":
                yield name, one["spec"]
            case "Deployment" | "StatefulSet" | "Job":
                yield name, one["spec"]["template"]["spec"]
            case "ConfigMap" if "template.yaml" in one["data"]:
                yield name, yaml.safe_load(one["data"]["template.yaml"])["spec"]


def containers(pod: Object) -> list[Object]:
    """All of a pod's."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def env(pod: Object) -> dict[str, Object]:
    """The variables of a pod's first container, by name."""
    return {one["name"]: one for one in pod["containers"][0]["env"]}
