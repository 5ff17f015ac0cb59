package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// writeFile makes a file and returns its path.
func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

// certificate makes a certificate that ends at a time, and its key, as PEM.
func certificate(t *testing.T, end time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example"}, DNSNames: []string{"mail.example"},
		NotBefore: end.Add(-365 * 24 * time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	year := 365 * 24 * time.Hour
	cert, key := certificate(t, time.Now().Add(year))
	_, otherKey := certificate(t, time.Now().Add(year))
	oldCert, oldKey := certificate(t, time.Now().Add(-time.Hour))
	soonCert, soonKey := certificate(t, time.Now().Add(72*time.Hour))
	pair := func(name, cert, key string, mode os.FileMode) string {
		return "ssl = yes\nssl_cert = <" + writeFile(t, dir, name+".crt", cert, 0o644) + "\nssl_key = <" + writeFile(t, dir, name+".key", key, mode) + "\n"
	}
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	up := strconv.Itoa(backend.Addr().(*net.TCPAddr).Port)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := strconv.Itoa(gone.Addr().(*net.TCPAddr).Port)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	backendAt := func(port string) string {
		return "passdb {\n driver = static\n args = password=hush proxy=y host=127.0.0.1 port=" + port + "\n}\n"
	}
	db := writeFile(t, dir, "users.db", "", 0o600)
	sqlFile := func(name, connect string, mode os.FileMode) string {
		return "passdb {\n driver = sql\n args = " + writeFile(t, dir, name, connect+"\npassword_query = SELECT 1\n", mode) + "\n}\n"
	}
	ldap := writeFile(t, dir, "ldap.ext", "uris = ldap://127.0.0.1:"+down+"\nbase = dc=x\n", 0o600)
	for _, c := range []struct {
		name, more string
		args       []string
		want       []string
		never      string
		status     int
	}{
		{name: "a good configuration is OK", args: []string{"--offline"}, want: []string{"OK: 0 errors", "imap   127.0.0.1:", "static proxy=y host=127.0.0.1"}},
		{
			name: "settings are sorted by what they do", more: "login_greeting = Hi\nmail_location = maildir:~/m", args: []string{"--offline"},
			want: []string{"Settings that take effect: ", "  login_greeting (", "Settings that have no effect: 1\n  mail_location: it concerns mail storage"},
		},
		{
			name: "a refused setting is an error with its reason", more: "login_access_sockets = tcpwrap", args: []string{"--offline"},
			want: []string{"Settings that are refused: 1", "error: configuration: login_access_sockets is not supported: connections would not be checked"}, status: exitFatal,
		},
		{
			name: "every unknown setting is told, and the rest of the file too", more: "nonsense_one = 1\nnonsense_two = 2\nlogin_greeting = Hi", args: []string{"--offline"},
			want: []string{"Unknown setting: nonsense_one", "Unknown setting: nonsense_two", "NOT OK: 2 errors", "  login_greeting ("}, status: exitFatal,
		},
		{name: "a file that cannot be parsed at all is an error", more: "}", args: []string{"--offline"}, want: []string{"NOT OK: 1 errors"}, status: exitFatal},
		{name: "a protocol that is not served is told", more: "protocols = imap doveadm", args: []string{"--offline"}, want: []string{"warning: protocols: protocols has doveadm", "Unknown protocol: doveadm"}, status: exitFatal},
		{name: "--strict makes warnings count", more: "default_login_user = nosuchuser0", args: []string{"--offline", "--strict"}, status: exitWarned},
		{name: "a certificate that fits its key is fine", more: pair("good", cert, key, 0o600), args: []string{"--offline"}, want: []string{"ok: tls: certificate and key match; valid until " + time.Now().Add(year).UTC().Format(time.DateOnly)}},
		{name: "a key of another certificate is an error", more: pair("bad", cert, otherKey, 0o600), args: []string{"--offline"}, want: []string{"error: tls: ", "ssl_key"}, status: exitFatal},
		{name: "an expired certificate is an error", more: pair("old", oldCert, oldKey, 0o600), args: []string{"--offline"}, want: []string{"error: tls: the certificate has expired on"}, status: exitFatal},
		{name: "a certificate that ends soon is a warning", more: pair("soon", soonCert, soonKey, 0o600), args: []string{"--offline"}, want: []string{"warning: tls: the certificate expires on"}},
		{
			name: "a certificate of one name is looked at too", more: pair("c", cert, key, 0o600) + "local_name b.example {\n" + pair("d", oldCert, oldKey, 0o600) + "}", args: []string{"--offline"},
			want: []string{"Filters:\n  local_name b.example (", "the certificate of local_name b.example has expired"}, status: exitFatal,
		},
		{name: "a key that everybody can read is a warning", more: pair("open", cert, key, 0o644), args: []string{"--offline"}, want: []string{"warning: files: everybody can read " + dir + "/open.key (mode 0644)"}},
		{name: "passwords in args are not shown", more: backendAt(up), args: []string{"--offline"}, want: []string{"static password=... proxy=y"}, never: "hush"},
		{name: "a backend that answers is fine", more: backendAt(up), want: []string{"ok: backend: 127.0.0.1:" + up + " answers"}},
		{name: "a backend that does not answer is a warning", more: backendAt(down), want: []string{"warning: backend: 127.0.0.1:" + down + " cannot be reached: "}},
		{name: "--offline asks no backend", more: backendAt(down), args: []string{"--offline"}, want: []string{"OK: 0 errors"}, never: "cannot be reached"},
		{name: "a static passdb without proxy has no local mail", more: "passdb {\n driver = static\n args = nopassword=y\n}", args: []string{"--offline"}, want: []string{"warning: passdb: a static passdb without proxy"}},
		{name: "a database that opens is fine", more: sqlFile("good.ext", "driver = sqlite\nconnect = "+db, 0o600), want: []string{"ok: passdb: sqlite " + db + " answers"}},
		{name: "a database that does not open is an error", more: sqlFile("none.ext", "driver = sqlite\nconnect = "+db+"x", 0o600), want: []string{"error: passdb: sqlite " + db + "x cannot be used"}, status: exitFatal},
		{
			name: "an SQL server that is down is an error", more: sqlFile("down.ext", "driver = mysql\nconnect = host=127.0.0.1 port="+down+" user=u password=hush dbname=d", 0o644),
			want: []string{"error: passdb: mysql 127.0.0.1 cannot be used", "everybody can read " + dir + "/down.ext"}, never: "hush", status: exitFatal,
		},
		{name: "an LDAP server that is down is an error", more: "passdb {\n driver = ldap\n args = " + ldap + "\n}", want: []string{"error: passdb: ldap://127.0.0.1:" + down + " cannot be used"}, status: exitFatal},
		{
			name: "a passwd-file that is missing is one error", more: "passdb {\n driver = passwd-file\n args = " + dir + "/none\n}", args: []string{"--offline"},
			want: []string{"error: passdb: " + dir + "/none cannot be read: no such file or directory", "NOT OK: 1 errors"}, status: exitFatal,
		},
		{name: "a driver that is not here is an error", more: "passdb {\n driver = pam\n}", args: []string{"--offline"}, want: []string{"passdb driver 'pam' needs C libraries", "NOT OK: 1 errors"}, status: exitFatal},
		{name: "a missing user is a warning", more: "default_login_user = nosuchuser0", args: []string{"--offline"}, want: []string{"warning: users: default_login_user = nosuchuser0, but there is no such user"}},
		{name: "differences from Dovecot depend on the file", more: "service imap-login {\n service_count = 0\n process_min_avail = 2\n}", args: []string{"--offline"}, want: []string{"note: differences: there is one process"}},
		{name: "a port in use is a warning", more: "service imap-login {\n inet_listener used {\n port = " + up + "\n }\n}", args: []string{"--offline"}, want: []string{"warning: listeners: 127.0.0.1:" + up + " is in use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, _ := confFile(t, c.more)
			r := dproxy(t, "", append([]string{"check", "-c", path}, c.args...)...)
			for _, w := range c.want {
				if !strings.Contains(r.out, w) {
					t.Errorf("%q is missing", w)
				}
			}
			if c.never != "" && strings.Contains(r.out, c.never) {
				t.Errorf("the output has %q", c.never)
			}
			if r.status != c.status || r.err != "" {
				t.Errorf("status %d, want %d; stderr %q", r.status, c.status, r.err)
			}
			if t.Failed() {
				t.Log(r.out)
			}
		})
	}
}

func TestCheckJSON(t *testing.T) {
	path, _ := confFile(t, "default_login_user = nosuchuser0\nmail_location = x")
	r := dproxy(t, "", "check", "--offline", "--json", "-c", path)
	var got map[string]any
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v in %s", err, r.out)
	}
	doc, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range got {
		if !strings.Contains(string(doc), "`"+key+"`") {
			t.Errorf("docs/check.md does not describe %s", key)
		}
	}
	ignored := got["settings"].(map[string]any)["ignored"].([]any)
	if got["status"] != "warnings" || got["errors"] != 0.0 || got["config"] != path || len(ignored) != 1 ||
		len(got["passdbs"].([]any)) != 1 || len(got["listeners"].([]any)) != 1 {
		t.Errorf("%s", r.out)
	}
}
