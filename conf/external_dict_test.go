package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDictFileRefuses has the words of Dovecot 2.3.19.
func TestDictFileRefuses(t *testing.T) {
	const uri = "uri = redis:host=127.0.0.1\n"
	for text, want := range map[string]string{
		"password_key = x\n":                                      "Empty uri setting",
		uri + "value_format = xml\n":                              "line 2: Deprecated value_format must be 'json'",
		uri + "passdb_objects = zz\n":                             "dict: passdb_objects refers to key zz, which doesn't exist",
		uri + "key a {\n key = b\n}\npassdb_objects = a\n":        "dict: passdb_objects refers to key a, but it's in value-only format",
		uri + "userdb_objects = zz\n":                             "dict: userdb_objects refers to key zz, which doesn't exist",
		uri + "key a {\n key = b\n format = xml\n}\n":             "line 5: Unknown key format: xml",
		uri + "foo {\n}\n":                                        "line 2: Unknown section",
		uri + "key a.b {\n}\n":                                    "line 2: Key section names must not contain '.'",
		uri + "key a {\n foo = b\n}\n":                            "line 3: Unknown setting: foo",
		uri + "key a {\n key b {\n}\n}\n":                         "line 3: Nested sections not supported",
		uri + "foo = x\n":                                         "line 2: Unknown setting: foo",
		uri + "}\n":                                               "line 2: Unexpected '}'",
		"uri = redis:port=zz\n":                                   "Failed to init dict: dict redis: Invalid port: zz",
		"uri = redis:port=0\n":                                    "Failed to init dict: dict redis: Invalid port: 0",
		"uri = redis:db=zz\n":                                     "Failed to init dict: dict redis: Invalid db number: zz",
		"uri = redis:timeout_msecs=-1\n":                          "Failed to init dict: dict redis: Invalid timeout_msecs: -1",
		"uri = redis:foo=zz\n":                                    "Failed to init dict: dict redis: Unknown parameter: foo",
		"uri = redis\n":                                           "Failed to init dict: Dictionary URI is missing ':': redis",
		"uri = memcached:host=127.0.0.1\n":                        "Failed to init dict: dict driver 'memcached' is not supported; use redis",
		"uri = redis:password=with:colon\n":                       "Failed to init dict: dict redis: Unknown parameter: co...",
		uri + "key a {\n default_value = x\n}\npassdb_fields {\n": "",
	} {
		path := filepath.Join(t.TempDir(), "dict.conf.ext")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := LoadDictFile(path)
		if err == nil {
			_, err = f.Redis()
		}
		if want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: got %v\nwant %s", text, err, want)
		}
	}
}

func TestDictFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dict.conf.ext")
	if err := os.WriteFile(path, []byte(`uri = redis:host=redis.example.org:port=6380:db=3:prefix=mail/:timeout_msecs=500:password=secret
password_key = dovecot/passdb/%u
user_key = dovecot/userdb/%u
value_format = json
iterate_disable = yes
default_pass_scheme = SHA256
key quota {
  key = quota/%u
  format = value
  default_value =
}
passdb_fields {
  host = %{dict:quota}
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := LoadDictFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Redis()
	if err != nil {
		t.Fatal(err)
	}
	if want := (DictRedis{"tcp", "redis.example.org:6380", 3, "mail/", "secret", 500 * time.Millisecond}); *r != want {
		t.Errorf("got %+v", *r)
	}
	k := f.Find("passdb")
	if k == nil || !k.JSON || k.Key != "dovecot/passdb/%u" || k.HasDefault || len(f.PassdbObjects) != 1 || f.DefaultPassScheme != "SHA256" {
		t.Errorf("%+v %+v", k, f)
	}
	if k = f.Find("quota"); k == nil || k.JSON || !k.HasDefault || len(f.PassdbFields) != 1 || f.PassdbFields[0] != (DictField{"host", "%{dict:quota}"}) {
		t.Errorf("%+v %+v", k, f.PassdbFields)
	}
	f.URI = "redis:path=/run/redis.sock"
	if r, err = f.Redis(); err != nil || r.Network != "unix" || r.Address != "/run/redis.sock" {
		t.Errorf("%+v %v", r, err)
	}
}
