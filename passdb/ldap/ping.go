package ldap

import (
	"context"

	"dproxy/passdb"
)

var _ passdb.Pinger = (*driver)(nil)

// Ping implements passdb.Pinger: it connects to each server once, with TLS and the bind that searches need.
func (d *driver) Ping(ctx context.Context, report func(server string, err error)) {
	for _, t := range d.searches.dial.targets {
		c, err := d.searches.dial.dial(ctx, t, true)
		if err == nil {
			c.end()
		}
		report(t.uri, err)
	}
}
