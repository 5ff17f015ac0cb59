package conf

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// liveVars are the variables with which the values of TestTemplateLikeDovecot were recorded.
func liveVars(name string) (string, bool) {
	switch name {
	case "user":
		return "FooBar@Example.Com@Sub", true
	case "username":
		return "FooBar", true
	case "domain":
		return "Example.Com@Sub", true
	case "domain_first":
		return "Example.Com", true
	case "lport":
		return "143", true
	case "id":
		return "1", true
	case "pid":
		return "0", true
	case "home", "mech":
		return "", true
	case "passdb:host":
		return "192.0.2.1", true
	case "passdb:empty":
		return "", true
	case "ldap:", "ldap:mail":
		return "x@example.org", true
	}
	return "", false
}

// Recorded with Dovecot 2.3.19.1: a static passdb with one field a template, doveadm auth lookup.
func TestTemplateLikeDovecot(t *testing.T) {
	t.Setenv("DPROXY_TEMPLATE_TEST", "baR")
	for _, tt := range []struct{ in, want string }{
		{"%u", "FooBar@Example.Com@Sub"},
		{"%0.-30u", "FooBar@Example.Com@Sub"},
		{"%0.-3u", "FooBar@Example.Com@"},
		{"%-5u", "FooBa"},
		{"%5.0-3u", "r@Example.Com@Sub"},
		{"%{size:user}", "0000000000000016"},
		{"%{env:DPROXY_TEMPLATE_TEST}", "baR"},
		{"%5%", "%"},
		{"%{sha1;truncate=12:user}", "0937"},
		{"%{sha1;truncate=13:user}", "126f"},
		{"%0.-5Hu", "aa4e472"},
		{"%0.-5Nu", "39504dfd"},
		{"%7.11Hu", "0000003"},
		{"%7HHu", "36"},
		{"%{if;%a;>;100;yes}", "yes"},
		{`%{if;%{user};~;^F.*;a\;b;c}`, "a;b"},
		{"%Xu", "0"},
		{"%Xa", "8f"},
		{"%3.2LRu", "@m"},
		{"%Eu", "FooBar@Example.Com@Sub"},
		{"%!", "1"},
		{"%p", "0"},
		{"%{passdb:nope:de:f}", "de:f"},
		{"%{domain_first}", "Example.Com"},
		{"%5.Hu", "aa4e472"},
		{"%05.5Nu", "00001"},
		{"%LLLLLLLLLLu", "foobar@example.com@sub"},
		{"%{md4:user}", "df1008aee98824e268b1c9af5ea44197"},
		{"%{sha3-256:user}", "20319b66dc3281a6ec2f09099424a2a4b554a1efc8b46ebf4fb3cdda3a0daafb"},
		{"%{md5;format=hexuc:user}", "8739b27739504dfd46851b5b30e621d8"},
		{"%{sha512;rounds=2,truncate=100,format=base64,salt=a%u,b:user}", "AA5YX49MmhJzma5cDQ=="},
		{"%2.3n", "oBa"},
		{"%05n", "FooBar"},
		{"%010a", "0000000143"},
		{"%Dd", "Example,dc=Com@Sub"},
		{"%Tu", "FooBar@Example.Com@Sub"},
		{"%MUn", "F32A26E2A3A8AA338CD77B6E1263C535"},
		{`%{if;%u;~;[[\:upper\:]]oo*;y;n}`, "y"},
		{"%{if;abc;*;a?c;y;n}", "y"},
		{"%{if;%{if;%a;==;143;1;0};eq;1;%{md5:user};no}", "8739b27739504dfd46851b5b30e621d8"},
		{"%{md5:passdb:nope:user}", "ee11cbb19052e40b07aac0ca060c23ee"},
		{"%256LHn", "82"}, // recorded with lower case names, as the next one
		{"%2.256LNu", "fd"},
		{"%-3.2n", "Ba"},
		{"%-100.2n", "Fo"},
		{"%100.2n", ""},
		{"%5.00004u", "r@Example.Com@Sub"},
		{"%1.1M{user}", "7"},
		{"%{sha384;rounds=3:user}", "028b02e3964254fec2c434c0f8affbfffad6c6d55a790bf1698abfa7dedb03a0594752bb53c4bb0f4ab442575e983c9a"},
		{"%{sha3-512;truncate=1:user}", "01"},
		{"%{if;-5;<;3;a;b}", "a"},
		{`%{if;a\:b;eq;a\:b;y;n}`, "y"},
		{"100%", "100"},
		{"50%%", "50%"},
	} {
		if got := expandTemplate(t, tt.in); got != tt.want {
			t.Errorf("%s is %q, Dovecot says %q", tt.in, got, tt.want)
		}
	}
}

