package conf

import (
	"strings"
	"testing"
)

var pipelineVars = map[string]string{
	"user": "FooBar@Example.Com", "username": "FooBar", "domain": "Example.Com", "service": "imap", "lip": "10.0.0.1", "rport": "5555",
	"lport": "143", "rip": "192.0.2.9", "passdb:": "", "passdb:host": "h1", "passdb:list": "a\tb\tc", "passdb:empty": "", "passdb:num": "3",
	"passdb:b": "68656c6c6f", "passdb:hello": "hello", "passdb:uid": "1727121943", "passdb:subs": "user@test@domain", "ldap:": "", "ldap:mail": "m@x",
}

func pipelineVar(name string) (string, bool) { v, ok := pipelineVars[name]; return v, ok }

// TestPipelines writes 2.4 templates in the program's syntax and expands them.
func TestPipelines(t *testing.T) {
	t.Setenv("DPROXY_TEST_ENV", "from env")
	for _, tt := range []struct{ in, form, value string }{
		// What 2.3 has a form for is written so.
		{"%{user}", "%u", "FooBar@Example.Com"},
		{"%{user | lower}", "%Lu", "foobar@example.com"},
		{"%{user|upper|lower}", "%ULu", "foobar@example.com"},
		{"%{user | username}", "%n", "FooBar"},
		{"%{user | domain | lower}.example", "%Ld.example", "example.com.example"},
		{"100% %%{user} %", "100%% %%{user} %%", "100% %{user} %"},
		{"%{protocol} %{local_ip} %{remote_port}", "%{service} %{lip} %{rport}", "imap 10.0.0.1 5555"},
		{"%{user | username | reverse}", "%Rn", "raBooF"},
		{"%{user | default}", "%u", "FooBar@Example.Com"},
		{"%{sql:host}", "%{passdb:host}", "h1"},
		{"%{ldap:mail}", "%{ldap:mail}", "m@x"},
		// The rest is kept.
		{"%{}", "", ""},
		{"a%{}b", "", "ab"},
		{"%{user | substr(1, 2)}", "%{|user | substr(1, 2)}", "oo"},
		{"%{user | substr(-3, 2)}", "", "Co"},
		{"%{user | substr(3)}", "", "Bar@Example.Com"},
		{"%{user | substr(2, -2)}", "", "oBar@Example.C"},
		{"%{user | substr(18)}", "", ""},
		{"%{user | substr(19)}", "", "!substr: Offset out of bounds"},
		{"%{user | substr(1, 18)}", "", "!substr: Length out of bounds"},
		{"%{literal('50%')}", "", "50%"},
		{"%{literal('a}b')}", "", "a}b"},
		{`%{literal("\x41\101\t'")}`, "", "AA\t'"},
		{"%{lookup('user') | upper}", "", "FOOBAR@EXAMPLE.COM"},
		{"%{passdb:host | default('h')}", "", "h1"},
		{"%{passdb:no | default('h')}", "", "h"},
		{"%{passdb:empty | default(user)}", "", "FooBar@Example.Com"},
		{"%{nosuch | default('x y')}", "", "x y"},
		{"%{nosuch}", "", "!Unknown variable 'nosuch'"},
		{"%{user | concat('-', local_port, 7)}", "", "FooBar@Example.Com-1437"},
		{"%{concat(user, '!')}", "", "FooBar@Example.Com!"},
		{"%{passdb:hello | md5}", "", "5d41402abc4b2a76b9719d911017c592"},
		{"%{passdb:hello | sha1(rounds=1000,salt='world')}", "", "a314ec3ef5103223a4c5bd285dbe4ea5534d4334"},
		{"%{passdb:hello | hash('md5') | hexlify(8)}", "", "5d41402a"},
		{"%{passdb:hello | md5 | substr(4, 4)}", "", "bc4b2a76"},
		{"%{passdb:hello | md5 | substr(0, 8) % 256 | hex}", "", "76"},
		{"%{passdb:hello | md5 % 30 | hex(4)}", "", "0016"},
		{"%{passdb:hello | sha512 % 256 | hex}", "", "43"},
		{"%{local_port + 1000}", "", "1143"},
		{"%{local_port - 3 | hex}", "", "8c"},
		{"%{local_port * 2}", "", "286"},
		{"%{local_port / passdb:num}", "", "47"},
		{"%{local_port % 5}", "", "3"},
		{"%{local_port / 0}", "", "!calculate: Division must be by positive integer"},
		{"%{user + 1}", "", "!calculate: Input is not a number"},
		{"%{passdb:uid | hex(2)} %{passdb:uid | hex(-2)}", "", "17 66"},
		{"%{passdb:num | hex | unhex} %{passdb:num | hexlify(4)}", "", "3 0033"},
		{"%{passdb:b | unhexlify | text} %{passdb:b | unhexlify}", "", "hello 68656c6c6f"},
		{"%{passdb:hello | base64} %{passdb:hello | base64(pad=0)} %{passdb:hello | base64 | unbase64 | text}", "", "aGVsbG8= aGVsbG8 hello"},
		{"%{passdb:hello | truncate(4)} %{passdb:hello | truncate(passdb:num)} %{passdb:hello | truncate(bits=7)}", "", "hell hel 4"},
		{"%{user | domain | ldap_dn}", "", "Example,dc=Com"},
		{"%{literal('hello world') | regexp('(.*) (.*)', '$2 $1')}", "", "world hello"},
		{`%{literal('hello world') | regexp('(o).*', '[\\1]')}`, "", "hell[o]"},
		{"%{user | regexp('^nomatch$', 'x')}", "", "FooBar@Example.Com"},
		{"%{user | regexp('^([^@]{3}).*$', '${1}1')}", "", "Foo1"},
		{"%{passdb:subs | domain} %{passdb:subs | index('@', -1)} %{passdb:subs | index('@', 1)}", "", "test@domain domain test"},
		{"%{passdb:subs | index('@', 3)}", "", "!index: Position out of bounds"},
		{"%{passdb:subs | index('@', 3) | default('none')}", "", "none"},
		{"%{passdb:subs | index('@', 3) | upper}", "", "!index: Position out of bounds"},
		{"%{passdb:list | list} %{passdb:list | list(' ')}", "", "a,b,c a b c"},
		{"%{passdb:num | lfill(3)}%{passdb:num | rfill(3, ' ')}|", "", "0033  |"},
		{"%{literal('31') | unhexlify | text * 5}", "", "5"},
		{"%{literal('AB') | lenumber} %{literal('AB') | benumber}", "", "16961 16706"},
		{"%{if(local_port, '==', 143, 'plain', 'tls')}", "", "plain"},
		{"%{protocol | if('eq', 'pop3', 'p', user)}", "", "FooBar@Example.Com"},
		{"%{remote_ip | if('*', '192.*', 'in', 'out')}", "", "in"},
		{"%{user | if('~', '^[a-z]+@', 'low', 'mixed')}", "", "mixed"},
		{"%{user | if('==', 1, 'a', 'b')}", "", "!if: Input is not a number"},
		{"%{user | if('=', 'a', 'b', 'c')}", "", "!if: Unsupported comparator '='"},
		{"%{user | if('eq', 'a', 'b')}", "", "!if: Missing parameters"},
		{"%{local_port | switch('==', 993, 'tls', 143, 'plain', 'other')}", "", "plain"},
		{"%{local_port | switch('==', 993, 'tls', 'other')}", "", "other"},
		{"%{local_port | switch('==', 993, 'tls')}", "", "!switch: No default value provided"},
		{"%{user | lower | safe}", "", "foobar@example.com"},
		{"%{env:DPROXY_TEST_ENV} %{dovecot:name}", "", "from env Dovecot"},
		{"%{owner_user}", "%u", "FooBar@Example.Com"},
	} {
		got, err := template23(tt.in)
		if err != nil || tt.form != "" && got != tt.form {
			t.Errorf("%s: %q, %v, want %q", tt.in, got, err, tt.form)
			continue
		}
		word, err := word23(tt.in)
		if err != nil || strings.ContainsAny(word, " ,\t") {
			t.Errorf("%s as a word: %q, %v", tt.in, word, err)
		}
		for _, text := range []string{got, word} {
			tmpl, err := ParseTemplate(text, AuthLetters)
			if err != nil {
				t.Fatal(err)
			}
			value, err := tmpl.Expand(pipelineVar)
			if err != nil {
				value = "!" + err.Error()
			}
			if value != tt.value {
				t.Errorf("%s as %s: %q, want %q", tt.in, text, value, tt.value)
			}
		}
	}
}

