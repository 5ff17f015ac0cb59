#!/bin/sh
# release.sh VERSION OUT_DIR: static binaries for amd64 and arm64 as tar files and Debian packages, a list of what is in them
# (SBOM), and checksums. The same commit and Go version give the same bytes.
set -eu
version=$1 out=$2
here=$(dirname "$0")
mkdir -p "$out"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for arch in amd64 arm64; do
	name=dproxy-$version-linux-$arch
	mkdir -p "$work/$name"
	GOOS=linux GOARCH=$arch CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$work/$name/dproxy" ./cmd/dproxy
	cp LICENSE README.md CHANGELOG.md packaging/dproxy.service packaging/dovecot.conf "$work/$name/"
	tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
	go run ./packaging/sbom "$work/$name/dproxy" "$version" >"$out/$name.cdx.json"
	sh "$here/deb.sh" "$work/$name/dproxy" "$version" "$arch" "$out"
done
(cd "$out" && sha256sum -- *.tar.gz *.deb *.cdx.json >SHA256SUMS)
cat "$out/SHA256SUMS"
