package sql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/passdb/sql/query"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// mysqlHosts are the servers of a mysql connect string.
type mysqlHosts []*mysqldriver.Config

// mysqlSockets are where the client library looks for a server on "localhost".
var mysqlSockets = [...]string{
	"/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock",
}

// clientFoundRows is the only bit of client_flags that a passdb could notice; the others ask for
// compression, several statements in one query and the like, which are not wanted here.
const clientFoundRows = 2

func newMySQL(hosts []conf.SQLHost) (mysqlHosts, error) {
	var out mysqlHosts
	for _, h := range hosts {
		c, err := mysqlConfig(h)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func mysqlConfig(h conf.SQLHost) (*mysqldriver.Config, error) {
	set := map[string]string{}
	if path := h.Params["option_file"]; path != "" {
		group := h.Params["option_group"]
		if group == "" {
			group = "client"
		}
		var err error
		if set, err = readOptionFile(path, group); err != nil {
			return nil, err
		}
	}
	for name, value := range h.Params {
		set[name] = value
	}
	if h.Name != "" {
		set["host"] = h.Name
	}
	c := mysqldriver.NewConfig()
	c.User, c.Passwd, c.DBName = set["user"], set["password"], set["dbname"]
	c.Logger = &mysqldriver.NopLogger{}
	c.MaxAllowedPacket = 16 << 20
	if flags, err := strconv.ParseUint(set["client_flags"], 10, 32); err == nil {
		c.ClientFoundRows = flags&clientFoundRows != 0
	}
	mysqlAddress(c, set)
	// Values are UTF-8 whatever the server's or init_connect's idea of a character set is.
	if err := c.Apply(mysqldriver.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	var err error
	c.TLS, err = mysqlTLS(set)
	return c, err
}

func mysqlAddress(c *mysqldriver.Config, set map[string]string) {
	host, port := set["host"], set["port"]
	if port == "" || port == "0" {
		port = "3306"
	}
	switch {
	case strings.HasPrefix(host, "/"):
		c.Net, c.Addr = "unix", host
		return
	case host == "" && set["socket"] != "":
		c.Net, c.Addr = "unix", set["socket"]
		return
	case host == "" || host == "localhost":
		for _, path := range append([]string{set["socket"]}, mysqlSockets[:]...) {
			if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
				c.Net, c.Addr = "unix", path
				return
			}
		}
		host = "localhost"
	}
	c.Net, c.Addr = "tcp", net.JoinHostPort(host, port)
}

func (h mysqlHosts) open(ctx context.Context, n int) (conn, error) {
	cfg := h[n].Clone()
	c := &mysqlConn{ctx: context.WithoutCancel(ctx), stmts: map[*query.Plan]driver.Stmt{}}
	var d net.Dialer
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.socket = nc
		checked, err := greeting(ctx, nc)
		if err != nil {
			_ = nc.Close()
			return nil, err
		}
		return checked, nil
	}
	connector, err := mysqldriver.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	if c.conn, err = connector.Connect(ctx); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("connect to %s: Timeout after %d seconds", cfg.Addr, connectTimeout/time.Second)
		}
		return nil, fmt.Errorf("Connect failed to database (%s) on %s: %w", cfg.DBName, cfg.Addr, mysqlText(err))
	}
	if err := c.learn(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// mysqlConn is one connection to MySQL or MariaDB.
type mysqlConn struct {
	ctx     context.Context
	conn    driver.Conn
	socket  net.Conn
	reading query.Dialect
	stmts   map[*query.Plan]driver.Stmt
	until   time.Time
	args    []driver.NamedValue
	row     []driver.Value
}

// learn asks how the server reads quotes and backslashes.
func (c *mysqlConn) learn() error {
	c.deadline(time.Now().Add(connectTimeout))
	var a answer
	if err := c.queryOnce(c.ctx, "SELECT @@SESSION.sql_mode, @@SESSION.character_set_client", nil, &a); err != nil {
		return err
	}
	if len(a.values) != 2 {
		return errors.New("the server does not tell its sql_mode")
	}
	c.reading = query.Dialect{Engine: query.MySQL, Backslash: true, UTF8: strings.HasPrefix(a.values[1], "utf8")}
	for mode := range strings.SplitSeq(a.values[0], ",") {
		switch mode {
		case "NO_BACKSLASH_ESCAPES":
			c.reading.Backslash = false
		case "ANSI_QUOTES":
			c.reading.ANSI = true
		}
	}
	return nil
}

func (c *mysqlConn) dialect() query.Dialect { return c.reading }

func (c *mysqlConn) deadline(t time.Time) {
	c.until = t
	// A connection that takes no deadline is broken, which the query will tell.
	_ = c.socket.SetDeadline(t)
}

// mysqlText gives the server's errors the text that the client library has for them.
func mysqlText(err error) error {
	var se *mysqldriver.MySQLError
	if errors.As(err, &se) {
		return errors.New(se.Message)
	}
	return err
}

func mysqlCode(err error) uint16 {
	var se *mysqldriver.MySQLError
	if errors.As(err, &se) {
		return se.Number
	}
	return 0
}

// fail sorts an error: what does not come from the server as an answer has broken the connection.
func (c *mysqlConn) fail(err error) error {
	if err == nil || errors.Is(err, errTooMany) || errors.Is(err, errRefused) {
		return err
	}
	switch mysqlCode(err) {
	case 0:
		if !c.until.IsZero() && !time.Now().Before(c.until) {
			return broken{errTimeout}
		}
		if errors.Is(err, driver.ErrBadConn) {
			err = errors.New("the connection was lost")
		}
		return broken{err}
	case 1053, 1927, 3169, 4031: // shutdown, killed, closed for being idle
		return broken{mysqlText(err)}
	}
	return mysqlText(err)
}

func (c *mysqlConn) query(ctx context.Context, p *query.Plan, args []string, a *answer) error {
	st := c.stmts[p]
	fresh := st == nil
	if fresh {
		var err error
		if st, err = c.prepare(ctx, p.Text); err != nil {
			return err
		}
		c.stmts[p] = st
	}
	err := c.execute(ctx, st, args, a)
	if n := mysqlCode(err); !fresh && (n == 1243 || n == 1615) { // unknown statement; needs to be prepared again
		delete(c.stmts, p)
		a.reset()
		return c.query(ctx, p, args, a)
	}
	return c.fail(err)
}

func (c *mysqlConn) prepare(ctx context.Context, text string) (driver.Stmt, error) {
	st, err := c.conn.(driver.ConnPrepareContext).PrepareContext(ctx, text)
	if err == nil {
		return st, nil
	}
	if err = c.fail(err); !errors.Is(err, errBroken) {
		err = refused{err}
	}
	return nil, err
}

func (c *mysqlConn) execute(ctx context.Context, st driver.Stmt, args []string, a *answer) error {
	c.args = c.args[:0]
	for i, s := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: s})
	}
	if n := st.NumInput(); n != len(args) {
		return refused{fmt.Errorf("the query has %d parameters and not %d: it must hold no question mark outside quotes", n, len(args))}
	}
	rows, err := st.(driver.StmtQueryContext).QueryContext(ctx, c.args)
	clear(c.args)
	if err != nil {
		return err
	}
	return c.read(rows, a)
}

