package sql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/passdb/sql/query"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgsqlHosts are the servers of a pgsql connect string.
type pgsqlHosts []*pgconn.Config

// libpqOnly are parameters that only mean something to libpq. pgconn would send them to the server.
var libpqOnly = [...]string{
	"hostaddr", "gssencmode", "gsslib", "gssdelegation", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
	"tcp_user_timeout", "requirepeer", "sslcompression", "sslcrl", "sslcrldir", "load_balance_hosts", "fallback_application_name",
	"ssl_min_protocol_version", "ssl_max_protocol_version", "sslkeylogfile",
}

// newPgsql makes the hosts' configurations. Environment variables, the password file and the service
// file count as for libpq.
func newPgsql(hosts []conf.SQLHost) (pgsqlHosts, error) {
	var out pgsqlHosts
	for _, h := range hosts {
		c, err := pgsqlConfig(h)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func pgsqlConfig(h conf.SQLHost) (*pgconn.Config, error) {
	text := h.URI
	params := maps.Clone(h.Params)
	if h.Name != "" {
		params["host"] = h.Name
	}
	addr := params["hostaddr"]
	if text == "" {
		for _, name := range libpqOnly {
			delete(params, name)
		}
		if params["host"] == "" && addr != "" {
			params["host"] = addr
		}
		if params["client_encoding"] == "auto" {
			delete(params, "client_encoding")
		}
		text = conninfoText(params)
	}
	c, err := pgconn.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if addr != "" {
		// The name still counts for certificates, only the address is not asked for.
		c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{addr}, nil }
	}
	if c.RuntimeParams["client_encoding"] == "" {
		c.RuntimeParams["client_encoding"] = "UTF8"
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "dproxy"
	}
	return c, nil
}

// conninfoText writes parameters in libpq's keyword/value form.
func conninfoText(params map[string]string) string {
	var b strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for name, value := range params {
		b.WriteString(name + "='" + quote.Replace(value) + "' ")
	}
	return b.String()
}

func (h pgsqlHosts) open(ctx context.Context, n int) (conn, error) {
	c, err := pgconn.ConnectConfig(ctx, h[n])
	if err != nil {
		return nil, err
	}
	return &pgsqlConn{ctx: context.WithoutCancel(ctx), c: c, stmts: map[*query.Plan]*pgsqlStmt{}}, nil
}

// pgsqlConn is one connection to PostgreSQL. Values travel as text both ways, as with libpq.
type pgsqlConn struct {
	ctx     context.Context // for closing
	c       *pgconn.PgConn
	stmts   map[*query.Plan]*pgsqlStmt
	made    int  // statements prepared so far
	unnamed bool // prepared statements get lost: PgBouncer hands each query to another connection
	until   time.Time
	values  [][]byte
	buf     []byte
}

type pgsqlStmt struct {
	desc    *pgconn.StatementDescription
	columns []string
}

func (c *pgsqlConn) dialect() query.Dialect {
	return query.Dialect{
		Engine: query.PostgreSQL, ANSI: true,
		Backslash: c.c.ParameterStatus("standard_conforming_strings") == "off",
		UTF8:      c.c.ParameterStatus("client_encoding") == "UTF8",
	}
}

func (c *pgsqlConn) deadline(t time.Time) {
	c.until = t
	// A connection that takes no deadline is broken, which the query will tell.
	_ = c.c.Conn().SetDeadline(t)
}

// fail sorts an error: the connection is lost, or the server said something.
func (c *pgsqlConn) fail(err error) error {
	var se *pgconn.PgError
	if errors.As(err, &se) {
		text := errors.New(se.Severity + ":  " + se.Message)
		if c.c.IsClosed() {
			return broken{text}
		}
		return text
	}
	if !c.c.IsClosed() {
		return err
	}
	if !c.until.IsZero() && !time.Now().Before(c.until) {
		err = errTimeout
	}
	return broken{err}
}

func code(err error) string {
	var se *pgconn.PgError
	if errors.As(err, &se) {
		return se.Code
	}
	return ""
}

const textOID = 25

func (c *pgsqlConn) query(ctx context.Context, p *query.Plan, args []string, a *answer) error {
	if c.unnamed {
		return c.queryOnce(ctx, p.Text, args, a)
	}
	st := c.stmts[p]
	fresh := st == nil
	if fresh {
		var err error
		if st, err = c.prepare(ctx, p); err != nil {
			if code(err) != "" {
				return refused{c.fail(err)}
			}
			return c.fail(err)
		}
		c.stmts[p] = st
	}
	a.columns = st.columns
	err := c.read(c.c.ExecStatement(ctx, st.desc, c.bytes(args), nil, nil), a)
	switch {
	case err == nil:
		return nil
	case code(err) == "26000": // no such statement
		c.unnamed = true
		a.reset()
		return c.queryOnce(ctx, p.Text, args, a)
	case code(err) == "0A000" && !fresh && !c.c.IsClosed(): // cached plan must not change result type
		delete(c.stmts, p)
		a.reset()
		return c.query(ctx, p, args, a)
	}
	return c.fail(err)
}

// prepare leaves the types of the parameters to the server, as they are with quoted texts; where it
// cannot tell, they are text.
func (c *pgsqlConn) prepare(ctx context.Context, p *query.Plan) (*pgsqlStmt, error) {
	c.made++
	name := "dproxy" + strconv.Itoa(c.made)
	desc, err := c.c.Prepare(ctx, name, p.Text, nil)
	if code(err) == "42P18" { // indeterminate type
		oids := make([]uint32, p.Params)
		for i := range oids {
			oids[i] = textOID
		}
		desc, err = c.c.Prepare(ctx, name, p.Text, oids)
	}
	if err != nil {
		return nil, err
	}
	st := &pgsqlStmt{desc: desc}
	for i := range desc.Fields {
		st.columns = append(st.columns, desc.Fields[i].Name)
	}
	return st, nil
}

func (c *pgsqlConn) queryOnce(ctx context.Context, text string, args []string, a *answer) error {
	err := c.read(c.c.ExecParams(ctx, text, c.bytes(args), nil, nil, nil), a)
	if err == nil {
		return nil
	}
	if strings.HasPrefix(code(err), "42") {
		return refused{c.fail(err)}
	}
	return c.fail(err)
}

// bytes copies the values into one buffer of the connection.
func (c *pgsqlConn) bytes(args []string) [][]byte {
	c.buf, c.values = c.buf[:0], c.values[:0]
	for _, s := range args {
		c.buf = append(c.buf, s...)
	}
	from := 0
	for _, s := range args {
		c.values = append(c.values, c.buf[from:from+len(s):from+len(s)])
		from += len(s)
	}
	return c.values
}

func (c *pgsqlConn) read(r *pgconn.ResultReader, a *answer) error {
	rows := 0
	for r.NextRow() {
		if rows++; rows == 1 {
			for _, v := range r.Values() {
				a.add(string(v), v == nil)
			}
			if a.columns == nil {
				for _, f := range r.FieldDescriptions() {
					a.columns = append(a.columns, f.Name)
				}
			}
		} else if rows > maxRows {
			c.close()
			a.rows = 2
			return errTooMany
		}
	}
	a.rows = min(rows, 2)
	_, err := r.Close()
	clear(c.buf)
	return err
}

func (c *pgsqlConn) close() {
	if c.c.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	_ = c.c.Close(ctx) // whatever it says, the socket is closed
}
