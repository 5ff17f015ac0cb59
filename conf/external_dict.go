package conf

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DictFile is a dovecot-dict-auth.conf.ext.
type DictFile struct {
	Path              string
	URI               string
	DefaultPassScheme string
	// Keys are the key sections, and those that password_key and user_key stand for.
	Keys []DictKey
	// PassdbObjects are the names of the keys whose values are JSON objects full of fields.
	PassdbObjects []string
	// PassdbFields are fields with templates, which may use %{dict:key} and %{dict:key.name}.
	PassdbFields []DictField
	// Warnings are what Dovecot would warn about while it reads the file.
	Warnings []string

	iteratePrefix, passdbObjects, userdbObjects string
	iterateDisable                              bool
}

// DictKey is one key section.
type DictKey struct {
	Name string
	Key  string // a template
	JSON bool   // else the value is a text
	// Default stands for a value that is not there. Without one there is no such user.
	Default    string
	HasDefault bool
	format     string
}

// DictField is one line of passdb_fields.
type DictField struct{ Name, Value string }

// LoadDictFile reads the file that a dict passdb's args name. Errors have Dovecot's wording.
func LoadDictFile(path string) (*DictFile, error) {
	if path == "" {
		return nil, errors.New("dict: Configuration file path not given")
	}
	f := &DictFile{Path: path, DefaultPassScheme: "MD5"}
	warnings, err := readExternalSections(path, externalKeys{
		"uri":                 &f.URI,
		"default_pass_scheme": &f.DefaultPassScheme,
		"iterate_prefix":      &f.iteratePrefix,
		"iterate_disable":     &f.iterateDisable,
		"passdb_objects":      &f.passdbObjects,
		"userdb_objects":      &f.userdbObjects,
		"password_key":        func(v string) error { f.object("passdb", v); return nil },
		"user_key":            func(v string) error { f.object("userdb", v); return nil },
		"value_format": func(v string) error {
			if v != "json" {
				return errors.New("Deprecated value_format must be 'json'")
			}
			return nil
		},
	}, f.section)
	if err != nil {
		return nil, fmt.Errorf("dict %s: %w", path, err)
	}
	f.Warnings = warnings
	for list, names := range map[string]string{"passdb_objects": f.passdbObjects, "userdb_objects": f.userdbObjects} {
		for name := range strings.FieldsSeq(names) {
			k := f.Find(name)
			switch {
			case k == nil:
				return nil, fmt.Errorf("dict: %s refers to key %s, which doesn't exist (in %s)", list, name, path)
			case !k.JSON:
				return nil, fmt.Errorf("dict: %s refers to key %s, but it's in value-only format (in %s)", list, name, path)
			case list == "passdb_objects":
				f.PassdbObjects = append(f.PassdbObjects, name)
			}
		}
	}
	if f.URI == "" {
		return nil, fmt.Errorf("dict %s: Empty uri setting", path)
	}
	return f, nil
}

// object is what the older settings password_key and user_key stand for.
func (f *DictFile) object(name, key string) {
	f.Keys = append(f.Keys, DictKey{Name: name, Key: key, JSON: true})
	if name == "passdb" {
		f.PassdbObjects = append(f.PassdbObjects, name)
	}
}

// Find returns the first key of a name, or nil.
func (f *DictFile) Find(name string) *DictKey {
	i := slices.IndexFunc(f.Keys, func(k DictKey) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Keys[i]
}

// section begins a section.
func (f *DictFile) section(kind, name string) (*externalSection, error) {
	switch kind {
	case "key":
		if strings.Contains(name, ".") {
			return nil, errors.New("Key section names must not contain '.'")
		}
		k := &DictKey{Name: name, format: "value"}
		return &externalSection{
			keys: externalKeys{
				"name": &k.Name, "key": &k.Key, "format": &k.format,
				"default_value": func(v string) error { k.Default, k.HasDefault = v, true; return nil },
			},
			end: func() error {
				if k.format != "value" && k.format != "json" {
					return errors.New("Unknown key format: " + k.format)
				}
				k.JSON = k.format == "json"
				f.Keys = append(f.Keys, *k)
				return nil
			},
		}, nil
	case "passdb_fields":
		return &externalSection{any: func(name, value string) {
			f.PassdbFields = append(f.PassdbFields, DictField{name, value})
		}}, nil
	case "userdb_fields":
		return &externalSection{any: func(string, string) {}}, nil
	}
	return nil, errors.New("Unknown section")
}

// DictRedis is the uri of a Redis server.
type DictRedis struct {
	Network, Address string // as of the package net
	DB               int
	Prefix           string // of all keys
	Password         string
	Timeout          time.Duration // of one lookup; 0: none is given
}

// Redis parses the file's uri. Errors have Dovecot's wording. Unlike Dovecot's, host= may be a name.
func (f *DictFile) Redis() (*DictRedis, error) {
	r, err := f.redis()
	if err != nil {
		return nil, fmt.Errorf("dict %s: Failed to init dict: %w", f.Path, err)
	}
	return r, nil
}

func (f *DictFile) redis() (*DictRedis, error) {
	driver, rest, ok := strings.Cut(f.URI, ":")
	switch {
	case !ok:
		return nil, fmt.Errorf("Dictionary URI is missing ':': %s", driver)
	case driver != "redis":
		return nil, fmt.Errorf("dict driver '%s' is not supported; use redis", driver)
	}
	host, port, path := "127.0.0.1", "6379", ""
	r := &DictRedis{}
	for word := range strings.SplitSeq(rest, ":") {
		name, value, _ := strings.Cut(word, "=")
		number := func(max uint64, what string) (uint64, error) {
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || n > max {
				return 0, fmt.Errorf("dict redis: Invalid %s: %s", what, value)
			}
			return n, nil
		}
		var n uint64
		var err error
		switch {
		case !strings.Contains(word, "="):
			err = fmt.Errorf("dict redis: Unknown parameter: %s", secretWord(word))
		case name == "path":
			path = value
		case name == "host":
			if host = value; host == "" {
				err = errors.New("dict redis: Invalid IP: ")
			}
		case name == "port":
			n, err = number(65535, "port")
			if port = value; n == 0 && err == nil {
				err = errors.New("dict redis: Invalid port: " + value)
			}
		case name == "prefix":
			r.Prefix = value
		case name == "db":
			n, err = number(1<<31, "db number")
			r.DB = int(n)
		case name == "expire_secs":
			_, err = number(1<<31, "expire_secs")
		case name == "timeout_msecs":
			n, err = number(1<<31, "timeout_msecs")
			r.Timeout = time.Duration(n) * time.Millisecond
		case name == "password":
			r.Password = value
		default:
			err = fmt.Errorf("dict redis: Unknown parameter: %s", name)
		}
		if err != nil {
			return nil, err
		}
	}
	if r.Network, r.Address = "tcp", net.JoinHostPort(host, port); path != "" {
		r.Network, r.Address = "unix", path
	}
	return r, nil
}