func (c *mysqlConn) queryOnce(ctx context.Context, text string, args []string, a *answer) error {
	if len(args) > 0 {
		st, err := c.prepare(ctx, text)
		if err != nil {
			return err
		}
		if err := c.execute(ctx, st, args, a); err != nil {
			return c.fail(err)
		}
		return c.fail(st.Close())
	}
	rows, err := c.conn.(driver.QueryerContext).QueryContext(ctx, text, nil)
	if err == nil {
		err = c.read(rows, a)
	}
	return c.fail(err)
}

// read takes the first row that a query returns. A stored procedure may return several results;
// Dovecot takes the first and so do we.
func (c *mysqlConn) read(rows driver.Rows, a *answer) error {
	a.columns = rows.Columns()
	c.row = append(c.row[:0], make([]driver.Value, len(a.columns))...)
	for n := 0; ; n++ {
		err := rows.Next(c.row)
		if err == io.EOF {
			return rows.Close()
		}
		if err != nil {
			return err
		}
		switch {
		case n == 0:
			for _, v := range c.row {
				a.add(mysqlValue(v), v == nil)
			}
		case n >= maxRows:
			c.socket.Close()
			a.rows = 2
			return errTooMany
		}
		a.rows = min(n+1, 2)
	}
}

// mysqlValue prints a value as the server's text protocol does.
func mysqlValue(v driver.Value) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float32:
		return mysqlFloat(float64(v), 32)
	case float64:
		return mysqlFloat(v, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

func mysqlFloat(v float64, bits int) string {
	if abs := math.Abs(v); abs != 0 && (abs < 1e-15 || abs >= 1e15) {
		return strings.Replace(strconv.FormatFloat(v, 'e', -1, bits), "e+", "e", 1)
	}
	return strconv.FormatFloat(v, 'f', -1, bits)
}

func (c *mysqlConn) close() {
	_ = c.socket.SetDeadline(time.Now().Add(time.Second))
	_ = c.conn.Close() // whatever it says, the socket is closed
}
