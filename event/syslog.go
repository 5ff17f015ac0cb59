package event

import (
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// syslogWait bounds one line; a daemon that has stopped reading costs lines, not time.
	syslogWait = time.Second
	// syslogPause is the pause between attempts to reach a daemon that went away.
	syslogPause = time.Second
)

var errNoSyslog = errors.New("no syslog")

// syslogger sends lines to the local syslog daemon (RFC 3164, as syslog(3) does) and finds it again when
// it was restarted.
type syslogger struct {
	facility int
	instance string
	paths    []string
	conn     net.Conn
	stream   bool
	tried    time.Time
}

// newSyslogger returns nil when this host has no syslog.
func newSyslogger(o LogOptions) *syslogger {
	s := &syslogger{facility: facilityOf(o.Facility), instance: orElse(o.Instance, "dovecot"), paths: []string{"/dev/log", "/var/run/syslog", "/var/run/log"}}
	if o.socket != "" {
		s.paths = []string{o.socket}
	}
	if s.dial() != nil {
		return nil
	}
	return s
}

func (s *syslogger) dial() error {
	for _, network := range []string{"unixgram", "unix"} {
		for _, path := range s.paths {
			if c, err := net.DialTimeout(network, path, syslogWait); err == nil {
				s.conn, s.stream = c, network == "unix"
				return nil
			}
		}
	}
	return errNoSyslog
}

// write sends one line; the error means that it is lost.
func (s *syslogger) write(e entry, text string) error {
	fresh := false
	if s.conn == nil {
		if time.Since(s.tried) < syslogPause {
			return errNoSyslog
		}
		s.tried = time.Now()
		if err := s.dial(); err != nil {
			return err
		}
		fresh = true
	}
	line := fmt.Sprintf("<%d>%s %s: %s", s.facility|severity(e.Level), e.at.Format(time.Stamp), s.instance, text)
	if s.stream {
		line += "\n"
	}
	err := s.send(line)
	if err == nil {
		return nil
	}
	_ = s.Close()
	var ne net.Error
	if fresh || errors.As(err, &ne) && ne.Timeout() || s.dial() != nil {
		s.tried = time.Now()
		return err
	}
	return s.send(line)
}

func (s *syslogger) send(line string) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogWait)); err != nil {
		return err
	}
	_, err := s.conn.Write([]byte(line))
	return err
}

// Close implements io.Closer.
func (s *syslogger) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

func severity(l Level) int {
	return [...]int{Debug: 7, Info: 6, Warning: 4, Error: 3, Fatal: 2}[l]
}

// facilities are the numbers of RFC 3164.
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

func facilityOf(name string) int {
	if n, ok := facilities[name]; ok {
		return n << 3
	}
	return facilities["mail"] << 3
}
