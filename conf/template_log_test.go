package conf

import (
	"strings"
	"testing"
)

func loginVars(values map[string]string) Vars {
	return func(name string) (string, bool) { s, ok := values[name]; return s, ok }
}

const defaultElements = "user=<%u> method=%m rip=%r lip=%l mpid=%e %c session=<%{session}>"

func TestLogFormat(t *testing.T) {
	full := map[string]string{
		"user": "a", "username": "a", "mech": "PLAIN", "rip": "192.0.2.7", "lip": "192.0.2.1", "secured": "TLS", "session": "SID", "pid": "77",
	}
	none := map[string]string{}
	for _, tt := range []struct {
		name, format, elements string
		vars                   map[string]string
		want                   string
	}{
		{
			"the default with all values", "%$: %s", defaultElements, full,
			"Login: user=<a>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, TLS, session=<SID>",
		},
		{"empty elements are dropped, the user stays", "%$: %s", defaultElements, none, "Login: user=<>"},
		{"a modified user name stays too", "%$: %s", "a=%5.3Ln b=%d c=%{user}", none, "Login: a="},
		{"an element with a function stays", "%$: %s", "host=%{passdb:host}", none, "Login: host="},
		{"a function in a condition stays", "%$: %s", "%{if;%{passdb:host};eq;x;y;n}", none, "Login: n"},
		{"an element without variables is dropped", "%$: %s", "plain %u", none, "Login: "},
		{"several blanks are one", "%$: %s", "  %u   %r ", full, "Login: a, 192.0.2.7"},
		{"the process id is a variable", "%$: %s", "pid=%p host=%{hostname}", full, "Login: pid=77"},
		{"other formats", "[%s] %10$ %U$%%", "%u", full, "[a] Login LOGIN%"},
		{"the format without elements", "x %$", "%u", full, "x Login"},
		{"values are not expanded again", "%$: %s", "%u", map[string]string{"user": "%r%$%s"}, "Login: %r%$%s"},
		{"modified elements", "%US", "%u", full, ""},
		{"modified elements in upper case", "%Us", "%u %r", full, "A, 192.0.2.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := NewLogElements(tt.format, tt.elements)
			if tt.format == "%US" {
				if err == nil || !strings.Contains(err.Error(), "Failed to expand login_log_format=%US: Unknown variable '%S'") {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Line(loginVars(tt.vars), "Login"); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if got := f.Join(f.Elements(loginVars(tt.vars)), "Login"); got != tt.want {
				t.Errorf("in two steps\ngot  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestLogFormatMistake(t *testing.T) {
	f, err := NewLogElements("%$: %s", "%u x=%z%r y=%{nosuch} %l")
	if err == nil || err.Error() != "Failed to expand log_format_elements=x=%z%r: Unknown variable '%z'" {
		t.Errorf("got %v", err)
	}
	got := f.Line(loginVars(map[string]string{"user": "a", "rip": "192.0.2.7", "lip": "192.0.2.1"}), "Login")
	if want := "Login: a, x=UNSUPPORTED_VARIABLE_z192.0.2.7, 192.0.2.1"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzLogElements(f *testing.F) {
	f.Add("%$: %s", defaultElements, "user")
	f.Add("%Us%5$", "%{if;%u;eq;x;a;b}", "%u")
	f.Fuzz(func(t *testing.T, format, elements, user string) {
		if strings.Contains(format+elements, "rounds") || strings.Contains(format+elements, "pkcs5") {
			return
		}
		l, _ := NewLogElements(format, elements)
		l.Line(func(string) (string, bool) { return user, true }, user)
	})
}

func BenchmarkLogLine(b *testing.B) {
	f, err := NewLogElements("%$: %s", defaultElements)
	if err != nil {
		b.Fatal(err)
	}
	vars := func(name string) (string, bool) {
		if name == "mail_pid" {
			return "", true
		}
		return "some value", true
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Line(vars, "proxy(user,192.0.2.1:143): Started proxying to <192.0.2.1> (0.002 secs)")
	}
}
