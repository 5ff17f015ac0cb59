package login_test

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dproxy/backend"
	imaphandshake "dproxy/backend/imap"
	"dproxy/event"
	"dproxy/listen"
	"dproxy/login"
	"dproxy/login/imap"
	"dproxy/passdb"
	"dproxy/route"
	"dproxy/session"
	"dproxy/test/loginrig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	welcome = "a OK [CAPABILITY IMAP4rev1 XDONE] Logged in"
	soon    = 20 * time.Millisecond // a limit that is waited for
)

func protocol() login.Protocol {
	return login.Protocol{Name: "imap", Ports: route.Ports{Plain: 143, TLS: 993}, ALPN: []string{"imap"}, Handshake: imaphandshake.Handshake{}, NewFront: imap.New}
}

func options(conf string) loginrig.Options {
	return loginrig.Options{
		Protocol: protocol(), Conf: conf, Backend: loginrig.IMAP,
		Users: map[string]loginrig.User{"u": {Password: "p"}},
	}
}

func tune(t login.Times) func(*login.Server) { return func(s *login.Server) { s.SetTimes(t) } }

func TestBounds(t *testing.T) {
	t.Run("the oldest makes room", func(t *testing.T) {
		o := options("")
		o.Limits = session.Limits{PreLogin: 2}
		r := loginrig.Start(t, o)
		in, first, second := r.Dial(""), r.Dial(""), (*loginrig.Peer)(nil)
		in.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
		first.Line()
		second = r.Dial("")
		second.Line()
		third := r.Dial("")
		third.Expect("* OK <*>")
		first.Play("S: * BYE Connection queue full\nEOF")
		second.Play("C: a NOOP\nS: a OK NOOP completed.")
		in.Play("C: x\nS: got: x")
		r.Log.Wait("Disconnected: Connection queue full (no auth attempts in 0 secs)")
	})
	t.Run("one source", func(t *testing.T) {
		o := options("login_trusted_networks = 127.0.0.3")
		o.Limits = session.Limits{PerSource: 1}
		r := loginrig.Start(t, o)
		a, b, c := r.Dial("127.0.0.1"), r.Dial("127.0.0.2"), r.Dial("127.0.0.3")
		a.Line()
		b.Line()
		c.Line()
		r.Dial("127.0.0.1").EOF()
		r.Dial("127.0.0.3").Expect("* OK <*>") // stands for many
		r.Log.Wait("Disconnected: Too many connections from this address: user=<>, rip=127.0.0.1")
	})
	t.Run("one source behind a balancer", func(t *testing.T) {
		o := options("haproxy_trusted_networks = 127.0.0.0/8")
		o.Spec, o.Limits = listen.Spec{HAProxy: true}, session.Limits{PerSource: 1}
		r := loginrig.Start(t, o)
		for i, want := range []string{"* OK <*>", "* OK <*>", "<EOF>"} {
			p := r.Dial("")
			p.Send(fmt.Sprintf("PROXY TCP4 192.0.2.%d 198.51.100.1 40001 143\r\n", min(i, 1)))
			p.Expect(want)
		}
	})
	t.Run("all input", func(t *testing.T) {
		r := loginrig.Start(t, options(""))
		p := r.Dial("")
		p.Line()
		p.Send(strings.Repeat("a NOOP "+strings.Repeat("x ", 500)+"\r\n", 70))
		if rest := p.Rest(); strings.Count(rest, "a OK NOOP") > 66 {
			t.Errorf("%d commands of 1 KiB were taken", strings.Count(rest, "a OK"))
		}
		r.Log.Wait("Disconnected: Too much input before login (no auth attempts in 0 secs)")
	})
}

