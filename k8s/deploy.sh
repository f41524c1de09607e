#!/usr/bin/env bash
# Sluice on the cluster of KUBECONFIG, from nothing to a tenant whose key takes lines: the development broker and
# database, the chart, and a sample. Images must be on it: k8s/cluster.sh load.
#
#   k8s/deploy.sh [helm arguments, such as --set ingest.replicas=2]
#
# Repeated at will; TAG is the images' tag (dev), SAMPLE the Tenant's file, CHART the chart's folder, and
# SLUICE_IMAGE_REGISTRY what stands before the images' names.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
registry=${SLUICE_IMAGE_REGISTRY:-}
chart=${CHART:-$root/charts/sluice}
sample=${SAMPLE:-$root/k8s/samples/tenant.yaml}
ingress=${SLUICE_INGRESS_URL:-http://127.0.0.1:8880}
step() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

"$root/k8s/cluster.sh" check
kubectl get crd scaledobjects.keda.sh >/dev/null || { echo "error: there is no KEDA: make cluster-up" >&2; exit 1; }

step "broker and database"
kubectl apply -k "$root/k8s/dev${registry:+-$registry}" >/dev/null
kubectl -n sluice-system rollout status statefulset/nats --timeout=180s >/dev/null
kubectl -n sluice-system rollout status statefulset/mongodb --timeout=180s >/dev/null

step "chart"
helm upgrade --install sluice "$chart" -n sluice-system -f "$chart/values-dev.yaml" \
  --set image.registry="$registry" --set image.tag="${TAG:-dev}" \
  --set ingest.ingress.enabled=true --set ingest.ingress.className=traefik --set operator.ingestUrl="$ingress" \
  --wait --timeout 5m "$@" >/dev/null

step "tenant"
kubectl apply -f "$sample" >/dev/null
kubectl wait -f "$sample" --for=condition=Ready --timeout=120s >/dev/null
name=$(kubectl get -f "$sample" -o jsonpath='{.metadata.name}')
namespace=$(kubectl get -f "$sample" -o jsonpath='{.metadata.namespace}')
step "ready"
cat <<END

Send a line:
  eval "\$(kubectl get secret -n $namespace $name-sluice -o jsonpath='{.data.EXAMPLE}' | base64 -d)"
Watch it being stored, and the workers come and go:
  kubectl get tenants -n $namespace -w
  kubectl get pods -n sluice-system -w
END
