package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

// store is a small mail host with one user and one message, in memory: IMAP by go-imap's server, POP3 by hand.
type store struct {
	name           string
	user, password string
	message        string
	imap, pop3     net.Listener
}

// startStore listens on two free ports of loopback and serves until the process ends.
func startStore(name, user, password string) (*store, error) {
	s := &store{name: name, user: user, password: password}
	s.message = strings.ReplaceAll(fmt.Sprintf(`From: Postmaster <postmaster@%s.example.org>
To: %s@example.org
Subject: Greetings from %s
Date: Tue, 24 Nov 2026 08:00:00 +0000

This message lives on %s. The client spoke to dproxy.
`, name, user, name, name), "\n", "\r\n")
	var err error
	if s.imap, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if s.pop3, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := s.serveIMAP(); err != nil {
		return nil, err
	}
	go s.servePOP3()
	return s, nil
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func (s *store) serveIMAP() error {
	u := imapmemserver.NewUser(s.user, s.password)
	if err := u.Create("INBOX", nil); err != nil {
		return err
	}
	if _, err := u.Append("INBOX", literal{strings.NewReader(s.message)}, &imap.AppendOptions{}); err != nil {
		return err
	}
	mem := imapmemserver.New()
	mem.AddUser(u)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapIMAP4rev2: {}},
		InsecureAuth: true,
	})
	go func() { _ = server.Serve(s.imap) }()
	return nil
}

// literal is a message for Append.
type literal struct{ *strings.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

func (s *store) servePOP3() {
	for {
		c, err := s.pop3.Accept()
		if err != nil {
			return
		}
		go s.pop3Session(c)
	}
}

// pop3Session knows the commands of a client that fetches mail (RFC 1939).
func (s *store) pop3Session(c net.Conn) {
	defer c.Close()
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("+OK %s ready.", s.name)
	user, in := "", bufio.NewScanner(io.LimitReader(c, 1<<20))
	loggedIn := false
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		switch verb = strings.ToUpper(verb); {
		case verb == "QUIT":
			say("+OK bye")
			return
		case verb == "USER":
			user = arg
			say("+OK")
		case verb == "PASS" && user == s.user && arg == s.password:
			loggedIn = true
			say("+OK Logged in on %s.", s.name)
		case verb == "PASS":
			say("-ERR [AUTH] no")
		case !loggedIn:
			say("-ERR log in first")
		case verb == "STAT":
			say("+OK 1 %d", len(s.message))
		case verb == "LIST" && arg == "":
			say("+OK\r\n1 %d\r\n.", len(s.message))
		case verb == "UIDL" && arg == "":
			say("+OK\r\n1 greeting-%s\r\n.", s.name)
		case verb == "RETR" && arg == "1":
			say("+OK\r\n%s.", s.message)
		case verb == "NOOP":
			say("+OK")
		default:
			say("-ERR not known here")
		}
	}
}
