package backend_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dproxy/backend"
	"dproxy/backend/backendtest"
	"dproxy/backend/imap"
	"dproxy/backend/managesieve"
	"dproxy/backend/pop3"
	"dproxy/backend/submission"
	"dproxy/conf"
)

// TestRawlog: a raw log has the dialogue and no password in any form, and is nobody else's to read.
func TestRawlog(t *testing.T) {
	for name, tt := range map[string]struct {
		hs        backend.Handshake
		mech      string
		script    string
		sent, got string
	}{
		"imap":              {imap.Handshake{}, "", "S: * OK [CAPABILITY IMAP4rev1 ID] x\nC: I ID .*\nC: L LOGIN .*\nS: I OK\nS: L OK in\nEOF", "LOGIN \n", "L OK in"},
		"imap by SASL":      {imap.Handshake{}, "LOGIN", "S: * OK [CAPABILITY IMAP4rev1] x\nC: L AUTHENTICATE LOGIN\nS: + \nC: .*\nS: + \nC: .*\nS: L OK in\nEOF", "AUTHENTICATE \n", "L OK in"},
		"pop3":              {pop3.Handshake{}, "", "S: +OK\nC: USER u1\nS: +OK\nC: PASS .*\nS: +OK in\nEOF", "USER u1", "+OK in"},
		"submission":        {submission.Handshake{}, "", "S: 220 x\nC: EHLO .*\nS: 250-x\nS: 250 AUTH PLAIN\nC: AUTH PLAIN .*\nS: 235 in\nEOF", "AUTH \n", "235 in"},
		"sieve":             {managesieve.Handshake{}, "", "S: \"SASL\" \"PLAIN\"\nS: OK \"x\"\nC: AUTHENTICATE .*\nS: OK \"in\"\nEOF", "AUTHENTICATE \n", "OK \"in\""},
		"pop3 that refuses": {pop3.Handshake{}, "", "S: +OK\nC: USER u1\nS: -ERR no\nEOF", "USER u1", "-ERR no"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			server := backendtest.Start(t, "127.0.0.1", tt.script)
			d, rec := dialer(&conf.Settings{LoginProxyRawlogDir: dir})
			l := backendtest.NewLogin(server.Addr)
			l.Target.Password, l.Target.Mech = "Geheim+7", tt.mech
			s, err := d.Connect(t.Context(), tt.hs, l, client)
			if err == nil {
				_ = s.Conn.Close()
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) != 2 {
				t.Fatalf("files %v, %v; log %v", files, err, rec.Lines())
			}
			text := map[string]string{}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text[filepath.Ext(f)] = string(b)
				if st, err := os.Stat(f); err != nil || st.Mode() != fs.FileMode(0o600) {
					t.Errorf("mode %v, %v", st.Mode(), err)
				}
			}
			all := text[".in"] + text[".out"]
			for _, secret := range []string{"Geheim", "R2VoZWlt", "dlaGVpbS", "HZWhlaW"} {
				if strings.Contains(all, secret) {
					t.Errorf("%s is in %s", secret, all)
				}
			}
			if !strings.Contains(text[".out"], tt.sent) || !strings.Contains(text[".in"], tt.got) {
				t.Errorf("got %s", all)
			}
		})
	}
	t.Run("a directory that is not there ends no login", func(t *testing.T) {
		server := backendtest.Start(t, "127.0.0.1", "S: +OK\nC: USER u1\nS: +OK\nC: PASS .*\nS: +OK in\nEOF")
		d, rec := dialer(&conf.Settings{BaseDir: t.TempDir(), LoginProxyRawlogDir: "nowhere"})
		s, err := d.Connect(t.Context(), pop3.Handshake{}, backendtest.NewLogin(server.Addr), client)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Conn.Close()
		if lines := strings.Join(rec.Lines(), "\n"); !strings.Contains(lines, "login_proxy_rawlog_dir: open ") {
			t.Errorf("the log has %q", lines)
		}
	})
}
