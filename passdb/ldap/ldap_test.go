package ldap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"dproxy/conf"
	"dproxy/passdb"
	"dproxy/test/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entries are those of the recorded cases, with a manager and an alias added.
const entries = `dn: dc=ex
objectClass: domain
dc: ex

dn: uid=a,dc=ex
objectClass: inetOrgPerson
uid: a
cn: A
sn: A
mail: a@ex.org
employeeType: 192.0.2.31
description: one
description: two
manager: uid=boss,dc=ex
userPassword: secret

dn: uid=boss,dc=ex
objectClass: inetOrgPerson
uid: boss
cn: telephoneNumber
sn: B
mail: boss@ex.org
telephoneNumber: 42
userPassword: bosspw

dn: cn=dup1,dc=ex
objectClass: inetOrgPerson
cn: dup1
uid: dup
sn: D
userPassword: secret

dn: cn=dup2,dc=ex
objectClass: inetOrgPerson
cn: dup2
uid: dup
sn: D
userPassword: secret

dn: cn=dup3,dc=ex
objectClass: inetOrgPerson
cn: dup3
uid: dup
sn: D

dn: uid=nopw,dc=ex
objectClass: inetOrgPerson
uid: nopw
cn: N
sn: N
employeeType: 192.0.2.32

dn: uid=ssha,dc=ex
objectClass: inetOrgPerson
uid: ssha
cn: N
sn: N
userPassword: {SSHA}FTtLy4UHGF6CE6rK0obse+lIYuYwMTIzNDU2Nzg5YWJjZGVm

dn: uid=*)(uid\3Da,dc=ex
objectClass: inetOrgPerson
uid: *)(uid=a
cn: odd
sn: odd
userPassword: odd

dn: dc=sub,dc=ex
objectClass: domain
dc: sub

dn: uid=deep,dc=sub,dc=ex
objectClass: inetOrgPerson
uid: deep
cn: deep
sn: deep
userPassword: secret
`

func start(t testing.TB) *daemon.Directory {
	t.Helper()
	return daemon.StartDirectory(t, daemon.DirectoryOptions{Suffix: "dc=ex", LDIF: entries})
}

// service is the usual way to reach a directory.
func service(d *daemon.Directory) string {
	return fmt.Sprintf("uris = ldap://127.0.0.1:%d\nbase = dc=ex\ndn = cn=admin,dc=ex\ndnpass = admin\n"+
		"pass_filter = (uid=%%u)\ndefault_pass_scheme = PLAIN\n", d.Port)
}

