#!/bin/sh
# Installs the Debian packages whose daemons and clients the tests use. No daemon of theirs is started, and no package
# is removed: Cyrus, which cannot be installed beside Dovecot, is unpacked into a directory of its own.
set -eu

packages="dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-submissiond dovecot-managesieved
dovecot-sqlite sqlite3 curl isync swaks fetchmail sieve-connect postfix haproxy openssl postgresql mariadb-server slapd ldap-utils
redis-server dovecot-auth-lua fail2ban"
cyrus=${DPROXY_TEST_CYRUS:-/var/cache/dproxy-test/cyrus}

# absent prints those of the packages that are not installed: the others are left at the version they have.
absent() {
	for p in "$@"; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || printf ' %s' "$p"
	done
}
# shellcheck disable=SC2086
missing=$(absent $packages)
wanted=$missing
[ -x "$cyrus/usr/lib/cyrus/bin/imapd" ] || wanted="$wanted cyrus-imapd(unpacked)"
[ -n "$wanted" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "not a Debian system: tests that need these are skipped:$wanted" >&2
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "not root: tests that need these are skipped; apt-get install$wanted" >&2
	exit 0
fi

# Debian starts a daemon once its package is installed, unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
install() {
	[ $# = 0 ] || apt-get install -y -q --no-install-recommends --no-remove "$@"
}
# shellcheck disable=SC2086
install $missing

# unpack_cyrus puts Cyrus and the tool that sets its passwords aside. The libraries they need are installed as usual,
# but for those of two programs that no test runs.
unpack_cyrus() {
	libraries=$(apt-cache depends cyrus-common cyrus-imapd cyrus-pop3d sasl2-bin |
		sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | grep -Ev '^lib(clamav|zephyr)' | sort -u) &&
		# shellcheck disable=SC2046,SC2086
		install $(absent $libraries) &&
		rm -rf "$cyrus.new" && mkdir -p "$cyrus.new/debs" && chmod 755 "$cyrus.new" &&
		(cd "$cyrus.new/debs" && apt-get download -q -o APT::Sandbox::User=root cyrus-common cyrus-imapd cyrus-pop3d sasl2-bin) &&
		for deb in "$cyrus.new"/debs/*.deb; do dpkg -x "$deb" "$cyrus.new" || return 1; done &&
		rm -rf "$cyrus.new/debs" "$cyrus" && mv "$cyrus.new" "$cyrus"
}
if [ ! -x "$cyrus/usr/lib/cyrus/bin/imapd" ] && ! unpack_cyrus; then
	echo "Cyrus could not be unpacked into $cyrus: tests that need it are skipped" >&2
fi
