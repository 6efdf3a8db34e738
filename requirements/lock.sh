#!/bin/sh
# Pin everything that is shipped, with hashes: one resolution for all, so that no two tiers differ in a version.
# Needs uv (docs.astral.sh/uv).
set -eu
cd "$(dirname "$0")/.."
all=$(mktemp)
without=$(mktemp)
trap 'rm -f "$all" "$without"' EXIT
# What `trackers` asks for and does not need for tracking: a second OpenCV, which would lie over the headless one, and
# plots. Installed with --no-deps, as the lists are complete.
cat > "$without" <<EOF
opencv-python; sys_platform == "never"
matplotlib; sys_platform == "never"
EOF
# Other servers pull in much that has no place among our own pins: `bench` has its own resolution.
lock() {
  out=$1
  shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate --constraints "$all" --overrides "$without" "$@" --output-file "requirements/$out.txt" pyproject.toml
}
uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
  --extra web --extra worker --extra openvino --extra tensorflow --extra training --extra quantize --extra standalone \
  --group dev --overrides "$without" --output-file "$all" pyproject.toml
lock web --extra web
lock worker --extra worker --extra openvino
lock worker-jax --extra worker --extra jax
lock worker-cuda --extra worker --extra cuda --extra training
lock trainer --extra worker --extra tensorflow --extra training
lock standalone --extra web --extra worker --extra openvino --extra standalone
lock standalone-training --extra web --extra worker --extra openvino --extra tensorflow --extra training --extra standalone
lock dev --extra web --extra worker --extra openvino --extra tensorflow --extra training --extra quantize --extra standalone \
  --group dev
printf 'opencv-python; sys_platform == "never"\n' > "$without" # matplotlib is wanted there
uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
  --overrides "$without" --extra web --extra worker --extra openvino --extra standalone --group bench \
  --output-file requirements/bench.txt pyproject.toml
