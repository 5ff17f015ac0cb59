package ldap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/test/daemon"
	"dproxy/test/dialog"
)

// reports collects what a driver says to the operator.
type reports struct {
	mu   sync.Mutex
	text []string
}

func watch(d passdb.Driver) *reports {
	r := &reports{}
	d.(passdb.Reporter).SetReport(func(s string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.text = append(r.text, s)
	})
	return r
}

func (r *reports) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.text, "\n")
}

// closedPort is a port that refuses.
func closedPort(t *testing.T) int {
	t.Helper()
	port, err := daemon.NewPorts().Free()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certs := dialog.NewCerts(t)
	dir := daemon.StartDirectory(t, daemon.DirectoryOptions{
		Suffix: "dc=ex", LDIF: entries,
		Cert: certs.File("backend", "crt"), Key: certs.File("backend", "key"), CA: certs.File("ca", "crt"),
		// The client's certificate is the administrator.
		Global: []string{`authz-regexp "^cn=alt.example.org$" "cn=admin,dc=ex"`, `authz-regexp "gidNumber=.*,cn=peercred,cn=external,cn=auth" "cn=admin,dc=ex"`},
	})
	ca := "tls_ca_cert_file = " + certs.File("ca", "crt")
	ldaps := fmt.Sprintf("uris = ldaps://127.0.0.1:%d", dir.TLSPort)
	const attrs = "pass_attrs = userPassword=password"
	const external = "sasl_bind = yes\nsasl_mech = EXTERNAL\ndn =\ndnpass ="
	client := "tls_cert_file = " + certs.File("alt", "crt") + "\ntls_key_file = " + certs.File("alt", "key")
	for _, c := range []struct {
		name  string
		lines []string
		want  string // how the answer begins
	}{
		{"ldaps", []string{ldaps, ca}, "ok password=secret"},
		{"StartTLS", []string{"tls = yes", ca}, "ok password=secret"},
		{"StartTLS with a directory of authorities", []string{"tls = yes", "tls_ca_cert_dir = " + certs.Dir}, "ok password=secret"},
		{"ldaps without the authority", []string{ldaps}, fmt.Sprintf("error: Can't connect to server: ldaps://127.0.0.1:%d: ", dir.TLSPort)},
		{"StartTLS without the authority", []string{"tls = yes"}, "error: ldap_start_tls_s() failed: "},
		{"another name", []string{strings.Replace(ldaps, "127.0.0.1", "ip6-localhost", 1), ca}, "error: Can't connect to server: ldaps://ip6-localhost:"},
		{"any certificate", []string{ldaps, "tls_require_cert = never"}, "ok password=secret"},
		{"any certificate is allowed", []string{"tls = yes", "tls_require_cert = allow"}, "ok password=secret"},
		{"a GnuTLS priority string", []string{ldaps, ca, "tls_cipher_suite = SECURE256:-VERS-TLS1.0"}, "ok password=secret"},
		{"EXTERNAL with a certificate", []string{"tls = yes", ca, client, external}, "ok password=secret"},
		{"EXTERNAL over the unix socket", []string{"uris = ldapi://" + strings.ReplaceAll(dir.Socket, "/", "%2F"), external}, "ok password=secret"},
		{"EXTERNAL without a certificate", []string{"tls = yes", ca, external}, "error: binding failed (dn (none)): "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := driverOf(t, append([]string{service(dir), attrs}, c.lines...)...)
			r := watch(d)
			if got := lookupOf(t, d, "a"); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if strings.Contains(c.name, "GnuTLS") && !strings.Contains(r.all(), "tls_cipher_suite is ignored") {
				t.Errorf("no warning: %q", r.all())
			}
		})
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()
	dir := start(t)
	refusing := closedPort(t)
	d := driverOf(t, service(dir), "pass_attrs = userPassword=password", fmt.Sprintf("uris = ldap://127.0.0.1:%d ldap://127.0.0.1:%d", refusing, dir.Port))
	r := watch(d)
	for range 3 {
		expect(t, "with the first server down", lookupOf(t, d, "a"), "ok password=secret")
	}
	want := fmt.Sprintf("): Can't connect to server: ldap://127.0.0.1:%d: dial tcp 127.0.0.1:%d: connect: connection refused", refusing, refusing)
	if got := r.all(); strings.Count(got, "\n") != 0 || !strings.HasSuffix(got, want) {
		t.Errorf("reports %q, want one that ends in %q", got, want)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := start(t)
	lines := []string{service(dir), "auth_bind = yes", "pass_attrs = uid=user"}
	d := driverOf(t, lines...)
	expect(t, "before", verifyOf(t, d, "a", "secret"), "ok user=a")
	dir.Stop(t)
	dir.Start(t)
	expect(t, "idle connections are dead", verifyOf(t, d, "a", "secret"), "ok user=a")
	dir.Stop(t)
	for range 3 {
		got := verifyOf(t, d, "a", "secret")
		if !strings.HasPrefix(got, "error: Can't connect to server: ldap://127.0.0.1:") {
			t.Errorf("down: %s", got)
		}
	}
	dir.Start(t)
	// The back-off ends within its maximum.
	ctx, cancel := context.WithTimeout(t.Context(), 4*backoffMax)
	defer cancel()
	for {
		got := verifyOf(t, d, "a", "secret")
		if got == "ok user=a" {
			break
		}
		if !strings.HasPrefix(got, "error: Can't connect to server: ") || ctx.Err() != nil {
			t.Fatalf("after the start: %s", got)
		}
		select {
		case <-time.After(backoffMin / 4):
		case <-ctx.Done():
		}
	}
}

func TestFrozenServer(t *testing.T) {
	t.Parallel()
	first, second := start(t), start(t)
	d := driverOf(t, service(second), "pass_attrs = userPassword=password", fmt.Sprintf("uris = ldap://127.0.0.1:%d ldap://127.0.0.1:%d", first.Port, second.Port))
	r := watch(d)
	expect(t, "before", lookupOf(t, d, "a"), "ok password=secret")
	first.Freeze(t)
	defer first.Thaw(t)
	ask := func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		return show(d.Lookup(ctx, &passdb.Request{User: "a"}))
	}
	expect(t, "the other server answers within the same request", ask(), "ok password=secret")
	if got := r.all(); !strings.Contains(got, fmt.Sprintf("Connection lost to LDAP server ldap://127.0.0.1:%d: no answer within ", first.Port)) {
		t.Errorf("reports %q", got)
	}
	expect(t, "its connection is kept", ask(), "ok password=secret")
}

