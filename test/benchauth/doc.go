// Package benchauth is what `make bench-auth` runs: lookups per second and processor time per login of dproxy and of a real
// Dovecot's auth process, on the same data in one run, over the auth socket. It is not part of dproxy.
package benchauth
