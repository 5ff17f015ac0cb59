package sql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
	"unsafe"

	"dproxy/passdb/sql/query"

	"golang.org/x/sys/unix"
	"modernc.org/libc"
	_ "modernc.org/sqlite" // prepares the library below for use
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteBusy is how long a query waits for a writer's lock (Dovecot 2.3: 1 s), in milliseconds.
const sqliteBusy = 1000

// sqliteFile is a database file. It is opened for reading only: a passdb never writes, and a missing
// file must not come into being. The C interface is used instead of database/sql because that turns
// texts in columns declared as dates into times; a passdb hands on what stands there.
type sqliteFile struct{ path string }

// sqliteConn is one connection to a file.
type sqliteConn struct {
	path string
	file fileID
	tls  *libc.TLS
	db   uintptr
	// still tells that the file was opened as one that does not change, because its directory allows
	// no wal-index; the connection ends when the file has changed.
	still bool
	stmts map[*query.Plan]*sqliteStmt

	mu     sync.Mutex // guards closed against the timer
	closed bool
	timer  *time.Timer
	until  time.Time
}

type sqliteStmt struct {
	ptr     uintptr
	columns []string
}

// fileID tells one version of a file from another.
type fileID struct {
	device, inode uint64
	size          int64
	changed       unix.Timespec
}

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, err
	}
	return fileID{uint64(st.Dev), st.Ino, st.Size, st.Mtim}, nil
}

// same tells whether a file is still the one it was: another one may have been moved over it.
func (f fileID) same(g fileID, still bool) bool {
	return f.device == g.device && f.inode == g.inode && (!still || f == g)
}

// sqliteError is an error of the library.
type sqliteError struct {
	code int32
	text string
}

func (e *sqliteError) Error() string { return e.text }

func (f sqliteFile) open(ctx context.Context, _ int) (conn, error) {
	c, err := openSQLite(f.path, false)
	if err == nil {
		err = c.probe(ctx)
	}
	var se *sqliteError
	if c != nil && errors.As(err, &se) && (se.code&0xff == sqlite3.SQLITE_CANTOPEN || se.code&0xff == sqlite3.SQLITE_READONLY) {
		if _, gone := identify(f.path + "-wal"); gone != nil {
			c.close()
			if c, err = openSQLite(f.path, true); err == nil {
				err = c.probe(ctx)
			}
		}
	}
	if err != nil {
		if c != nil {
			c.close()
		}
		return nil, fmt.Errorf("open(%s) failed: %w", f.path, err)
	}
	return c, nil
}

func openSQLite(path string, still bool) (*sqliteConn, error) {
	id, err := identify(path)
	if err != nil {
		return nil, err
	}
	c := &sqliteConn{path: path, file: id, tls: libc.NewTLS(), still: still, stmts: map[*query.Plan]*sqliteStmt{}}
	flags := int32(sqlite3.SQLITE_OPEN_READONLY | sqlite3.SQLITE_OPEN_NOMUTEX)
	name := path
	if still {
		flags |= sqlite3.SQLITE_OPEN_URI
		name = "file:" + escapeURI(path) + "?immutable=1"
	}
	cname, err := libc.CString(name)
	if err != nil {
		return c, err
	}
	defer libc.Xfree(c.tls, cname)
	out := c.tls.Alloc(int(unsafe.Sizeof(uintptr(0))))
	defer c.tls.Free(int(unsafe.Sizeof(uintptr(0))))
	rc := sqlite3.Xsqlite3_open_v2(c.tls, cname, out, flags, 0)
	c.db = pointerAt(out)
	if rc != sqlite3.SQLITE_OK {
		return c, c.fail(rc)
	}
	sqlite3.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	sqlite3.Xsqlite3_busy_timeout(c.tls, c.db, sqliteBusy)
	return c, nil
}

// probe reads the file's header: opening alone does not.
func (c *sqliteConn) probe(ctx context.Context) error {
	var a answer
	return c.queryOnce(ctx, "PRAGMA schema_version", nil, &a)
}