func TestFrozenOnlyServer_is_blamed_and_not_the_caller(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, service(dir), "pass_attrs = userPassword=password")
	expect(t, "before", lookupOf(t, d, "a"), "ok password=secret")
	dir.Freeze(t)
	defer dir.Thaw(t)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	got := show(d.Lookup(ctx, &passdb.Request{User: "a"}))
	if !strings.HasPrefix(got, fmt.Sprintf("error: Connection lost to LDAP server ldap://127.0.0.1:%d: no answer within ", dir.Port)) {
		t.Errorf("got %s", got)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Lookup(canceled, &passdb.Request{User: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
}

func TestParallelRequests_share_the_pools(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, service(dir), "auth_bind = yes", "pass_attrs = uid=user")
	var wg sync.WaitGroup
	for i := range 2 * maxConns {
		wg.Go(func() {
			for range 4 {
				user, password := "a", "secret"
				if i%2 == 0 {
					user, password = "boss", "bosspw"
				}
				expect(t, user, verifyOf(t, d, user, password), "ok user="+user)
				expect(t, user, verifyOf(t, d, user, "x"+password), "password_mismatch (Password mismatch (for LDAP bind))")
			}
		})
	}
	wg.Wait()
	b := d.(binder)
	for _, p := range []*pool{b.searches, b.binds} {
		if len(p.busy) != 0 || len(p.idle) > maxIdle {
			t.Errorf("%d busy and %d idle connections are left", len(p.busy), len(p.idle))
		}
	}
}

func TestClose_ends_questions_that_run(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, service(dir), "pass_attrs = userPassword=password")
	expect(t, "before", lookupOf(t, d, "a"), "ok password=secret")
	dir.Freeze(t)
	defer dir.Thaw(t)
	answer := make(chan string, 1)
	go func() { answer <- lookupOf(t, d, "a") }()
	p := d.(*driver).searches
	for busy := false; !busy && len(answer) == 0; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		busy = len(p.busy) > 0
		p.mu.Unlock()
	}
	if err := d.(passdb.Closer).Close(); err != nil {
		t.Error(err)
	}
	if got := <-answer; !strings.HasPrefix(got, "error: ") {
		t.Errorf("got %s", got)
	}
	expect(t, "after", lookupOf(t, d, "a"), "error: the ldap passdb is closed")
}