func TestPipelinesThatAreRefused(t *testing.T) {
	for in, want := range map[string]string{
		"%{user":                                  "not closed",
		"%{user | substr(1}":                      "unexpected end",
		"%{user | 'x'}":                           "unexpected 'x'",
		"%{literal('\\z')}":                       "Invalid character escape",
		"%{user ! lower}":                         "unexpected '!'",
		"%{user | nosuch}":                        "No such function 'nosuch'",
		"%{user | regexp('(?=a)', 'b')}":          "the pattern (?=a) is not supported",
		"%{user | if('~', '(', 'b', 'c')}":        "the pattern ( is not supported",
		"%{user | encrypt(algorithm='aes')}":      "the filter encrypt is not supported",
		"%{user | safe | lower}":                  "safe filter must be last",
		"%{lookup(user)}":                         "only supported with a name in quotes",
		"%{ssl_client_cert_fp}":                   "the variable ssl_client_cert_fp is not supported",
		"%{event:x}":                              "variables of events are not supported",
		"%{nosuch:x}":                             "Unsupported prefix 'nosuch'",
		"%{user | default(99999999999999999999)}": "Not a number",
	} {
		if got, err := template23(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
}

// What an answer depends on decides what the cache may remember.
func TestPipelinesTellTheirVariables(t *testing.T) {
	for in, want := range map[string]string{
		"%{user | md5 | hexlify(2)}":                                     "user",
		"%{if(local_port, '==', remote_port, local_ip, user)}":           "lport rport lip user",
		"%{lookup('remote_ip')}":                                         "rip",
		"%{user | sha1(salt=session)}":                                   "user session",
		"%{literal('x')} %{env:HOME}":                                    "",
		"%{passdb:host | default(protocol)} %{sql:a | regexp('a', 'b')}": "passdb:host service passdb:a",
	} {
		text, err := template23(in)
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := ParseTemplate(text, AuthLetters)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tmpl.Names(), " "); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestPipelineValuesAreEscapedByTheCaller(t *testing.T) {
	text, err := template23("a %{user | regexp('o', \"'\") | safe} %{literal(\"'\")} b")
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := ParseTemplate(text, AuthLetters)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = tmpl.Walk(pipelineVar, func(text string, variable bool) {
		if variable {
			text = "<" + text + ">"
		}
		got = append(got, text)
	})
	if want := "a |<F'oBar@Example.Com>| |<'>| b"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if !usesSafe("%{user | safe}") || usesSafe("%{user} | safe") {
		t.Error("usesSafe")
	}
}

func FuzzPipeline(f *testing.F) {
	for _, s := range []string{
		"%{user | lower}", "%{user | regexp('(a+)', '${1}') | hex(2)}", "%{if(user, '~', '^a', 'b', local_port + 3)}", "x%%{y}%z", "%{literal('\\x41')}",
		"%{switch(user, 'eq', 'a', 'b', user)}", "%{user | sha1(rounds=3, salt='x') % 7 | lfill(9, 'ab')}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		plain, err := template23(in)
		word, wordErr := word23(in)
		if (err == nil) != (wordErr == nil) {
			t.Fatalf("%v, as a word %v", err, wordErr)
		}
		if err != nil || strings.Contains(in, "rounds") || strings.Contains(in, "hostname") {
			return // time is not the point here
		}
		if strings.ContainsAny(word, " ,") {
			t.Fatalf("%q is no word", word)
		}
		var out [2]string
		for i, text := range []string{plain, word} {
			tmpl, err := ParseTemplate(text, AuthLetters)
			if err != nil {
				return // nested too deeply
			}
			tmpl.Names()
			v, err := tmpl.Expand(pipelineVar)
			out[i] = v
			if err != nil {
				out[i] = err.Error()
			}
		}
		if out[0] != out[1] {
			t.Errorf("%q gives %q, as a word %q", in, out[0], out[1])
		}
	})
}
