package ldap

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestExpand_escapes_after_modifiers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ template, user, domain, want string }{
		{"(uid=%n)", "bo*(b)", "", `(uid=bo\2A\28b\29)`},
		{"ou=%d,dc=x", "", "ex,am ple#x", `ou=ex\2Cam\20ple\23x,dc=x`},
		{"dc=%Dd", "", "sub.example.org", "dc=sub,dc=example,dc=org"},
		{"dc=%Dd", "", "a.b,dc=c", `dc=a\2Cdc\3Db\2Cdc\3Dc`},
		{"dc=%Dd", "", "a.b*(c", `dc=a,dc=b\2A\28c`},
		{"(uid=%1n)", "*x", "", `(uid=\2A)`},
		{"(uid=%Rn)", "a)", "", `(uid=\29a)`},
		{"(cn=%n.%d)", ",", "a.b", `(cn=\2C.a.b)`},
		{"%{if;%n;eq;x;(a=b);(c=d)}", "x", "", "(a=b)"},
		{"uid=%n,ou=%{if;%d;eq;;none;%d}", "x\x00\x7f\xff", "", `uid=x\00\7F\FF,ou=none`},
	} {
		v := func(name string) (string, bool) {
			return map[string]string{"username": c.user, "domain": c.domain}[name], name == "username" || name == "domain"
		}
		p, err := parse(c.template)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.expand(v); err != nil || got != c.want {
			t.Errorf("%s with %q, %q: %q %v, want %q", c.template, c.user, c.domain, got, err, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a", "*)(uid=*", `a\`, "#x", " a ", "a,dc=b", "\x00\xff", "é", "a+b=c;d<e>\"f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p, err := parse("%u")
		if err != nil {
			t.Fatal(err)
		}
		escaped, err := p.expand(func(name string) (string, bool) { return value, name == "user" })
		if err != nil {
			t.Fatal(err)
		}
		filter, err := ldap.CompileFilter("(&(uid=" + escaped + ")(x=y))")
		if err != nil {
			t.Fatalf("%q: %v", escaped, err)
		}
		if len(filter.Children) != 2 || len(filter.Children[0].Children) != 2 || filter.Children[0].Tag != ldap.FilterEqualityMatch ||
			filter.Children[0].Children[1].Data.String() != value {
			t.Errorf("%q became another filter", value)
		}
		if value == "" || strings.Contains(value, ",dc=") {
			return
		}
		dn, err := ldap.ParseDN("uid=" + escaped + ",dc=ex")
		if err != nil {
			t.Fatalf("%q: %v", escaped, err)
		}
		if len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != value {
			t.Errorf("%q became the DN %s", value, dn)
		}
	})
}