func TestTemplatePKCS5(t *testing.T) {
	got := expandTemplate(t, "%{pkcs5:user}")
	if !strings.HasPrefix(got, "a6e597d4724d57d5ac514389a0f9d97ab1fd2b98bf17c8aa") || !strings.HasSuffix(got, "35aea9337ec2fe99d0d0988c63d") {
		t.Errorf("got %s", got)
	}
	if len(got) != 2*pkcs5Length {
		t.Errorf("%d digits, want %d", len(got), 2*pkcs5Length)
	}
	got = expandTemplate(t, "%{pkcs5;rounds=10,salt=abc,truncate=64:user}")
	if !strings.HasPrefix(got, "7e4f48bcd55a834a0da06a3a2add158118d73232") || !strings.HasSuffix(got, "a4a409922b8632ab6559a67b362c13070") {
		t.Errorf("truncate after salt is not read: got %s", got)
	}
}

func TestTemplateConditions(t *testing.T) {
	for in, want := range map[string]string{
		"%{if;1;==;1;yes;no}":                  "yes",
		"%{if;1;!=;1;yes;no}":                  "no",
		"%{if;1;<=;2;yes;no}":                  "yes",
		"%{if;2;>=;3;yes;no}":                  "no",
		"%{if;a;ne;b;yes;no}":                  "yes",
		"%{if;a;lt;a;yes;no}":                  "no",
		"%{if;a;le;a;yes;no}":                  "yes",
		"%{if;a;ge;b;yes;no}":                  "no",
		"%{if;abc;*;*b*;yes;no}":               "yes",
		"%{if;abc;!*;*b*;yes;no}":              "no",
		"%{if;%{home};*;**;yes;no}":            "yes",
		"%{if;%{home};*;?;yes;no}":             "no",
		"%{if;this is test;~;^test;yes;no}":    "no",
		"%{if;this is test;!~;^test;yes;no}":   "yes",
		"%{if;1;==;2;yes}":                     "",
		"%{if;1;==;1;yes;}":                    "yes",
		"%U{if;1;==;1;yes;no}":                 "YES",
		"%{if;%n;eq;FooBar;%{passdb:host};-}":  "192.0.2.1",
		"%{if;%n;~;^%{username}$;same;other}x": "samex",
	} {
		if got := expandTemplate(t, in); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func TestTemplateMistakes(t *testing.T) {
	for _, tt := range []struct{ in, text, err string }{
		{"a%{nosuch}b", "aUNSUPPORTED_VARIABLE_nosuchb", "Unknown variable '%nosuch'"},
		{"%z", "UNSUPPORTED_VARIABLE_z", "Unknown variable '%z'"},
		{"%5MU{nosuch:default}", "UNSUPPORTED_VARIABLE_nosuch", "Unknown variable '%nosuch'"},
		{"%{user", "UNSUPPORTED_VARIABLE_{user", "Unknown variable '%{'"},
		{"%{md5:nosuch}", "", "Unknown variable '%nosuch'"},
		{"%{MD5:user}", "", "Unknown variable '%MD5'"},
		{"%LLLLLLLLLLLu", "UNSUPPORTED_VARIABLE_Lu", "Unknown variable '%L'"},
		{"%{if;}", "", "if: requires four or five parameters, got 0"},
		{"%{if:}", "", "if: missing parameter(s)"},
		{"%{if;1;==;2;}", "", "if: requires four or five parameters, got 3"},
		{"%{if;%u;~;[[:upper:]];y;n}", "", "if: requires four or five parameters, got 3"},
		{"%{if;1;fu;2;yes;no}", "", "if: Unsupported comparator 'fu'"},
		{"%{if;x;==;2;yes;no}", "", "if: x (lhs) is not a number"},
		{"%{if;1;==;;yes;no}", "", "if:  (rhs) is not a number"},
		{"%{if;1;==;1;yes;%{nosuch}}", "", "Unknown variable '%nosuch'"},
		{"%{md5;rounds=x:user}", "", "Cannot parse hash arguments:'x' is not number for rounds"},
		{"%{md5;rounds=0:user}", "", "Cannot parse hash arguments:rounds must be at least 1"},
		{"%{md5;truncate=-1:user}", "", "Cannot parse hash arguments:'-1' is not number for truncbits"},
		{"%{md5;format=oct:user}", "", "Cannot parse hash arguments:'oct' is not supported format"},
		{"%{ldap_ptr:x}", "UNSUPPORTED_VARIABLE_ldap_ptr", "Unknown variable '%ldap_ptr'"},
	} {
		tpl, err := ParseTemplate(tt.in, AuthLetters)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		text, err := tpl.Expand(liveVars)
		if err == nil || err.Error() != tt.err || text != tt.text {
			t.Errorf("%s is %q and %v, want %q and %s", tt.in, text, err, tt.text, tt.err)
		}
		if err := tpl.Walk(liveVars, func(string, bool) {}); err == nil {
			t.Errorf("%s: Walk tells no error", tt.in)
		}
	}
	tpl, _ := ParseTemplate("%{nosuch}", AuthLetters)
	_, err := tpl.Expand(liveVars)
	var unknown *UnknownVariableError
	if !errors.As(err, &unknown) || unknown.Name != "nosuch" {
		t.Errorf("got %#v, want an UnknownVariableError", err)
	}
}

func TestTemplateFunctions(t *testing.T) {
	host, _ := os.Hostname()
	for in, want := range map[string]string{
		"%{passdb:host}":         "192.0.2.1",
		"%{passdb:empty:x}":      "",
		"%{userdb:uid}":          "",
		"%{ldap:mail}":           "x@example.org",
		"%{ldap:none}":           "",
		"%{ldap:none:fall:back}": "fall:back",
		"%{hostname}":            host,
		"%{uid}":                 strconv.Itoa(os.Geteuid()),
		"%{env:NO_SUCH_NAME}":    "",
		"%{system:hostname}":     host,
	} {
		if got := expandTemplate(t, in); got != want {
			t.Errorf("%s is %q, want %q", in, got, want)
		}
	}
}

func TestTemplateWalk(t *testing.T) {
	for in, want := range map[string]string{
		"WHERE u = '%n@%d' LIMIT 1":             "WHERE u = '<FooBar>@<Example.Com@Sub>' LIMIT 1",
		"%{if;%a;==;143;a = '%n';b = '%n'} x%%": "a = '<FooBar>' x%",
		"%L{if;1;==;1;A %n;B}":                  "<a foobar>",
		"%{env:HOME_NOT_SET}%h":                 "<><>",
	} {
		tpl, err := ParseTemplate(in, AuthLetters)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		err = tpl.Walk(liveVars, func(text string, variable bool) {
			if variable {
				text = "<" + text + ">"
			}
			b.WriteString(text)
		})
		if err != nil || b.String() != want {
			t.Errorf("%s walks as %s (%v), want %s", in, b.String(), err, want)
		}
	}
}

func TestTemplateNames(t *testing.T) {
	tpl, err := ParseTemplate("%u%Lu%{if;%a;==;%{passdb:x:y};%{md5;salt=%r:session};}%{hostname}%{env:HOME}", AuthLetters)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"user", "lport", "passdb:x", "session", "rip"}
	if got := tpl.Names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTemplateDepth(t *testing.T) {
	deep := "x"
	for range 200 {
		deep = "%{if;1;==;1;" + deep + "}"
	}
	if _, err := ParseTemplate(deep, AuthLetters); err == nil {
		t.Error("200 conditions within each other are accepted")
	}
	deep = "%{" + strings.Repeat("md5:", 5000) + "user}"
	if _, err := ParseTemplate(deep, AuthLetters); err == nil {
		t.Error("5000 hashes within each other are accepted")
	}
}

func expandTemplate(t *testing.T, in string) string {
	t.Helper()
	tpl, err := ParseTemplate(in, AuthLetters)
	if err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	got, err := tpl.Expand(liveVars)
	if err != nil {
		t.Errorf("%s: %v", in, err)
	}
	return got
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"%u", "%-3.02LUn", "%{if;a;~;b;c;d}", "%{sha1;rounds=2,salt=%u:user}", "%{passdb:a:b}", "%", "%{", "%{\\}}"} {
		f.Add(s, "user@example.org")
	}
	f.Fuzz(func(t *testing.T, in, user string) {
		if strings.Contains(in, "rounds") || strings.Contains(in, "pkcs5") {
			return // slow on purpose
		}
		vars := func(string) (string, bool) { return user, true }
		tpl, err := ParseTemplate(in, AuthLetters)
		if err != nil {
			return
		}
		text, err := tpl.Expand(vars)
		var walked strings.Builder
		werr := tpl.Walk(vars, func(s string, _ bool) { walked.WriteString(s) })
		if (err == nil) != (werr == nil) {
			t.Fatalf("Expand says %v, Walk says %v", err, werr)
		}
		if err == nil && walked.String() != text {
			t.Fatalf("Walk gives %q, Expand %q", walked.String(), text)
		}
		if !strings.Contains(in, "%") && text != in {
			t.Fatalf("%q became %q", in, text)
		}
		tpl.Names()
	})
}

func BenchmarkTemplateExpand(b *testing.B) {
	tpl, err := ParseTemplate("uid=%Ln,ou=%d,host=%{passdb:host}", AuthLetters)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tpl.Expand(liveVars); err != nil {
			b.Fatal(err)
		}
	}
}