func escapeURI(path string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(path) {
		switch c := path[i]; c {
		case '%', '?', '#':
			b = append(b, '%', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// address makes a pointer of an address on the C side, which the garbage collector does not move.
func address(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// pointerAt reads a pointer from memory of the C side.
func pointerAt(p uintptr) uintptr { return *(*uintptr)(address(p)) }

func (c *sqliteConn) fail(rc int32) error {
	if rc&0xff == sqlite3.SQLITE_INTERRUPT {
		return errTimeout
	}
	text := libc.GoString(sqlite3.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 {
		text = libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db))
	}
	return &sqliteError{rc, text}
}

func (c *sqliteConn) dialect() query.Dialect { return query.Dialect{Engine: query.SQLite, UTF8: true} }

// deadline ends queries that still run at t.
func (c *sqliteConn) deadline(t time.Time) { c.until = t }

// started arms the timer for one query; the function it returns disarms it.
func (c *sqliteConn) started() func() {
	if c.until.IsZero() {
		return func() {}
	}
	d := time.Until(c.until)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.interrupt)
	} else {
		c.timer.Reset(d)
	}
	return func() { c.timer.Stop() }
}

func (c *sqliteConn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		tls := libc.NewTLS() // c.tls is the querying goroutine's
		defer tls.Close()
		sqlite3.Xsqlite3_interrupt(tls, c.db)
	}
}

func (c *sqliteConn) query(_ context.Context, p *query.Plan, args []string, a *answer) error {
	id, err := identify(c.path)
	if err != nil || !c.file.same(id, c.still) {
		return broken{errors.New("the database file was replaced")}
	}
	st := c.stmts[p]
	if st == nil {
		if st, err = c.prepare(p.Text); err != nil {
			return refused{err}
		}
		c.stmts[p] = st
	}
	return c.run(st, args, a)
}

func (c *sqliteConn) queryOnce(_ context.Context, text string, args []string, a *answer) error {
	st, err := c.prepare(text)
	if err != nil {
		return refused{err}
	}
	defer sqlite3.Xsqlite3_finalize(c.tls, st.ptr)
	return c.run(st, args, a)
}

func (c *sqliteConn) prepare(text string) (*sqliteStmt, error) {
	ctext, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, ctext)
	out := c.tls.Alloc(int(unsafe.Sizeof(uintptr(0))))
	defer c.tls.Free(int(unsafe.Sizeof(uintptr(0))))
	if rc := sqlite3.Xsqlite3_prepare_v2(c.tls, c.db, ctext, -1, out, 0); rc != sqlite3.SQLITE_OK {
		return nil, c.fail(rc)
	}
	st := &sqliteStmt{ptr: pointerAt(out)}
	if st.ptr == 0 {
		return nil, errors.New("the query is empty")
	}
	c.name(st)
	return st, nil
}

// name reads the column names. They can change when the schema does.
func (c *sqliteConn) name(st *sqliteStmt) {
	n := int(sqlite3.Xsqlite3_column_count(c.tls, st.ptr))
	st.columns = make([]string, n)
	for i := range st.columns {
		st.columns[i] = libc.GoString(sqlite3.Xsqlite3_column_name(c.tls, st.ptr, int32(i)))
	}
}

func (c *sqliteConn) run(st *sqliteStmt, args []string, a *answer) error {
	defer c.started()()
	// The values live in one piece of C memory until the query has ended.
	total := 0
	for _, s := range args {
		total += len(s) + 1
	}
	if total > math.MaxInt32/2 {
		return errors.New("the values are too long")
	}
	mem := c.tls.Alloc(max(total, 1))
	defer c.tls.Free(max(total, 1))
	defer sqlite3.Xsqlite3_clear_bindings(c.tls, st.ptr)
	defer sqlite3.Xsqlite3_reset(c.tls, st.ptr)
	p := mem
	for i, s := range args {
		copy(unsafe.Slice((*byte)(address(p)), len(s)+1), s)
		if rc := sqlite3.Xsqlite3_bind_text(c.tls, st.ptr, int32(i+1), p, int32(len(s)), 0); rc != sqlite3.SQLITE_OK {
			return c.fail(rc)
		}
		p += uintptr(len(s) + 1)
	}
	return c.rows(st, a)
}

func (c *sqliteConn) rows(st *sqliteStmt, a *answer) error {
	for {
		switch rc := sqlite3.Xsqlite3_step(c.tls, st.ptr); rc & 0xff {
		case sqlite3.SQLITE_DONE:
			return nil
		case sqlite3.SQLITE_ROW:
			if a.rows++; a.rows > 1 {
				return nil
			}
		default:
			return c.fail(rc)
		}
		n := int(sqlite3.Xsqlite3_column_count(c.tls, st.ptr))
		if n != len(st.columns) {
			c.name(st)
		}
		a.columns = st.columns
		for i := range n {
			text := sqlite3.Xsqlite3_column_text(c.tls, st.ptr, int32(i))
			if text == 0 {
				a.add("", true)
				continue
			}
			size := sqlite3.Xsqlite3_column_bytes(c.tls, st.ptr, int32(i))
			a.add(string(unsafe.Slice((*byte)(address(text)), size)), false)
		}
	}
}

func (c *sqliteConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, st := range c.stmts {
		sqlite3.Xsqlite3_finalize(c.tls, st.ptr)
	}
	if c.db != 0 {
		sqlite3.Xsqlite3_close_v2(c.tls, c.db)
	}
	c.tls.Close()
}
