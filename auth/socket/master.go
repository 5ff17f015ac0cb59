package socket

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"dproxy/auth"
	"dproxy/event"
	"dproxy/passdb"
	"dproxy/wire"
)

const maxMasterLine = 1024

// master is a connection on auth-master or auth-userdb: lookups without a password. Its requests are
// answered one after the other.
type master struct {
	*conn
	kind    Kind
	allowed bool // to look users up
	r       *wire.Reader
}

func (m *master) run() {
	m.r = wire.NewReader(m.nc)
	m.send("VERSION\t1\t1\nSPID\t" + strconv.Itoa(os.Getpid()) + "\n")
	err := m.greet()
	for err == nil {
		err = m.next()
	}
	var fault protocolError
	if errors.As(err, &fault) {
		m.s.report(event.Error, "auth-master client: "+string(fault))
	}
}

func (m *master) line() (string, error) {
	b, err := m.r.Line(maxMasterLine + 1)
	if errors.Is(err, wire.ErrTooLong) {
		return "", protocolError("BUG: Master sent us more than " + strconv.Itoa(maxMasterLine) + " bytes")
	}
	return string(b), err
}

func (m *master) greet() error {
	_ = m.nc.SetReadDeadline(time.Now().Add(answerLimit))
	line, err := m.line()
	if err != nil {
		return err
	}
	f := strings.Split(line, "\t")
	if len(f) < 3 || f[0] != "VERSION" || f[1] != "1" {
		return protocolError("Master not compatible with this server (mixed old and new binaries?)")
	}
	return m.nc.SetReadDeadline(time.Time{})
}

// masterCommands tell which protocol has which command.
var masterCommands = map[string]struct {
	run  func(m *master, id string, fields []string) error
	only Kind // None: in both
}{
	"PASS":        {run: (*master).pass},
	"USER":        {run: (*master).user},
	"LIST":        {run: (*master).list},
	"CACHE-FLUSH": {run: (*master).flush, only: Master},
	"REQUEST":     {run: (*master).request, only: Master},
}

func (m *master) next() error {
	line, err := m.line()
	if err != nil {
		return err
	}
	m.debug("master in: " + line)
	f := strings.Split(line, "\t")
	command, ok := masterCommands[f[0]]
	if !ok || command.only != None && command.only != m.kind {
		return protocolError("BUG: Unknown command in " + map[Kind]string{Master: "master", Userdb: "userdb"}[m.kind] + " socket: " + event.Clean(line, 80))
	}
	if len(f) < 2 {
		return protocolError("BUG: Master sent broken " + f[0])
	}
	if _, err := strconv.ParseUint(f[1], 10, 32); err != nil {
		return protocolError("BUG: Master sent broken " + f[0])
	}
	m.begin()
	defer m.done()
	return command.run(m, f[1], f[2:])
}

// pass looks a user up in the passdbs.
func (m *master) pass(id string, fields []string) error {
	if len(fields) == 0 {
		return protocolError("BUG: Master sent broken PASS")
	}
	var p passdb.Peer
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(wire.TabUnescape(f), "=")
		setPeer(&p, name, value)
	}
	if p.Service == "" {
		return protocolError("BUG: Master sent PASS request without service")
	}
	complete(&p)
	if !m.allowed {
		m.s.report(event.Error, "auth-master client: a PASS lookup was refused: the socket is open to everybody (mode 0666) and the client is neither its owner nor root; give the socket another mode")
		m.send("FAIL\t" + id + "\n")
		return nil
	}
	v := m.auth.Lookup(m.ctx, p, wire.TabUnescape(fields[0]))
	r := &reply{}
	switch {
	case v.OK:
		r.WriteString("PASS\t" + id)
		r.add("user", v.User)
		r.fields(&v)
	case v.Code == auth.CodeTempFail:
		r.WriteString("FAIL\t" + id)
		if v.Reason != "" {
			r.add("reason", v.Reason)
		}
	default:
		r.WriteString("NOTFOUND\t" + id)
	}
	m.send(r.line())
	return nil
}

// user is a userdb lookup. A proxy keeps no mail and has no userdb; it must not say that a user does not exist.
func (m *master) user(id string, _ []string) error {
	m.s.report(event.Error, "auth-master client: a userdb lookup was refused: dproxy reads no userdb; ask the backend's Dovecot")
	m.send("FAIL\t" + id + "\n")
	return nil
}

func (m *master) list(id string, _ []string) error {
	m.s.report(event.Error, "auth-master client: Trying to iterate users, but userdbs don't support it")
	m.send("DONE\t" + id + "\tfail\n")
	return nil
}

// flush forgets what is cached about users, or everything.
func (m *master) flush(id string, fields []string) error {
	var users []string
	for _, f := range fields {
		if f != "" {
			users = append(users, wire.TabUnescape(f))
		}
	}
	m.send("OK\t" + id + "\t" + strconv.Itoa(m.auth.FlushCache(users...)) + "\n")
	return nil
}

// request ends a login of a Dovecot login process; those have no business here.
func (m *master) request(id string, _ []string) error {
	m.send("FAIL\t" + id + "\n")
	return nil
}
