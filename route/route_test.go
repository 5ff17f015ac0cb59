package route

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/passdb"
)

// recorder keeps the log lines of what it hears.
type recorder struct{ lines []string }

func (r *recorder) Emit(e event.Event) {
	if l, ok := event.LineOf(e); ok {
		r.lines = append(r.lines, l.Level.String()+": "+l.Text)
	}
}

// hosts is a Resolver with fixed answers.
type hosts map[string][]string

func (h hosts) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	list, ok := h[host]
	if !ok {
		return nil, errors.New("server misbehaving")
	}
	return addrs(list...), nil
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// fields reads "name=value" words; "-" in a value is a blank.
func fields(text string) *passdb.Fields {
	f := &passdb.Fields{}
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		f.Set(name, value)
	}
	return f
}

func query(text string) Query {
	local := netip.MustParseAddrPort("192.0.2.1:143")
	return Query{
		Peer:     passdb.Peer{Service: "imap", Local: local, RealLocal: local, Remote: netip.MustParseAddrPort("198.51.100.7:4711")},
		User:     "u1",
		Password: "secret", HasPassword: true,
		Fields:   fields(text),
		Settings: &conf.Settings{LoginProxyTimeout: 30 * time.Second, SSLClientRequireValidCert: true, AuthProxySelf: "203.0.113.5 2001:db8::5"},
		Ports:    Ports{143, 993},
		Client:   event.Client{Service: "imap", User: "u1"},
	}
}

// shown is what the table tests compare of a target.
func shown(t Target) string {
	var b strings.Builder
	b.WriteString(t.Host + " " + t.Addr.String() + " user=" + t.User + " pass=" + string(t.Password))
	for _, x := range []struct {
		name, value string
	}{{"master", t.Master}, {"mech", t.Mech}, {"protocol", t.Protocol}} {
		if x.value != "" {
			b.WriteString(" " + x.name + "=" + x.value)
		}
	}
	if t.Source.IsValid() {
		b.WriteString(" from=" + t.Source.String())
	}
	b.WriteString([]string{"", " ssl", " starttls"}[t.TLS])
	for _, x := range []struct {
		name string
		on   bool
	}{{"any-cert", t.AnyCert}, {"noauth", t.NoAuth}, {"nopipelining", t.NoPipelining}, {"not-trusted", t.NotTrusted}, {"proxy1", t.ProxyHeader == 1}, {"proxy2", t.ProxyHeader == 2}} {
		if x.on {
			b.WriteString(" " + x.name)
		}
	}
	for _, o := range t.Others {
		b.WriteString(" or " + o.String())
	}
	for _, f := range t.Forward {
		b.WriteString(" " + f.Name + "=" + f.Value)
	}
	return b.String()
}

