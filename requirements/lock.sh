#!/bin/sh
# Pin everything that is shipped, with hashes: one resolution for all, so that no two tiers differ in a version.
# Needs uv (docs.astral.sh/uv).
set -eu
cd "$(dirname "$0")/.."
all=$(mktemp)
trap 'rm -f "$all"' EXIT
lock() {
  out=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate --constraints "$all" "$@" --output-file "requirements/$out.txt" pyproject.toml
}
uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
  --extra web --extra worker --extra openvino --extra tensorflow --extra standalone --group dev \
  --output-file "$all" pyproject.toml
lock web --extra web
lock worker --extra worker --extra openvino
lock worker-cuda --extra worker --extra cuda
lock standalone --extra web --extra worker --extra openvino --extra standalone
lock dev --extra web --extra worker --extra openvino --extra tensorflow --extra standalone --group dev