func TestTimeLimits(t *testing.T) {
	t.Run("nothing extends the login time", func(t *testing.T) {
		o := options("")
		o.Tune = tune(login.Times{Login: 10 * soon})
		r := loginrig.Start(t, o)
		p := r.Dial("")
		p.Line()
		for {
			_, _ = p.Write([]byte("a NOOP\r\n")) // fails at the end
			if line := p.Line(); line != "a OK NOOP completed." {
				if line != "* BYE Disconnected for inactivity." {
					t.Errorf("got %q", line)
				}
				break
			}
			runtime.Gosched()
		}
		r.Log.Wait("Disconnected: Inactivity (no auth attempts in 0 secs)")
	})
	t.Run("within SASL", func(t *testing.T) {
		o := options("")
		o.Tune = tune(login.Times{Login: 20 * soon})
		r := loginrig.Start(t, o)
		r.Dial("").Play("S: <*>\nC: a AUTHENTICATE PLAIN\nS: + \nS: * BYE Disconnected for inactivity during authentication.\nEOF")
		r.Log.Wait("Disconnected: Inactivity during authentication (client didn't finish SASL auth, waited 0 secs)")
	})
	t.Run("one SASL exchange", func(t *testing.T) {
		o := options("")
		o.Tune = tune(login.Times{Exchange: soon})
		r := loginrig.Start(t, o)
		r.Dial("").Play("S: <*>\nC: a AUTHENTICATE PLAIN\nS: + \nS: a NO [UNAVAILABLE] Temporary authentication failure. [host:<*>]\nC: b NOOP\nS: b OK NOOP completed.")
	})
	t.Run("a passdb that hangs", func(t *testing.T) {
		o := options("")
		o.Users["u"] = loginrig.User{Password: "p", Wait: make(chan struct{})}
		o.Tune = tune(login.Times{Exchange: 10 * soon, Look: soon / 4, Word: soon})
		r := loginrig.Start(t, o)
		r.Dial("").Play("S: <*>\nC: a LOGIN u p\nS: * OK Waiting for authentication process to respond..\nS: a NO [UNAVAILABLE] Temporary authentication failure. [host:<*>]")
	})
	t.Run("while the backend is silent", func(t *testing.T) {
		o := options("")
		o.Backend = func(p *loginrig.Peer) { p.Line() }
		o.Tune = tune(login.Times{Login: 5 * soon})
		r := loginrig.Start(t, o)
		r.Dial("").Play("S: <*>\nC: a LOGIN u p\nS: * BYE Timeout while finishing login.\nEOF")
		r.Log.Wait("(disconnected while finishing login, waited 0 secs)")
	})
}

// A client that goes at any point leaves nothing behind: the rig's end waits for that.
func TestClientGoes(t *testing.T) {
	vanish := map[string]func(*loginrig.Peer){
		"closes": func(p *loginrig.Peer) { _ = p.Close() },
		"resets": func(p *loginrig.Peer) { _ = p.TCP.SetLinger(0); _ = p.Close() },
	}
	for how, leave := range vanish {
		for name, c := range map[string]struct {
			script, line string
		}{
			"before the greeting is read":    {"", "Disconnected: Connection closed"},
			"within a command":               {"S: <*>\nQ: \"a LOGIN u\"", "Disconnected: Connection closed"},
			"within a literal":               {"S: <*>\nQ: \"a LOGIN {100}\\r\\n\"\nS: + OK\nQ: \"u\"", "Disconnected: Connection closed"},
			"within SASL":                    {"S: <*>\nC: a AUTHENTICATE PLAIN\nS: + ", "(client didn't finish SASL auth"},
			"while the passdb is asked":      {"S: <*>\nC: a LOGIN slow p\nC: b NOOP", "Disconnected: Connection closed"},
			"while the backend is logged in": {"S: <*>\nC: a LOGIN silent p", "(disconnected while finishing login, waited 0 secs): user=<silent>"},
			"after login":                    {"S: <*>\nC: a LOGIN u p\nS: " + welcome, "Disconnected by client"},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				o := options("")
				silent := make(chan struct{})
				o.Backend = func(p *loginrig.Peer) {
					p.Send("* OK [CAPABILITY IMAP4rev1] b\r\n")
					if line := p.Line(); !strings.Contains(line, "silent") {
						p.Send("L OK [CAPABILITY IMAP4rev1 XDONE] Logged in\r\n")
						loginrig.Echo(p)
						return
					}
					close(silent)
					p.EOF() // the proxy gives the backend up when the client has gone
				}
				o.Users["silent"] = loginrig.User{Password: "p"}
				gate := make(chan struct{})
				o.Users["slow"] = loginrig.User{Password: "p", Wait: gate}
				o.Tune = tune(login.Times{Look: soon})
				r := loginrig.Start(t, o)
				p := r.Dial("")
				p.Play(c.script)
				if strings.Contains(c.script, "silent") {
					<-silent
				}
				leave(p)
				if strings.Contains(c.script, "slow") && how == "closes" {
					// Commands wait to be read: the client may want their answers, so the login goes on.
					close(gate)
				}
				if c.line != "" {
					r.Log.Wait("Disconnected")
					if how == "closes" && c.script != "" && !strings.Contains(c.script, "slow") {
						r.Log.Wait(c.line)
					}
				}
			})
		}
	}
}

