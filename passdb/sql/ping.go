package sql

import (
	"cmp"
	"context"

	"dproxy/passdb"
)

var _ passdb.Pinger = (*Driver)(nil)

// Ping implements passdb.Pinger: it connects and logs in to each server once and asks nothing.
func (d *Driver) Ping(ctx context.Context, report func(server string, err error)) {
	for i := range d.pool.hosts {
		c, err := d.ping(ctx, i)
		if err == nil {
			c.close()
		}
		report(d.file.Driver+" "+cmp.Or(d.pool.hosts[i].name, "server of "+d.file.Path), err)
	}
}

func (d *Driver) ping(ctx context.Context, host int) (conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return d.pool.connect(ctx, host)
}
