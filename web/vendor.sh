#!/bin/sh
# Fetch the browser libraries of web/static/vendor again, as web/static/vendor/VERSIONS names them.
#
#   web/vendor.sh            fetch, check the sha512, extract
#   web/vendor.sh --check    the same into a temporary folder, then compare with what is committed
#
# Needs npm (its own configuration says which registry), openssl and tar. A new version: change the line in
# VERSIONS (`npm view NAME@VERSION dist.integrity` prints the sum), run this, read the diff, run the tests.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
vendor=$here/static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

target=$vendor
[ "${1-}" = --check ] && target=$work/vendor

grep -v '^#' "$vendor/VERSIONS" | while read -r folder package integrity files; do
    [ -n "$folder" ] || continue
    echo "$package"
    tarball=$work/$(cd "$work" && npm pack "$package" --silent | tail -n 1)
    actual=sha512-$(openssl dgst -sha512 -binary "$tarball" | openssl base64 -A)
    if [ "$actual" != "$integrity" ]; then
        echo "$package: the sha512 is $actual, VERSIONS says $integrity" >&2
        exit 1
    fi
    rm -rf "${target:?}/$folder"
    mkdir -p "$target/$folder"
    for file in $files; do
        tar -xzOf "$tarball" "package/$file" > "$target/$folder/$(basename "$file")"
    done
done

# The source maps are not vendored: drop the comments that point at them.
find "$target" -type f \( -name '*.mjs' -o -name '*.js' -o -name '*.css' \) | while read -r file; do
    sed -i.bak -E '/^(\/\/# sourceMappingURL=.*|\/\*# sourceMappingURL=.*\*\/)$/d; s/\/\*# sourceMappingURL=[^*]*\*\/$//' "$file"
    rm "$file.bak"
done

if [ "$target" != "$vendor" ]; then
    diff -r -x VERSIONS -x README.md "$vendor" "$target" && echo "web/static/vendor is what the packages hold"
fi
