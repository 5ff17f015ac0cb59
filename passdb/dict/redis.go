package dict

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"dproxy/conf"
)

const (
	// connectTimeout and lookupTimeout bound one connection and one lookup. Dovecot waits 30 s.
	connectTimeout, lookupTimeout = 5 * time.Second, 10 * time.Second
	// connections is how many there are to the server; further lookups wait.
	connections = 10
	// maxValue bounds a value, and any text in an answer; maxLine a line of the protocol; maxItems a list.
	maxValue, maxLine, maxItems = 64 << 10, 4096, 64
)

// server is a Redis server.
type server struct {
	address string
	prefix  string
	timeout time.Duration
	client  *redis.Client
}

// quiet keeps the client library from writing to standard error; what it has to say is in its errors.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func newServer(uri *conf.DictRedis) server {
	quiet()
	s := server{address: uri.Address, prefix: uri.Prefix, timeout: timeoutOf(uri)}
	dialer := &net.Dialer{Timeout: connectTimeout}
	s.client = redis.NewClient(&redis.Options{
		Network: uri.Network, Addr: uri.Address, Password: uri.Password, DB: uri.DB,
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		DialTimeout:              connectTimeout, DialerRetries: 1,
		ReadTimeout: s.timeout, WriteTimeout: s.timeout, ContextTimeoutEnabled: true,
		PoolSize: connections, PoolTimeout: s.timeout,
		// A connection that the server has closed meanwhile is noticed when it is used: once more on another.
		MaxRetries: 2, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 20 * time.Millisecond,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &guarded{Conn: c}, nil
		},
	})
	return s
}

func (s server) close() error { return s.client.Close() }

func (s server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return s.client.Ping(ctx).Err()
}

// get reads a key's value.
func (s server) get(ctx context.Context, key string) (value string, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	value, err = s.client.Get(ctx, s.prefix+key).Result()
	switch {
	case err == nil:
		return value, true, nil
	case isNil(err):
		return "", false, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", false, fmt.Errorf("Lookup timed out in %d.%03d secs", s.timeout/time.Second, s.timeout%time.Second/time.Millisecond)
	}
	return "", false, err
}

// guarded is a connection whose answers are looked at before the client library allocates what they announce.
type guarded struct {
	net.Conn
	data int64  // bytes of a text that are still to come
	line []byte // the line so far
}

// Read implements net.Conn. It fails for good at an answer that is too large.
func (g *guarded) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.look(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// look follows the protocol (RESP2 and 3) through some bytes.
func (g *guarded) look(b []byte) error {
	for len(b) > 0 {
		if g.data > 0 {
			n := min(g.data, int64(len(b)))
			g.data -= n
			b = b[n:]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		part := b
		if end >= 0 {
			part = b[:end]
		}
		if g.line = append(g.line, part...); len(g.line) > maxLine {
			return errors.New("the server's answer has a line that is too long")
		}
		if end < 0 {
			return nil
		}
		b = b[end+1:]
		if err := g.announced(bytes.TrimSuffix(g.line, []byte("\r"))); err != nil {
			return err
		}
		g.line = g.line[:0]
	}
	return nil
}

// announced looks at one line of an answer.
func (g *guarded) announced(line []byte) error {
	if len(line) == 0 {
		return errors.New("the server's answer makes no sense")
	}
	most := int64(maxItems)
	switch line[0] {
	case '$', '=', '!':
		most = maxValue
	case '*', '%', '~', '>', '|':
	default:
		return nil
	}
	n, err := strconv.ParseInt(string(line[1:]), 10, 64)
	switch {
	case err != nil || n < -1:
		return errors.New("the server's answer makes no sense")
	case n > most:
		return fmt.Errorf("the server's answer is longer than %d", most)
	case most == maxValue && n >= 0:
		g.data = n + 2
	}
	return nil
}
