#!/usr/bin/env bash
# A cluster to try Sluice on, with KEDA and an ingress controller on http://127.0.0.1:8880.
#
#   k8s/cluster.sh up          starts it; prints what to put into the shell
#   k8s/cluster.sh load [TAG]  builds the three images (tag `dev`) and brings them onto it
#   k8s/cluster.sh env         prints KUBECONFIG, PATH and where images lie, for `eval "$(k8s/cluster.sh env)"`
#   k8s/cluster.sh check       ends with 0 if kubectl points at a cluster that may be emptied
#   k8s/cluster.sh able        ends with 0 if this machine can have one; says why not otherwise
#   k8s/cluster.sh down        stops it
#
# Where the scripts of a cluster without containers around its node are (SLUICE_CLUSTER_SCRIPTS; they need root on Debian
# and build everything themselves, for half an hour the first time), it is theirs; elsewhere, or if that is empty, kind's.
# SLUICE_CONTEXTS names further contexts that may be emptied.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scripts=${SLUICE_CLUSTER_SCRIPTS-$root/../shared/cluster}
cache=${CLUSTER_CACHE:-$HOME/.cache/sluice-cluster}
python_image=${PYTHON_IMAGE:-python:3.11-slim-bookworm}
debian_packages=(containerd runc containernetworking-plugins nftables iptables conntrack buildah mmdebstrap openssl libcurl4)
contexts="sluice kind-sluice ${SLUICE_CONTEXTS:-}"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
own() { [ -n "$scripts" ] && [ -x "$scripts/up" ]; }

has_packages() {
  for program in containerd runc nft iptables conntrack buildah mmdebstrap openssl; do
    command -v $program >/dev/null || return 1
  done
}

able() {
  if own; then
    [ "$(id -u)" = 0 ] || die "the cluster's scripts need root"
    has_packages || command -v apt-get >/dev/null || die "the cluster's scripts need Debian: there is no apt-get"
    unshare --mount --net --pid --fork true 2>/dev/null || die "this machine may not make namespaces, so it cannot run containers"
    find /sys/fs/cgroup -maxdepth 1 -type d -writable | grep -q . || die "/sys/fs/cgroup is not writable, so no container can run"
  else
    for program in docker kind kubectl helm; do
      command -v $program >/dev/null || die "$program is missing (kind needs docker, kind, kubectl and helm)"
    done
  fi
}

environment() {
  if own; then
    echo "export KUBECONFIG=${CLUSTER_STATE:-$HOME/.local/state/sluice-cluster}/kubeconfig"
    echo "export PATH=$cache/bin:\$PATH SLUICE_IMAGE_REGISTRY=localhost"
  else
    echo "export SLUICE_IMAGE_REGISTRY="
  fi
}

up_own() {
  has_packages || { apt-get update -q && apt-get install -yq --no-install-recommends "${debian_packages[@]}"; } >&2
  "$scripts/build" >&2
  "$scripts/images" >&2
  "$scripts/up" >/dev/null
  "$scripts/addons" >&2
  "$scripts/schemas" >/dev/null # for the chart's tests
}

up_kind() {
  kind get clusters | grep -qx sluice || kind create cluster --config "$root/k8s/kind.yaml" >&2
  kubectl config use-context kind-sluice >&2
  if ! kubectl get crd scaledobjects.keda.sh >/dev/null 2>&1; then
    helm install keda keda --repo https://kedacore.github.io/charts --version 2.20.2 \
      -n keda --create-namespace --wait >&2
  fi
  if ! kubectl get ingressclass traefik >/dev/null 2>&1; then
    helm install traefik traefik --repo https://traefik.github.io/charts -n traefik --create-namespace --wait \
      --set service.type=NodePort --set ports.web.nodePort=30080 >&2
  fi
}

load() {
  own || make -s -C "$root" images TAG="$1" PYTHON_IMAGE="$python_image" >&2
  for part in ingest worker operator; do
    if own; then
      "$scripts/build-image" "sluice-$part:$1" "$root" --target "$part" --build-arg "PYTHON_IMAGE=$python_image" \
        --build-arg "REVISION=$1" >&2
    else
      kind load docker-image --name sluice "sluice-$part:$1" >&2
    fi
  done
}

check() {
  local current
  current=$(kubectl config current-context 2>/dev/null) || die "kubectl has no context: make cluster-up"
  for allowed in $contexts; do
    if [ "$current" = "$allowed" ]; then return 0; fi
  done
  die "context $current is none of: $contexts. What follows empties namespaces; SLUICE_CONTEXTS=$current allows it"
}

eval "$(environment)"
case ${1:-help} in
  up) able; if own; then up_own; else up_kind; fi; environment ;;
  load) load "${2:-dev}" ;;
  env) environment ;;
  check) check ;;
  able) able ;;
  down) if own; then "$scripts/down" >&2; else kind delete cluster --name sluice >&2; fi ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; [ "${1:-help}" = help ] || [ "$1" = --help ] || exit 2 ;;
esac