func TestHalfClosedClientIsServed(t *testing.T) {
	gate := make(chan struct{})
	o := options("")
	o.Users["u"] = loginrig.User{Password: "p", Wait: gate}
	o.Tune = tune(login.Times{Look: soon / 10})
	r := loginrig.Start(t, o)
	p := r.Dial("")
	p.Play("S: <*>\nQ: \"a LOGIN u p\\r\\nbye\\r\\n\"")
	if err := p.TCP.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(soon, func() { close(gate) })
	p.Play("S: " + welcome + "\nS: got: bye\nEOF")
}

func TestBackendGoes(t *testing.T) {
	for name, serve := range map[string]func(*loginrig.Peer){
		"at once":          func(p *loginrig.Peer) {},
		"within a line":    func(p *loginrig.Peer) { p.Send("* OK [CAPA") },
		"after the banner": func(p *loginrig.Peer) { p.Send("* OK b\r\n") },
		"with a reset":     func(p *loginrig.Peer) { p.Send("* OK b\r\n"); p.Line(); _ = p.TCP.SetLinger(0) },
		"never ending":     func(p *loginrig.Peer) { p.Send("* OK b\r\n" + strings.Repeat("* x\r\n", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options("")
			o.Backend = serve
			r := loginrig.Start(t, o)
			p := r.Dial("")
			p.Play("S: <*>\nC: a LOGIN u p")
			for {
				line := p.Line()
				if strings.HasPrefix(line, "* x") {
					continue
				}
				if line != "a NO [UNAVAILABLE] Account is temporarily unavailable." {
					t.Errorf("got %q", line)
				}
				break
			}
			p.Play("C: b LOGOUT\nS: * BYE Logging out\nS: b OK <*>\nEOF")
			r.Log.Wait("Aborted login by logging out (internal failure, 1 successful auths): user=<u>, method=PLAIN")
		})
	}
	t.Run("is not there", func(t *testing.T) {
		r := loginrig.Start(t, options(""))
		r.CloseBackend()
		r.Dial("").Play("S: <*>\nC: a LOGIN u p\nS: a NO [UNAVAILABLE] Account is temporarily unavailable.")
		r.Log.Wait("connect(127.0.0.1, ")
	})
}

func TestStop(t *testing.T) {
	r := loginrig.Start(t, options(""))
	before, sasl, in := r.Dial(""), r.Dial(""), r.Dial("")
	before.Line()
	sasl.Play("S: <*>\nC: a AUTHENTICATE PLAIN\nS: + ")
	in.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
	r.Log.Wait("Started proxying")
	r.Registry.Stop(false)
	before.Play("S: * BYE Shutting down\nEOF")
	sasl.Play("S: * BYE Shutting down\nEOF")
	in.Play("C: still\nS: got: still")
	r.Registry.Stop(true)
	in.EOF()
	r.Log.Wait("Disconnected: Shutting down (no auth attempts in 0 secs)")
	r.Log.Wait("Disconnected by proxy: Process shutting down: user=<u>")
	r.Dial("").EOF()
}

func TestStopDuringLogin(t *testing.T) {
	o := options("")
	reached := make(chan struct{})
	o.Backend = func(p *loginrig.Peer) { close(reached); p.Line() }
	r := loginrig.Start(t, o)
	p := r.Dial("")
	p.Play("S: <*>\nC: a LOGIN u p")
	<-reached
	r.Registry.Stop(true)
	p.Play("S: * BYE Shutting down\nEOF")
}

func TestReload(t *testing.T) {
	r := loginrig.Start(t, options("login_greeting = one"))
	old := r.Snapshot
	p := r.Dial("")
	p.Expect("* OK [<*>] one")
	in := r.Dial("")
	in.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
	r.Server.Use(r.NewSnapshot("login_greeting = two"))
	r.Dial("").Expect("* OK [<*>] two")
	if n := old.Refs(); n != 1 {
		t.Errorf("%d hold the old snapshot, want the one that has not logged in", n)
	}
	p.Play("C: a LOGIN u p\nS: " + welcome)
	r.Log.Wait("Started proxying")
	in.Play("C: x\nS: got: x")
	p.Play("C: y\nS: got: y")
	if n := old.Refs(); n != 0 {
		t.Errorf("%d hold the old snapshot after the last login", n)
	}
}

func TestSnapshotErrors(t *testing.T) {
	r := loginrig.Start(t, options(""))
	if _, err := r.TrySnapshot("ssl = yes\nssl_cert = no PEM\nssl_key = no PEM"); err == nil || !strings.Contains(err.Error(), "protocol imap: Failed to initialize SSL server context: Can't load SSL certificate (ssl_cert setting)") {
		t.Errorf("a broken certificate: %v", err)
	}
	if _, err := r.TrySnapshot("login_log_format_elements = %{nosuch}\nlogin_trusted_networks = 192.0.2.0/33"); err != nil {
		t.Errorf("what Dovecot only logs: %v", err)
	}
	r.Log.Wait("imap-login: Error: Failed to expand log_format_elements=%{nosuch}: Unknown variable")
	r.Log.Wait("imap-login: Error: login_trusted_networks: Invalid network '192.0.2.0/33'")
}

func TestBrokenAuth(t *testing.T) {
	o := options("")
	o.AuthErr = errors.New("No passdbs specified")
	r := loginrig.Start(t, o)
	r.Dial("").Play("S: * BYE Auth process broken\nEOF")
	r.Log.Wait("imap-login: Info: Disconnected: Auth process broken (disconnected before auth was ready, waited 0 secs): user=<>, rip=127.0.0.1, lip=127.0.0.1, secured, session=<")
}

// faulty panics where it is told to.
type faulty struct {
	login.Front
	where string
}

func (f faulty) Credentials() (login.Credentials, error) {
	if f.where == "reading" {
		panic("password: secret")
	}
	return f.Front.Credentials()
}

func (f faulty) Welcome(w backend.Welcome) error {
	if f.where == "welcome" {
		panic("x")
	}
	return f.Front.Welcome(w)
}

func TestPanicEndsOneClient(t *testing.T) {
	for _, where := range []string{"reading", "welcome"} {
		t.Run(where, func(t *testing.T) {
			o := options("")
			o.Protocol.NewFront = func(c *login.Client) login.Front {
				f := faulty{Front: imap.New(c)}
				if c.Peer().Remote.Addr().String() == "127.0.0.2" {
					f.where = where
				}
				return f
			}
			o.Conf = "disable_plaintext_auth = no"
			r := loginrig.Start(t, o)
			other := r.Dial("")
			other.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
			bad := r.Dial("127.0.0.2")
			bad.Expect("* OK <*>")
			_, _ = bad.Write([]byte("a LOGIN u p\r\n"))
			if rest := bad.Rest(); rest != "" {
				t.Errorf("got %q", rest)
			}
			line := r.Log.Wait("imap-login: Error: Panic: the connection was closed: ")
			if strings.Contains(line, "secret") {
				t.Error("the line tells what was panicked with")
			}
			if n := r.Server.Panics(); n != 1 {
				t.Errorf("%d panics counted", n)
			}
			other.Play("C: x\nS: got: x")
		})
	}
}

func TestAnswersLeaveInOneWrite(t *testing.T) {
	r := loginrig.Start(t, options(""))
	p := r.Dial("")
	p.Line()
	p.Send("a CAPABILITY\r\nb ID NIL\r\nc NOOP\r\nd FOO\r\n")
	b := make([]byte, 4096)
	n, err := p.Read(b)
	if err != nil || !strings.HasSuffix(string(b[:n]), "d BAD Error in IMAP command received by server.\r\n") {
		t.Errorf("the first read gave %q, %v", b[:n], err)
	}
}

func TestEventsOfALogin(t *testing.T) {
	r := loginrig.Start(t, options("remote 127.0.0.1 {\n  login_greeting = x\n}"))
	p := r.Dial("")
	from := p.LocalAddr().(*net.TCPAddr).AddrPort()
	p.Play("S: <*>\nC: a LOGIN u p\nS: " + welcome + "\nC: bye\nS: got: bye\nEOF")
	_ = p.Close()
	r.Log.Wait("Disconnected by")
	chosen, ok := loginrig.Find[event.FilterChosen](r.Log, nil)
	if !ok || len(chosen.Blocks) == 0 || !strings.Contains(chosen.Blocks[0], "127.0.0.1") {
		t.Errorf("FilterChosen: %+v", chosen)
	}
	started, _ := loginrig.Find[event.Started](r.Log, nil)
	ended, _ := loginrig.Find[event.Ended](r.Log, nil)
	if s, e := started.Client, ended.Client; s.Session == "" || s.Session != e.Session || s.User != "u" || s.Mech != "PLAIN" || s.Remote != from {
		t.Errorf("Started %+v, Ended %+v", s, e)
	}
	// Everything the client and the backend have got is counted, greeting and login included.
	out := len("* OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN] x\r\n"+welcome+"\r\n") + len("got: bye\r\n")
	if ended.Out != uint64(out) {
		t.Errorf("out=%d, want %d", ended.Out, out)
	}
	if ended.In <= uint64(len("L LOGIN \"u\" \"p\"\r\nbye\r\n")) {
		t.Errorf("in=%d leaves the ID command out", ended.In)
	}
}

func TestSASLAborts(t *testing.T) {
	r := loginrig.Start(t, options("login_trusted_networks = 127.0.0.1"))
	for range 20 {
		p := r.Dial("")
		p.Line()
		for range 20 {
			p.Play("C: a AUTHENTICATE PLAIN\nS: + \nC: *\nS: a BAD Authentication aborted by client.")
		}
		_ = p.Close()
	}
	r.Dial("").Play("S: <*>\nC: a LOGIN u p\nS: " + welcome)
}

func TestRouteErrors(t *testing.T) {
	for name, c := range map[string]struct {
		fields       []passdb.Field
		answer, line string
	}{
		"DNS": {
			[]passdb.Field{{Name: "proxy"}, {Name: "host", Value: "no-such-host.invalid"}},
			"a NO [UNAVAILABLE] Temporary authentication failure. [host:<*>]", "(auth service reported temporary failure)",
		},
		"an address that is none": {
			[]passdb.Field{{Name: "proxy"}, {Name: "host", Value: "a.example"}, {Name: "hostip", Value: "zzz"}}, "a NO [AUTHENTICATIONFAILED] Authentication failed.", "(auth failed, 1 attempts in",
		},
		"this host itself": {
			[]passdb.Field{{Name: "proxy_maybe"}, {Name: "host", Value: "127.0.0.1"}}, "a NO [UNAVAILABLE] Account is temporarily unavailable.", "dproxy keeps no mail itself",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options("")
			o.Users["u"] = loginrig.User{Password: "p", Fields: c.fields}
			r := loginrig.Start(t, o)
			p := r.Dial("")
			p.Play("S: <*>\nC: a LOGIN u p\nS: " + c.answer)
			_ = p.Close()
			r.Log.Wait(c.line)
		})
	}
}

func TestProtocolWithoutAnonymousUsers(t *testing.T) {
	for name, c := range map[string]struct {
		no     bool
		script string
	}{
		"takes them": {false, "S: * OK [<*> AUTH=PLAIN AUTH=ANONYMOUS] <*>\nC: a AUTHENTICATE ANONYMOUS dTE=\nS: a NO [UNAVAILABLE] Account is temporarily unavailable."},
		"does not":   {true, "S: * OK [<*> AUTH=PLAIN] <*>\nC: a AUTHENTICATE ANONYMOUS dTE=\nS: a NO [ALERT] Unsupported authentication mechanism."},
	} {
		t.Run(name, func(t *testing.T) {
			o := options("auth_mechanisms = plain anonymous")
			o.Protocol.NoAnonymous = c.no
			loginrig.Start(t, o).Dial("").Play(c.script)
		})
	}
}