func TestTargets(t *testing.T) {
	res := hosts{"one.example": {"192.0.2.10"}, "two.example": {"192.0.2.11", "192.0.2.12", "192.0.2.11", "2001:db8::12"}, "me.example": {"192.0.2.99", "192.0.2.1"}}
	for _, tc := range []struct {
		name, fields string
		want         string // a target, or "error: TEXT"
		lines        []string
	}{
		{"host alone takes the defaults", "proxy host=192.0.2.10", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret", nil},
		{"ssl changes the default port", "proxy host=192.0.2.10 ssl", "192.0.2.10 192.0.2.10:993 user=u1 pass=secret ssl", nil},
		{"starttls does not", "proxy host=192.0.2.10 starttls", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret starttls", nil},
		{"starttls wins over ssl, whose port stays", "proxy host=192.0.2.10 ssl starttls", "192.0.2.10 192.0.2.10:993 user=u1 pass=secret starttls", nil},
		{"a port field wins over both", "proxy host=192.0.2.10 ssl port=1993", "192.0.2.10 192.0.2.10:1993 user=u1 pass=secret ssl", nil},
		{"any-cert on either flag counts", "proxy host=192.0.2.10 ssl=any-cert starttls", "192.0.2.10 192.0.2.10:993 user=u1 pass=secret starttls any-cert", nil},
		{
			"ssl=no means yes and is warned about", "proxy host=192.0.2.10 ssl=no", "192.0.2.10 192.0.2.10:993 user=u1 pass=secret ssl",
			[]string{"Warning: auth(u1,198.51.100.7): passdb field ssl=no means yes: its presence counts and not its value; leave the field out to switch it off"},
		},
		{"credentials", "proxy host=192.0.2.10 destuser=u2 pass=p2", "192.0.2.10 192.0.2.10:143 user=u2 pass=p2", nil},
		{"empty values count as not set", "proxy host=192.0.2.10 destuser= pass= master= port= hostip= source_ip= proxy_timeout= proxy_mech=", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret", nil},
		{"a master needs PLAIN", "proxy host=192.0.2.10 master=adm pass=p", "192.0.2.10 192.0.2.10:143 user=u1 pass=p master=adm mech=PLAIN", nil},
		{"proxy_mech is upper-cased", "proxy host=192.0.2.10 proxy_mech=xoauth2", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret mech=XOAUTH2", nil},
		{"an unknown mechanism", "proxy host=192.0.2.10 proxy_mech=foo", "error: Unsupported SASL mechanism foo", nil},
		{"flags by presence", "proxy host=192.0.2.10 proxy_noauth=n proxy_nopipelining proxy_not_trusted=0", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret noauth nopipelining not-trusted", nil},
		{"forward fields in order, any case of the prefix", "proxy host=192.0.2.10 forward_b=1 FORWARD_a=2", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret b=1 a=2", nil},
		{"no host", "proxy", "error: host not given", nil},
		{"an empty host", "proxy host=", "error: host not given", nil},
		{"a name resolves, duplicates go", "proxy host=two.example", "two.example 192.0.2.11:143 user=u1 pass=secret or 192.0.2.12:143 or [2001:db8::12]:143", nil},
		{"a source address keeps its family", "proxy host=two.example source_ip=127.0.0.9", "two.example 192.0.2.11:143 user=u1 pass=secret from=127.0.0.9 or 192.0.2.12:143", nil},
		{"hostip saves DNS and keeps the name", "proxy host=nowhere.example hostip=192.0.2.20", "nowhere.example 192.0.2.20:143 user=u1 pass=secret", nil},
		{"hostip wins over an address too", "proxy host=192.0.2.10 hostip=192.0.2.20", "192.0.2.10 192.0.2.20:143 user=u1 pass=secret", nil},
		{"a bad hostip beside an address", "proxy host=192.0.2.10 hostip=zzz", "error: Invalid hostip zzz", nil},
		{
			"a bad hostip beside a name is an auth failure", "proxy host=one.example hostip=zzz", "error: Invalid hostip in passdb",
			[]string{"Error: auth(u1,198.51.100.7): Invalid hostip in passdb: zzz"},
		},
		{"IPv6 with and without brackets", "proxy host=[2001:db8::10]", "[2001:db8::10] [2001:db8::10]:143 user=u1 pass=secret", nil},
		{"a v4-mapped address is v4", "proxy host=::ffff:192.0.2.10", "::ffff:192.0.2.10 192.0.2.10:143 user=u1 pass=secret", nil},
		{"an unusable source_ip is ignored", "proxy host=192.0.2.10 source_ip=zzz", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret", nil},
		{
			"a source_ip of the other family is warned about", "proxy host=2001:db8::10 source_ip=127.0.0.5", "2001:db8::10 [2001:db8::10]:143 user=u1 pass=secret",
			[]string{"Warning: net_connect_ip(): ip->family != my_ip->family (source_ip 127.0.0.5, destination 2001:db8::10)"},
		},
		{
			"a bad port is reported once and defaults", "proxy host=192.0.2.10 port=abc", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret",
			[]string{"Error: Auth service returned invalid port number: abc"},
		},
		{
			"port 0 and 65536 are bad", "proxy host=192.0.2.10 port=65536", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret",
			[]string{"Error: Auth service returned invalid port number: 65536"},
		},
		{
			"a bad timeout is reported and defaults", "proxy host=192.0.2.10 proxy_timeout=xx", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret",
			[]string{"Error: BUG: Auth service returned invalid proxy_timeout value 'xx': Invalid time interval: xx"},
		},
		{
			"an immediate-failure time needs a unit", "proxy host=192.0.2.10 proxy_host_immediate_failure_after=5", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret",
			[]string{"Error: BUG: Auth service returned invalid proxy_host_immediate_failure_after value '5': Time interval '5' is missing units (add e.g. 's' for seconds)"},
		},
		{"PROXY header v1", "proxy host=192.0.2.10 proxy_protocol=v1", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret proxy1", nil},
		{"PROXY header v2", "proxy host=192.0.2.10 proxy_protocol=v2", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret proxy2", nil},
		{"an unknown PROXY version fails closed", "proxy host=192.0.2.10 proxy_protocol=v3", "error: Invalid proxy_protocol v3; use v1, v2 or no", nil},
		{"a loop to this listener", "proxy host=192.0.2.1", "error: Proxying loops to itself", nil},
		{"a loop by name too, unlike Dovecot", "proxy host=me.example hostip=192.0.2.1", "error: Proxying loops to itself", nil},
		{"another user is no loop", "proxy host=192.0.2.1 destuser=u2", "192.0.2.1 192.0.2.1:143 user=u2 pass=secret", nil},
		{"another port is no loop", "proxy host=192.0.2.1 port=144", "192.0.2.1 192.0.2.1:144 user=u1 pass=secret", nil},
		{"proxy_maybe elsewhere is proxied", "proxy_maybe host=192.0.2.10", "192.0.2.10 192.0.2.10:143 user=u1 pass=secret", nil},
		{"proxy_maybe to the connection's address is local", "proxy_maybe host=192.0.2.1", "error: " + localText, nil},
		{"proxy_maybe with the same port is local", "proxy_maybe host=192.0.2.1 port=143 destuser=u2", "error: " + localText, nil},
		{"proxy_maybe with another port is proxied", "proxy_maybe host=192.0.2.1 port=1143", "192.0.2.1 192.0.2.1:1143 user=u1 pass=secret", nil},
		{"proxy_maybe to auth_proxy_self is local", "proxy_maybe host=203.0.113.5", "error: " + localText, nil},
		{"proxy_maybe to a v6 auth_proxy_self is local", "proxy_maybe host=2001:db8::5", "error: " + localText, nil},
		{"any address of a name can be this host", "proxy_maybe host=me.example", "error: " + localText, nil},
		{"hostip can be this host", "proxy_maybe host=192.0.2.10 hostip=192.0.2.1", "error: " + localText, nil},
		{"proxy and proxy_maybe act as proxy_maybe", "proxy proxy_maybe host=192.0.2.1", "error: " + localText, nil},
		{"proxy_maybe without host", "proxy_maybe", "error: host not given", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := &recorder{}
			got := ""
			targets, err := New(res, rec).Targets(t.Context(), query(tc.fields))
			if err != nil {
				got = "error: " + err.Error()
			} else {
				got = shown(targets[0])
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if !reflect.DeepEqual(rec.lines, tc.lines) {
				t.Errorf("lines %q\n want %q", rec.lines, tc.lines)
			}
		})
	}
}

const localText = "proxy_maybe: the destination is this host, and dproxy keeps no mail itself; set login_proxy_local, or give the user another host"

func TestPasswordRules(t *testing.T) {
	for _, tc := range []struct {
		name, fields string
		has          bool
		want         string
	}{
		{"a mechanism without plaintext needs pass", "proxy host=192.0.2.10", false, "password not given"},
		{"the test comes before that of the host", "proxy", false, "password not given"},
		{"pass is enough", "proxy host=192.0.2.10 pass=x", false, ""},
		{"an empty pass is not", "proxy host=192.0.2.10 pass=", false, "password not given"},
		{"an empty plaintext is a password", "proxy host=192.0.2.10", true, ""},
		{"proxy_noauth needs none", "proxy host=192.0.2.10 proxy_noauth", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := query(tc.fields)
			q.Password, q.HasPassword = "", tc.has
			_, err := New(hosts{}, event.Discard{}).Targets(t.Context(), q)
			if got := errText(err); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestLoopAfterOverriddenAddress(t *testing.T) {
	q := query("proxy host=192.0.2.1")
	q.Peer.Local = netip.MustParseAddrPort("203.0.113.80:143") // from a PROXY header
	_, err := New(hosts{}, event.Discard{}).Targets(t.Context(), q)
	var re *Error
	if !errors.As(err, &re) || !re.Loops() || re.Kind != Internal {
		t.Errorf("got %v", err)
	}
}

func TestLocalBackend(t *testing.T) {
	q := query("proxy_maybe host=192.0.2.1 port=143 destuser=other ssl")
	q.Local = netip.MustParseAddrPort("127.0.0.1:1143")
	got, err := New(hosts{}, event.Discard{}).Targets(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if want := "127.0.0.1 127.0.0.1:1143 user=u1 pass=secret"; shown(got[0]) != want {
		t.Errorf("got %s, want %s", shown(got[0]), want)
	}
}

func TestLMTPFieldsAreStrict(t *testing.T) {
	for _, tc := range []struct{ name, fields, want string }{
		{"the port of the incoming connection is the default", "proxy host=192.0.2.10", "192.0.2.10 192.0.2.10:2424 user=u1 pass="},
		{"protocol=lmtp is port 24", "proxy host=192.0.2.10 protocol=lmtp", "192.0.2.10 192.0.2.10:24 user=u1 pass= protocol=lmtp"},
		{"protocol=smtp is port 25", "proxy host=192.0.2.10 protocol=smtp", "192.0.2.10 192.0.2.10:25 user=u1 pass= protocol=smtp"},
		{"a port wins", "proxy host=192.0.2.10 protocol=smtp port=26", "192.0.2.10 192.0.2.10:26 user=u1 pass= protocol=smtp"},
		{"another protocol is an error", "proxy host=192.0.2.10 protocol=foo", "error: Unknown protocol foo"},
		{"a bad port is an error", "proxy host=192.0.2.10 port=abc", "error: Invalid port number abc"},
		{"a bad timeout is an error", "proxy host=192.0.2.10 proxy_timeout=xx", "error: Invalid proxy_timeout value xx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := query(tc.fields)
			q.Peer.Service, q.Ports, q.Password = "lmtp", Ports{2424, 2424}, ""
			targets, err := New(hosts{}, event.Discard{}).Targets(t.Context(), q)
			got := "error: " + errText(err)
			if err == nil {
				got = shown(targets[0])
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFlagWarningComesOnce(t *testing.T) {
	rec := &recorder{}
	r := New(hosts{}, rec)
	for range 3 {
		if _, err := r.Targets(t.Context(), query("proxy=n host=192.0.2.10 nopassword=0")); err != nil {
			t.Fatal(err)
		}
	}
	if len(rec.lines) != 2 {
		t.Errorf("lines: %q", rec.lines)
	}
}

func TestTimes(t *testing.T) {
	targets, err := New(hosts{}, event.Discard{}).Targets(t.Context(), query("proxy host=192.0.2.10 proxy_timeout=500ms proxy_host_immediate_failure_after=0 proxy_refresh=60"))
	if err != nil {
		t.Fatal(err)
	}
	if got := targets[0]; got.Timeout != 500*time.Millisecond || got.FailAfter != 0 || got.Refresh != time.Minute {
		t.Errorf("got %v %v %v", got.Timeout, got.FailAfter, got.Refresh)
	}
	targets, err = New(hosts{}, event.Discard{}).Targets(t.Context(), query("proxy host=192.0.2.10 proxy_timeout=0"))
	if err != nil {
		t.Fatal(err)
	}
	if got := targets[0]; got.Timeout != 30*time.Second || got.FailAfter != 30*time.Second {
		t.Errorf("defaults: %v %v", got.Timeout, got.FailAfter)
	}
}

func TestParseTimeout(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want time.Duration
		err  string
	}{
		{"5", 5 * time.Second, ""},
		{"0", 0, ""},
		{"5s", 5 * time.Second, ""},
		{"5 secs", 5 * time.Second, ""},
		{"5 sec", 5 * time.Second, ""},
		{"5SECONDS", 5 * time.Second, ""},
		{"2m", 2 * time.Minute, ""},
		{"2 mi", 2 * time.Minute, ""},
		{"2 min", 2 * time.Minute, ""},
		{"2ms", 2 * time.Millisecond, ""},
		{"2 millisecs", 2 * time.Millisecond, ""},
		{"1h", time.Hour, ""},
		{"1 day", 24 * time.Hour, ""},
		{"1w", 7 * 24 * time.Hour, ""},
		{"", 0, "Invalid time interval: "},
		{"s", 0, "Invalid time interval: s"},
		{"-5", 0, "Invalid time interval: -5"},
		{"5x", 0, "Invalid time interval: 5x"},
		{"5secsx", 0, "Invalid time interval: 5secsx"},
		{"5000000s", 0, "Time interval is too large: 5000000s"},
		{"99999999999999999999s", 0, "Invalid time interval: 99999999999999999999s"},
	} {
		t.Run(tc.in, func(t *testing.T) {
			got, err := ParseTimeout(tc.in)
			if got != tc.want || errText(err) != tc.err {
				t.Errorf("got %v, %q; want %v, %q", got, errText(err), tc.want, tc.err)
			}
		})
	}
}

func FuzzParseTimeout(f *testing.F) {
	for _, s := range []string{"5", "500ms", "1 week", "99999999999w", "m", "4294967295s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseTimeout(s); err == nil && d < 0 || err != nil && d != 0 {
			t.Fatalf("%q: %v, %v", s, d, err)
		}
		if d, err := parseInterval(s); err == nil && d%time.Second != 0 {
			t.Fatalf("%q: %v", s, d)
		}
	})
}
