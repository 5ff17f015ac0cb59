package static

import (
	"slices"
	"testing"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, args  string
		fields      []passdb.Field
		password    string
		hasPassword bool
		err         string
	}{
		{
			name: "fields keep the order of args and expand variables", args: "password=pw-%n destuser=%n host=imap-%d.example.net proxy=y hostip=192.0.2.9",
			fields:   []passdb.Field{{Name: "destuser", Value: "bob"}, {Name: "host", Value: "imap-ex.org.example.net"}, {Name: "proxy", Value: "y"}, {Name: "hostip", Value: "192.0.2.9"}},
			password: "pw-bob", hasPassword: true,
		},
		{name: "an empty password is a password", args: "password= proxy", fields: []passdb.Field{{Name: "proxy"}}, hasPassword: true},
		{name: "nopassword wins over a password", args: "nopassword=no password=foo", fields: []passdb.Field{{Name: "nopassword", Value: "no"}}},
		{name: "neither password nor nopassword", args: "user=%u", fields: []passdb.Field{{Name: "user", Value: "bob@ex.org"}}},
		{name: "there is no quoting", args: `host="a b"`, fields: []passdb.Field{{Name: "host", Value: `"a`}, {Name: `b"`}}},
		{name: "spaces between words do not count", args: "  a=1   b=2  ", fields: []passdb.Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}},
		{name: "only the first = splits", args: "x=a=b", fields: []passdb.Field{{Name: "x", Value: "a=b"}}},
		{name: "an unknown variable is an internal failure", args: "x=%{nosuch}", err: "Failed to expand template: Unknown variable '%nosuch'"},
		{name: "an unknown variable in the password too", args: "password=%z", err: "Failed to expand password=%z: Unknown variable '%z'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, err := New(conf.Passdb{Args: c.args})
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Lookup(t.Context(), &passdb.Request{User: "bob@ex.org"})
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Fields, c.fields) || string(got.Password) != c.password || got.HasPassword != c.hasPassword {
				t.Errorf("fields %v password %q %v, want %v %q %v", got.Fields, string(got.Password), got.HasPassword, c.fields, c.password, c.hasPassword)
			}
			if got.Status != passdb.OK || got.DefaultScheme != "PLAIN" {
				t.Errorf("status %v, scheme %s", got.Status, got.DefaultScheme)
			}
		})
	}
}

func TestNew_refuses_an_empty_field_name(t *testing.T) {
	t.Parallel()
	_, err := New(conf.Passdb{Args: "=bar", Position: conf.Position{File: "d.conf", Line: 3}})
	want := "Error in configuration file d.conf line 3: Invalid passdb template =bar - key must not be empty"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
