package imap_test

import (
	"strings"
	"testing"

	"dproxy/test/loginrig"
)

func TestID(t *testing.T) {
	const answer = "S: * ID (\"name\" \"Dovecot\")\nS: a OK ID completed.\n"
	for name, script := range map[string]string{
		"NIL":                      "C: a ID NIL\n" + answer,
		"nothing":                  "C: a ID\n" + answer,
		"a list":                   "C: a ID (\"name\" \"x\" \"os\" NIL)\n" + answer,
		"an empty list":            "C: a ID ()\n" + answer,
		"more behind the list":     "C: a ID (\"a\" \"b\") x (\n" + answer + "C: b NOOP\nS: b OK NOOP completed.",
		"a key without a value":    "C: a ID (\"a\" NIL \"b\")\n" + answer,
		"literals":                 "Q: \"a ID ({1+}\\r\\na {1}\\r\\nb)\\r\\n\"\nS: + OK\n" + answer,
		"an atom":                  "C: a ID foo\nS: a BAD Invalid ID parameters\n",
		"atoms in the list":        "C: a ID (a b)\nS: a BAD Invalid ID parameters\n",
		"NIL as a key":             "C: a ID (NIL \"x\")\nS: a BAD Invalid ID parameters\n",
		"a list as a value":        "C: a ID (\"a\" (\"b\"))\nS: a BAD Invalid ID parameters\n",
		"lists in lists":           "C: a ID ((()))\nS: a BAD Too many '('\n",
		"an open list":             "C: a ID (\"a\" \"b\"\nS: a BAD Missing ')'\nC: b NOOP\nS: b OK NOOP completed.",
		"a stray parenthesis":      "C: a ID )\nS: a BAD Unexpected ')'\n",
		"the longest key":          "C: a ID (\"" + strings.Repeat("k", 30) + "\" \"v\")\n" + answer,
		"a longer key":             "C: a ID (\"" + strings.Repeat("k", 31) + "\" \"v\")\nS: a BAD Invalid ID parameters\n",
		"a value beyond the input": "C: a ID (\"k\" \"" + strings.Repeat("v", 1025) + "\")\nS: * BYE Input buffer full, aborting\nEOF",
		"errors are not counted":   strings.Repeat("C: a ID x\nS: a BAD Invalid ID parameters\n", 4),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, "").Dial("").Play("S: " + greeting + "\n" + script)
		})
	}
}

// backendID runs a login behind some commands and returns the ID command that the backend got.
func backendID(t *testing.T, conf, from, script string) (id string, r *loginrig.Rig) {
	t.Helper()
	got := make(chan string, 1)
	r = loginrig.Start(t, loginrig.Options{Protocol: protocol(), Conf: conf, Users: users(), Backend: func(p *loginrig.Peer) {
		p.Send("* OK [CAPABILITY IMAP4rev1 ID] b\r\n")
		got <- p.Line()
		p.Line()
		p.Send("I OK\r\nL OK done\r\n")
		loginrig.Echo(p)
	}})
	r.Dial(from).Play("S: <*>\n" + script + "\nC: l LOGIN u p\nS: l OK <*>\nC: bye\nS: got: bye\nEOF")
	return <-got, r
}

