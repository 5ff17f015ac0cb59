// Package attack plays hostile clients, backends and peers against dproxy and watches that nobody else notices.
// `make e2e` builds dproxy and names it in the environment variable DPROXY; without it everything is skipped.
// Imports test/proxy, test/dialog (for its certificates) and test/daemon.
package attack