// fake accepts connections and answers each with text.
func fake(t *testing.T, text string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				if text == "" {
					return
				}
				if _, err := c.Read(make([]byte, 512)); err != nil {
					return
				}
				_, _ = io.Copy(c, io.LimitReader(strings.NewReader(text), 1<<20))
				if strings.HasPrefix(text, "\x30\x84") { // as announced: much more than will be read
					_, _ = io.Copy(c, io.LimitReader(zeros{}, 2*maxAnswer))
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestNonsense_is_a_temporary_failure(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"hangs up":               "",
		"a mail server":          "* OK ready\r\n* OK ready\r\n",
		"a huge answer":          "\x30\x84\x7f\x00\x00\x00",
		"an empty sequence":      "\x30\x00\x30\x00",
		"a result of some sort":  "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x02\x04\x00\x04\x00",
		"no protocol operation":  "\x30\x03\x02\x01\x01",
		"an unexpected response": "\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			d := driverOf(t, fmt.Sprintf("uris = ldap://127.0.0.1:%d\nbase = dc=ex", fake(t, text)), "dn = cn=x", "dnpass = y", "pass_attrs = userPassword=password")
			got := show(d.Lookup(ctx, &passdb.Request{User: "a"}))
			if !strings.HasPrefix(got, "error: ") {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestBackoff_doubles_to_its_maximum_and_lets_one_try(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(&dialer{targets: []target{{uri: "ldap://x"}}}, false)
		s := p.servers[0]
		for _, wait := range []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000, 5000} {
			wait *= time.Millisecond
			began := time.Now()
			if !p.mayTry(s) {
				t.Fatalf("not tried after the wait before %v", wait)
			}
			if s.failures > 0 && p.mayTry(s) {
				t.Fatal("two try at once")
			}
			time.Sleep(time.Millisecond)
			p.failed(s, began, errors.New("down"))
			p.failed(s, began, errors.New("down for another request that began before"))
			time.Sleep(wait - time.Millisecond)
			if p.mayTry(s) {
				t.Fatalf("tried before %v", wait)
			}
			time.Sleep(time.Millisecond)
		}
		if !p.mayTry(s) {
			t.Fatal("not tried")
		}
		p.forgive(s)
		if !p.mayTry(s) {
			t.Fatal("a caller that gave up keeps others away")
		}
	})
}

func TestReferralsAndAliases(t *testing.T) {
	t.Parallel()
	dir := daemon.StartDirectory(t, daemon.DirectoryOptions{Suffix: "dc=ex", LDIF: entries + `
dn: ou=away,dc=ex
objectClass: referral
objectClass: extensibleObject
ou: away
ref: ldap://127.0.0.1:1/ou=away,dc=ex

dn: ou=aliases,dc=ex
objectClass: organizationalUnit
ou: aliases

dn: cn=link,ou=aliases,dc=ex
objectClass: alias
objectClass: extensibleObject
cn: link
aliasedObjectName: uid=deep,dc=sub,dc=ex
`})
	const attrs = "pass_attrs = userPassword=password"
	d := driverOf(t, service(dir), attrs)
	expect(t, "a reference beside the entry is not followed", lookupOf(t, d, "a"), "ok password=secret")
	got := lookupOf(t, driverOf(t, service(dir), attrs, "base = ou=away,dc=ex"), "a")
	if !strings.HasPrefix(got, "error: ldap_search(base=ou=away,dc=ex filter=(uid=a)) failed: Referral") {
		t.Errorf("a base elsewhere: %s", got)
	}
	expect(t, "aliases are not followed", lookupOf(t, driverOf(t, service(dir), attrs, "base = ou=aliases,dc=ex"), "deep"), "user_unknown")
	expect(t, "unless deref says so", lookupOf(t, driverOf(t, service(dir), attrs, "base = ou=aliases,dc=ex", "deref = searching"), "deep"), "ok password=secret")
	expect(t, "finding follows the base only", lookupOf(t, driverOf(t, service(dir), attrs, "base = cn=link,ou=aliases,dc=ex", "deref = finding"), "deep"), "ok password=secret")
	expect(t, "one level", lookupOf(t, driverOf(t, service(dir), attrs, "scope = onelevel"), "deep"), "user_unknown")
	expect(t, "base", lookupOf(t, driverOf(t, service(dir), attrs, "scope = base", "base = uid=%u,dc=sub,dc=ex"), "deep"), "ok password=secret")
}

func TestManyHosts(t *testing.T) {
	t.Parallel()
	path := file(t, "hosts = a.example b.example:1389 [::1]:1390", "base = dc=ex")
	d, err := New(conf.Passdb{Args: path})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range d.(*driver).searches.servers {
		got = append(got, s.address)
	}
	expect(t, "hosts", strings.Join(got, " "), "a.example:389 b.example:1389 [::1]:1390")
}

func BenchmarkLookup(b *testing.B) {
	dir := start(b)
	d := driverOf(b, service(dir), "pass_attrs = userPassword=password,employeeType=host,=proxy=y")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if got := lookupOf(b, d, "a"); !strings.HasPrefix(got, "ok") {
				b.Error(got)
			}
		}
	})
}