func TestIDTellsTheBackend(t *testing.T) {
	const (
		idOK    = "\nS: * ID <*>\nS: a OK ID completed."
		trusted = "disable_plaintext_auth = no\nlogin_trusted_networks = 127.0.0.2"
		spoof   = `C: a ID ("x-originating-ip" "192.0.2.7" "x-originating-port" "1234" "X-Connected-IP" "2001:db8::1" "x-connected-port" "993" "x-session-id" "sess" "x-proxy-ttl" "3" "x-forward-Foo" "b\"r" "name" "MUA")` + idOK
	)
	for name, c := range map[string]struct {
		conf, from, script string
		want, not          []string
	}{
		"of the client as it is": {"", "", "", []string{`"x-originating-ip" "127.0.0.1"`, `"x-connected-ip" "127.0.0.1"`, `"x-proxy-ttl" "4"`}, nil},
		"of what a trusted peer says": {
			trusted, "127.0.0.2", spoof,
			[]string{`"x-session-id" "sess"`, `"x-originating-ip" "192.0.2.7"`, `"x-originating-port" "1234"`, `"x-connected-ip" "2001:db8::1"`, `"x-connected-port" "993"`, `"x-proxy-ttl" "2"`, `"x-forward-Foo" "b\"r"`},
			[]string{"MUA"},
		},
		"nothing that another says": {"disable_plaintext_auth = no", "127.0.0.2", spoof, []string{`"x-originating-ip" "127.0.0.2"`, `"x-proxy-ttl" "4"`}, []string{"192.0.2.7", "sess\"", "x-forward"}},
		"of the first ID only": {
			trusted, "127.0.0.2", "C: a ID NIL" + idOK + "\n" + spoof, []string{`"x-originating-ip" "127.0.0.2"`}, []string{"192.0.2.7"},
		},
		"nothing that is no value": {
			trusted, "127.0.0.2", `C: a ID ("x-originating-ip" "fe80::1%eth0" "x-originating-port" "70000" "x-proxy-ttl" "-1" "x-session-id" "a b" "x-connected-ip" NIL)` + idOK,
			[]string{`"x-originating-ip" "127.0.0.2"`, `"x-connected-ip" "127.0.0.1"`, `"x-proxy-ttl" "4"`},
			[]string{"a b", "70000"},
		},
		"a session id that is too long is ignored": {
			trusted, "127.0.0.2", `C: a ID ("x-session-id" "` + strings.Repeat("s", 65) + `")` + idOK, nil, []string{"ssss"},
		},
		"the client's own pairs, when kept": {
			"imap_id_retain = yes", "", `C: a ID ("name" "M\"U" "os" NIL "x-originating-ip" "192.0.2.7")` + idOK, []string{`I ID ("name" "M\"U" "os" NIL "x-session-id"`}, []string{"192.0.2.7"},
		},
		"the last ones": {
			"imap_id_retain = yes", "", `C: a ID ("name" "one")` + idOK + "\n" + `C: a ID ("name" "two")` + idOK, []string{`I ID ("name" "two" "x-session-id"`}, []string{"one"},
		},
		"as many as fit": {
			"imap_id_retain = yes", "", `C: a ID ("a" "` + strings.Repeat("v", 200) + `" "b" "` + strings.Repeat("w", 60) + `" "c" "x")` + idOK, []string{`vvv" "c" "x" "x-session-id"`}, []string{"www"},
		},
		"none with line ends": {
			"imap_id_retain = yes", "", "Q: \"a ID (\\\"name\\\" {4+}\\r\\na\\r\\nb)\\r\\n\"" + idOK, []string{`I ID ("x-session-id"`}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, _ := backendID(t, c.conf, c.from, c.script)
			for _, w := range c.want {
				if !strings.Contains(id, w) {
					t.Errorf("%s\nlacks %s", id, w)
				}
			}
			for _, n := range c.not {
				if strings.Contains(id, n) {
					t.Errorf("%s\nhas %s", id, n)
				}
			}
		})
	}
}

func TestIDIsLogged(t *testing.T) {
	_, r := backendID(t, "imap_id_log = *\nimap_id_send = x y", "", "Q: \"a ID (\\\"na\\\\\\\"me\\\" \\\"x\\ty\\\" \\\"os\\\" NIL \\\"k\\\" \\\""+strings.Repeat("v", 100)+"\\\")\\r\\n\"\nS: <*>\nS: <*>\nC: b ID (\"second\" \"z\")\nS: <*>\nS: <*>")
	want := `imap-login: Info: ID sent: na"me=x?y, os=NIL, k=` + strings.Repeat("v", 77) + "...: user=<>, rip=127.0.0.1"
	r.Log.Wait(want)
	for _, l := range r.Log.Lines() {
		if strings.Contains(l, "second") {
			t.Errorf("the second ID was logged: %s", l)
		}
	}
	_, r = backendID(t, "imap_id_log = os", "", "C: a ID (\"name\" \"x\" \"OS\" \"y\")\nS: <*>\nS: <*>")
	r.Log.Wait("Info: ID sent: OS=y: user=<>")
}