// file writes a dovecot-ldap.conf.ext; later lines win over earlier ones.
func file(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ldap.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func driverOf(t testing.TB, lines ...string) passdb.Driver {
	t.Helper()
	d, err := New(conf.Passdb{Args: file(t, lines...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.(passdb.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// show is an answer as one line.
func show(r passdb.Result, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	out := r.Status.String()
	if r.HasPassword {
		out += " password=" + string(r.Password)
	}
	for _, f := range r.Fields {
		out += " " + f.Name + "=" + f.Value
	}
	if r.Detail != "" {
		out += " (" + r.Detail + ")"
	}
	for _, w := range r.Warnings {
		out += " [" + w + "]"
	}
	return out
}

func lookupOf(t testing.TB, d passdb.Driver, user string) string {
	t.Helper()
	return show(d.Lookup(t.Context(), &passdb.Request{User: user, OrigUser: user}))
}

func verifyOf(t testing.TB, d passdb.Driver, user, password string) string {
	t.Helper()
	v, ok := d.(passdb.Verifier)
	if !ok {
		t.Fatal("the driver is no Verifier")
	}
	return show(v.Verify(t.Context(), &passdb.Request{User: user, OrigUser: user, Mech: "PLAIN"}, passdb.Secret(password)))
}

func expect(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestLookup_by_attributes(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, service(dir), "pass_attrs = uid=user,userPassword=password,employeeType=host,=proxy=y,=destuser=%{ldap:mail}")
	if _, ok := d.(passdb.Verifier); ok {
		t.Error("without auth_bind the driver judges passwords")
	}
	for user, want := range map[string]string{
		"a":        "ok password=secret user=a host=192.0.2.31 proxy=y destuser=a@ex.org",
		"A":        "ok password=secret user=a host=192.0.2.31 proxy=y destuser=a@ex.org",
		"zz":       "user_unknown",
		"dup":      "error: LDAP search returned multiple entries",
		"nopw":     "ok user=nopw host=192.0.2.32 proxy=y destuser=",
		"ssha":     "ok password={SSHA}FTtLy4UHGF6CE6rK0obse+lIYuYwMTIzNDU2Nzg5YWJjZGVm user=ssha proxy=y destuser=",
		"*":        "user_unknown",
		"a)(uid=*": "user_unknown",
		"*)(uid=a": "ok password=odd user=*)(uid=a proxy=y destuser=",
		"a\x00":    "user_unknown",
		"\\61":     "user_unknown",
		"":         "user_unknown",
		"\xff\xfe": "user_unknown",
	} {
		expect(t, user, lookupOf(t, d, user), want)
	}
}

// The results were recorded from Dovecot 2.3.19.1 with the same directory, except for %{passdb:...}, which it does not
// know here.
func TestLookup_pass_attrs_grammar(t *testing.T) {
	t.Parallel()
	dir := start(t)
	for _, c := range []struct{ name, attrs, user, want string }{
		{
			"templates", "userPassword=password,mail=destuser=u_,description=forward_x,=y=%{ldap:description},=z=%{nosuch},=w=%{ldap:none:dflt}," +
				"=dn=%{ldap_dn},uid=%{ldap:uid}_n,=starttls,!sn,=s=%{ldap:sn},=u2=%u,MAIL=caps,description=multi=<%$>,=none=%{ldap:none},none=xx,none=yy=%$z", "a",
			"ok password=secret destuser=u_a@ex.org forward_x=one y=one z=UNSUPPORTED_VARIABLE_nosuch w=dflt dn=uid=a,dc=ex a_n=a starttls= s=A u2=a caps=a@ex.org multi=<one> none=" +
				" [Multiple values found for 'forward_x', using value 'one'] [Multiple values found for 'description', using value 'one']" +
				" [Failed to expand template %{nosuch}: Unknown variable '%nosuch'] [Multiple values found for 'multi', using value 'one']",
		},
		{"an entry that an attribute points to", "userPassword=password,@boss=%{ldap:manager},mail@boss=bossmail,=p=%{ldap:telephoneNumber@boss},none@boss=nn", "a", "ok password=secret bossmail=boss@ex.org p=42"},
		{"nobody it points to", "@boss=%{ldap:manager},mail@boss=bossmail,=p=%{ldap:telephoneNumber@boss:none}", "boss", "ok p=none"},
		{"a changed user counts from there on", "=u1=%u,mail=user,=u2=%u,=d=%d,=o=%{orig_user}", "a", "ok u1=a user=a@ex.org u2=a@ex.org d=ex.org o=a"},
		{"an attribute names an attribute", "!telephoneNumber,=q=%{ldap_ptr:cn},=r=%{ldap_ptr:sn:none}", "boss", "ok q=42 r=none"},
		{"an earlier field", "telephoneNumber=forward_x,=k=%{passdb:forward_x}", "boss", "ok forward_x=42 k=42"},
		{"two passwords", "userPassword=password,cn=password", "boss", "ok password=bosspw password=telephoneNumber"},
		{"no scheme", "userPassword=password_noscheme", "boss", "ok password=bosspw"},
		{"no attributes", "", "a", "ok"},
		{"fixed fields only", "=proxy=y,=nopassword=y", "a", "ok proxy=y nopassword=y"},
		{"trailing blanks belong to the attribute", "mail , uid", "a", "ok uid=a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expect(t, c.attrs, lookupOf(t, driverOf(t, service(dir), "pass_attrs = "+c.attrs), c.user), c.want)
		})
	}
}

func TestVerify_binds_as_the_entry_found(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, service(dir), "auth_bind = yes", "pass_attrs = uid=user,userPassword=password,employeeType=host,=proxy=y")
	for _, c := range [][3]string{
		{"a", "secret", "ok user=a host=192.0.2.31 proxy=y"},
		{"a", "bad", "password_mismatch (Password mismatch (for LDAP bind))"},
		{"a", "", "password_mismatch (Login attempt with empty password)"},
		{"zz", "x", "user_unknown"},
		{"dup", "secret", "error: LDAP search returned multiple entries"},
		{"nopw", "x", "password_mismatch (Password mismatch (for LDAP bind))"},
		{"ssha", "secret", "ok user=ssha proxy=y"},
		{"*)(uid=a", "odd", "ok user=*)(uid=a proxy=y"},
		{"*)(uid=a", "secret", "password_mismatch (Password mismatch (for LDAP bind))"},
		{"a", "secret", "ok user=a host=192.0.2.31 proxy=y"},
	} {
		expect(t, c[0]+" with "+c[1], verifyOf(t, d, c[0], c[1]), c[2])
	}
	expect(t, "lookup", lookupOf(t, d, "a"), "ok user=a host=192.0.2.31 proxy=y")
}

func TestVerify_binds_with_a_template(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, fmt.Sprintf("uris = ldap://127.0.0.1:%d\nbase = dc=ex", dir.Port), "auth_bind = yes", "auth_bind_userdn = uid=%u,dc=ex", "pass_attrs = uid=user,employeeType=host,=proxy=y")
	for _, c := range [][3]string{
		{"a", "secret", "ok"},
		{"a", "bad", "password_mismatch (Password mismatch (for LDAP bind))"},
		{"a", "", "password_mismatch (Login attempt with empty password)"},
		{"zz", "x", "password_mismatch (Password mismatch (for LDAP bind))"},
		{"*)(uid=a", "odd", "ok"},
		// Unescaped, this would be the DN of "deep", whose password it is.
		{"deep,dc=sub", "secret", "password_mismatch (Password mismatch (for LDAP bind))"},
		{"a,dc=ex#", "secret", "password_mismatch (Password mismatch (for LDAP bind))"},
		{`a\`, "secret", "password_mismatch (Password mismatch (for LDAP bind))"},
	} {
		expect(t, c[0]+" with "+c[1], verifyOf(t, d, c[0], c[1]), c[2])
	}
	expect(t, "lookup by the default filter", lookupOf(t, d, "a"), "user_unknown")
}

func TestDomainComponents(t *testing.T) {
	t.Parallel()
	dir := start(t)
	d := driverOf(t, service(dir), "base = dc=%Dd", "pass_filter = (uid=%n)", "pass_attrs = userPassword=password", "scope = onelevel")
	for user, want := range map[string]string{
		"deep@sub.ex":     "ok password=secret",
		"a@ex":            "ok password=secret",
		"deep@ex":         "user_unknown",
		"deep@nope":       "user_unknown",
		"deep@sub,dc=ex":  "user_unknown",
		"deep@x,dc=sub.y": "user_unknown",
	} {
		expect(t, user, lookupOf(t, d, user), want)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	dir := start(t)
	bad := func(lines ...string) string {
		return lookupOf(t, driverOf(t, append([]string{service(dir), "pass_attrs = userPassword=password"}, lines...)...), "a")
	}
	expect(t, "filter", bad("pass_filter = (uid=%u"), "error: ldap_search((uid=a) parsing failed: Bad search filter")
	expect(t, "filter without parentheses", bad("pass_filter = uid=%u"), "ok password=secret")
	expect(t, "variable in the filter", bad("pass_filter = (uid=%{nosuch})"), "error: Failed to expand pass_filter=(uid=%{nosuch}): Unknown variable '%nosuch'")
	expect(t, "variable in the base", bad("base = dc=%{nosuch}"), "error: Failed to expand base=dc=%{nosuch}: Unknown variable '%nosuch'")
	expect(t, "base of a variable", bad("base = dc=%u"), "user_unknown")
	expect(t, "service password", bad("dnpass = wrong"), "error: binding failed (dn cn=admin,dc=ex): Invalid credentials")
	expect(t, "StartTLS", bad("tls = yes"), "error: ldap_start_tls_s() failed: Protocol error (unsupported extended operation)")
	got := bad("base = dc=nope")
	if !strings.HasPrefix(got, `error: base "dc=nope" not found; check base in /`) {
		t.Errorf("base: %s", got)
	}
	got = verifyOf(t, driverOf(t, service(dir), "auth_bind = yes", "auth_bind_userdn = garbage%u"), "a", "secret")
	expect(t, "DN", got, "error: ldap_bind() failed: Invalid DN syntax (invalid DN)")
	got = verifyOf(t, driverOf(t, service(dir), "auth_bind = yes", "auth_bind_userdn = %{nosuch}"), "a", "secret")
	expect(t, "variable in the DN", got, "error: Failed to expand auth_bind_userdn=%{nosuch}: Unknown variable '%nosuch'")
	got = verifyOf(t, driverOf(t, service(dir), "auth_bind = yes", "auth_bind_userdn = %{login_user}"), "a", "secret")
	expect(t, "empty DN", got, "error: the DN to bind as is empty")
}

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	const base = "uris = ldap://127.0.0.1:1\nbase = dc=ex\n"
	for _, c := range [][2]string{
		{"base = dc=ex", "No uris or hosts set"},
		{"uris = ldap://x", "No base given"},
		{base + "ldap_version = 2", "ldap_version=2 is not supported; only 3 is"},
		{base + "sasl_bind = yes\nsasl_mech = DIGEST-MD5", "sasl_mech=DIGEST-MD5 is not supported; only EXTERNAL is"},
		{base + "sasl_bind = yes\nsasl_mech = EXTERNAL\nsasl_authz_id = x", "sasl_authz_id is not supported"},
		{"base = x\nuris = http://x", "http://x: unknown scheme http"},
		{"base = x\nuris = nonsense", "nonsense is not an LDAP URI"},
		{base + "tls = yes\ntls_ca_cert_file = /nonexistent", "Can't load CA certs from file: open /nonexistent: no such file or directory (ssl_client_ca_file setting)"},
		{base + "tls = yes\ntls_cert_file = /nonexistent", "open /nonexistent: no such file or directory"},
	} {
		path := file(t, c[0])
		_, err := New(conf.Passdb{Args: path, Position: conf.Position{File: "d.conf", Line: 3}})
		if want := "Error in configuration file d.conf line 3: LDAP " + path + ": " + c[1]; err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", c[0], err, want)
		}
	}
}

func TestCacheVars_lists_what_the_answer_depends_on(t *testing.T) {
	t.Parallel()
	d := driverOf(t, "uris = ldap://127.0.0.1:1", "base = dc=%Dd", "pass_filter = (&(uid=%n)(host=%{lip}))", "auth_bind = yes", "auth_bind_userdn = uid=%{orig_user},dc=ex",
		"pass_attrs = =x=%{ldap:mail}%s,=y=%{rip},mail=z=%$%{ldap_dn}")
	got := d.(passdb.Cacheable).CacheVars()
	want := []string{"domain", "username", "lip", "orig_user", "service", "rip"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseURI(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]target{
		"ldap://a.example":         {network: "tcp", address: "a.example:389", host: "a.example"},
		"LDAPS://a.example/":       {network: "tcp", address: "a.example:636", host: "a.example", tls: true},
		"ldap://a:1389/dc=ex":      {network: "tcp", address: "a:1389", host: "a"},
		"ldap://[::1]":             {network: "tcp", address: "[::1]:389", host: "::1"},
		"ldap://[::1]:1389":        {network: "tcp", address: "[::1]:1389", host: "::1"},
		"ldap://":                  {network: "tcp", address: "localhost:389", host: "localhost"},
		"ldapi://%2Frun%2Fx/":      {network: "unix", address: "/run/x"},
		"ldapi:///run/slapd/ldapi": {network: "unix", address: "/run/slapd/ldapi"},
		"ldapi://":                 {network: "unix", address: "/var/run/slapd/ldapi"},
	} {
		want.uri = uri
		if got, err := parseURI(uri); err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", uri, got, err, want)
		}
	}
}
