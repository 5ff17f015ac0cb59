package e2e

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// authScript is an auth_http service as operators write it for nginx: alice lives on the first backend, where she has the
// password that the others use too.
func authScript(h *house) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Key") != "s3cret" || r.Header.Get("Client-IP") != "127.0.0.1" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		user, _ := url.PathUnescape(r.Header.Get("Auth-User"))
		pass, _ := url.PathUnescape(r.Header.Get("Auth-Pass"))
		right := pass == "p w%"
		if r.Header.Get("Auth-Method") == "cram-md5" {
			mac := hmac.New(md5.New, []byte("p w%"))
			_, _ = io.WriteString(mac, r.Header.Get("Auth-Salt"))
			right = hex.EncodeToString(mac.Sum(nil)) == pass
		}
		switch {
		case user == "full":
			w.Header().Set("Auth-Status", "Try again later")
			w.Header().Set("Auth-Error-Code", "451 4.3.0")
		case user != "al" || !right:
			w.Header().Set("Auth-Status", "Invalid login or password, attempt "+r.Header.Get("Auth-Login-Attempt"))
			w.Header().Set("Auth-Wait", "1")
		default:
			w.Header().Set("Auth-Status", "OK")
			w.Header().Set("Auth-Server", h.one.IP)
			w.Header().Set("Auth-Port", map[string]string{"imap": "143", "pop3": "110"}[r.Header.Get("Auth-Protocol")])
			w.Header().Set("Auth-User", "alice@example.org")
			w.Header().Set("Auth-Pass", password)
			w.Header().Set("Auth-Proxy-SSL", "starttls-any-cert")
		}
	})
}

// testAuthHTTP logs in through an nginx auth_http service. Dovecot has no such passdb.
func testAuthHTTP(t *testing.T, h *house, _ *front) {
	if h.reference {
		t.Skip("Dovecot has no http passdb")
	}
	service := httptest.NewServer(authScript(h))
	defer service.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	f := h.start(t, "auth_mechanisms = plain cram-md5\npassdb {\n  driver = http\n  args = @DIR@/http\n}\n", map[string]string{
		"http": "url = " + gone.URL + "/auth " + service.URL + "/auth\nheaders = X-Auth-Key: s3cret\n",
	})
	c, err := dialIMAP(f.addr("imap"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	for attempt, command := range []string{`LOGIN al wrong`, `LOGIN bob "p w%"`} {
		want := fmt.Sprintf("Invalid login or password, attempt %d", attempt+1)
		if _, err := c.cmd("%s", command); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
	if _, err := c.cmd(`LOGIN full x`); err == nil || !strings.Contains(err.Error(), "NO [UNAVAILABLE] Try again later") {
		t.Errorf("a temporary failure: %v", err)
	}
	if _, err := c.cmd("%s", `LOGIN al "p w%"`); err != nil {
		t.Fatal(err)
	}
	if _, err := c.cmd("SELECT INBOX"); err != nil {
		t.Error(err)
	}
	t.Run("CRAM-MD5", func(t *testing.T) {
		for pass, want := range map[string]bool{"p w%": true, "wrong": false} {
			if err := cramMD5(f, "al", pass); (err == nil) != want {
				t.Errorf("with the password %q: %v", pass, err)
			}
		}
	})
	t.Run("POP3", func(t *testing.T) {
		p, err := dialIMAP(f.addr("pop3"), "", nil) // a line is a line
		if err != nil {
			t.Fatal(err)
		}
		defer p.nc.Close()
		if _, err := io.WriteString(p.nc, "USER al\r\nPASS p w%\r\n"); err != nil {
			t.Fatal(err)
		}
		if l, err := p.until(`Logged in|-ERR`); err != nil || !strings.HasPrefix(l, "+OK") {
			t.Errorf("%q, %v", l, err)
		}
	})
	t.Run("no service", func(t *testing.T) {
		service.Close()
		c, err := dialIMAP(f.addr("imap"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		if _, err := c.cmd("%s", `LOGIN al "p w%"`); err == nil || !strings.Contains(err.Error(), "NO [UNAVAILABLE] Temporary authentication failure.") {
			t.Errorf("%v", err)
		}
	})
	if log := f.read(t, "log"); strings.Contains(log, "p w%") || strings.Contains(log, "s3cret") {
		t.Error("a secret in the log")
	}
}

func cramMD5(f *front, user, pass string) error {
	c, err := dialIMAP(f.addr("imap"), "", nil)
	if err != nil {
		return err
	}
	defer c.nc.Close()
	tag, err := c.start("AUTHENTICATE CRAM-MD5")
	if err != nil {
		return err
	}
	l, err := c.line()
	if err != nil {
		return err
	}
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(l, "+ "))
	if err != nil {
		return err
	}
	mac := hmac.New(md5.New, []byte(pass))
	mac.Write(challenge)
	if _, err := fmt.Fprintf(c.nc, "%s\r\n", base64.StdEncoding.EncodeToString([]byte(user+" "+hex.EncodeToString(mac.Sum(nil))))); err != nil {
		return err
	}
	_, err = c.finish(tag)
	return err
}
