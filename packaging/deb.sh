#!/bin/sh
# deb.sh BINARY VERSION ARCH OUT_DIR: makes a Debian package of a static binary. The same input gives the same bytes.
set -eu
binary=$1 version=$2 arch=$3 out=$4
here=$(dirname "$0")
# Debian's versions begin with a digit and have no dash of their own.
debversion=$(printf '%s' "$version" | sed 's/^v//; s/-/+/g; s/^[^0-9]/0~&/')
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
put() { install -D -m "$1" "$2" "$root/$3"; }

put 755 "$binary" usr/bin/dproxy
put 644 "$here/dproxy.service" lib/systemd/system/dproxy.service
put 644 "$here/dproxy.sysusers" usr/lib/sysusers.d/dproxy.conf
put 644 "$here/dproxy.logrotate" etc/logrotate.d/dproxy
put 644 "$here/dovecot.conf" usr/share/doc/dproxy/examples/dovecot.conf
put 644 "$here/../LICENSE" usr/share/doc/dproxy/copyright
for doc in README.md CHANGELOG.md docs/*.md; do
	put 644 "$here/../$doc" "usr/share/doc/dproxy/$doc"
done

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: dproxy
Version: $debversion
Architecture: $arch
Section: mail
Priority: optional
Maintainer: The dproxy authors <dproxy@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Suggests: ssl-cert
Description: login proxy for mail that reads Dovecot's configuration
 dproxy stands in front of IMAP, POP3, Submission, ManageSieve and LMTP servers. It reads the dovecot.conf of a Dovecot proxy
 or Director unchanged, asks the same user databases, logs in to the user's backend and relays.
CONTROL
echo /etc/logrotate.d/dproxy >"$root/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"

mkdir -p "$out"
dpkg-deb --root-owner-group --build "$root" "$out/dproxy_${debversion}_${arch}.deb"
