#!/bin/sh
# Installs the Debian packages whose daemons and clients the tests use. No daemon of theirs is started.
set -eu

packages="dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-submissiond dovecot-managesieved
dovecot-sqlite sqlite3 curl isync postgresql mariadb-server slapd ldap-utils"

missing=""
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "not a Debian system: tests that need these are skipped:$missing" >&2
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "not root: tests that need these are skipped; apt-get install$missing" >&2
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
# shellcheck disable=SC2086
apt-get install -y -q --no-install-recommends $missing
