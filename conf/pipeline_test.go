package conf

import "testing"

func TestPipelines(t *testing.T) {
	for _, tt := range []struct{ in, want, value string }{
		{"%{user}", "%u", "FooBar@Example.Com"},
		{"%{user | lower}", "%Lu", "foobar@example.com"},
		{"%{user|upper|lower}", "%ULu", "foobar@example.com"},
		{"%{user | username}", "%n", "FooBar"},
		{"%{user | domain | lower}.example", "%Ld.example", "example.com.example"},
		{"100% %%{user} %", "100%% %%{user} %%", "100% %{user} %"},
		{"%{protocol} %{local_ip} %{remote_port}", "%{service} %{lip} %{rport}", "imap 10.0.0.1 5555"},
		{"%{user | substr(1, 2)}", "%1.2u", "oo"},
		{"%{user | substr(3)}", "%3.9999u", "Bar@Example.Com"},
		{"%{user | substr(-3, 2)}", "%-3.2u", "Co"},
		{"%{user | username | reverse}", "%Rn", "raBooF"},
		{"%{literal('50%')}", "50%%", "50%"},
		{"%{passdb:host | default('h')}", "%{passdb:host:h}", "h"},
		{"%{user | default('x')}", "", ""},
		{"%{user | default}", "%u", "FooBar@Example.Com"},
		{"%{user | md5}", "%{md5:user}", "1f8132d32ca2cf775b6a601137a70505"},
		{"%{user | sha256 | hexlify(8)}", "%{sha256;truncate=32:user}", ""},
		{"%{user | sha1(rounds=3,salt='ab')}", "%{sha1;rounds=3,salt=ab:user}", ""},
		{"%{user | md5 | substr(0, 8) % 256 | hex}", "%256Nu", ""},
		{"%{user | md5 | substr(0, 8) % 256 | hex(2)}", "%2.256Nu", ""},
		{"%{user | lower | md5}", "", ""},
		{"%{user | regexp('a', 'b')}", "", ""},
		{"%{user | if('=', 'a', 'b', 'c')}", "", ""},
		{"%{port + 1000}", "", ""},
		{"%{user", "", ""},
		{"%{user | substr('a')}", "", ""},
		{"%{}", "", ""},
	} {
		got, err := template23(tt.in)
		if (err != nil) != (tt.want == "") || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.in, got, err, tt.want)
			continue
		}
		if tt.value == "" {
			continue
		}
		tmpl, err := ParseTemplate(got, AuthLetters)
		if err != nil {
			t.Fatal(err)
		}
		vars := map[string]string{
			"user": "FooBar@Example.Com", "username": "FooBar", "domain": "Example.Com", "service": "imap", "lip": "10.0.0.1", "rport": "5555",
		}
		value, err := tmpl.Expand(func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
		if err != nil || value != tt.value {
			t.Errorf("%s as %s: %q, %v, want %q", tt.in, got, value, err, tt.value)
		}
	}
}
