// Package e2e drives dproxy with real mail clients in front of real Dovecot backends. `make e2e` builds dproxy and names
// it in the environment variable DPROXY; with DPROXY=/usr/sbin/dovecot the same tests run against the reference.
// Imports test/proxy, test/dovecot-backend, test/dialog and test/daemon.
package e2e
