package conf

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// HTTPFile is the configuration of the http passdb: an auth_http service of nginx's mail proxy. Dovecot has no such
// driver; the names of the keys are dproxy's.
type HTTPFile struct {
	Path string
	// URLs are the servers in the order to try: http://, https:// and unix:PATH:/URI.
	URLs []string
	// Headers are added to each request, in their order: name and template.
	Headers [][2]string
	// Timeout bounds the answer of one server.
	Timeout time.Duration
	// MaxWait bounds Auth-Wait.
	MaxWait                     time.Duration
	MaxParallelConnections      uint
	StrictStatus                bool   // a status that is not 2xx is a fault whatever the headers say
	PassClientCert              bool   // send Auth-SSL-Cert
	CacheKey                    string // a template whose variables the answers depend on; empty: nothing is cached
	RawlogDir                   string
	TLSCACertFile, TLSCACertDir string // paths, as the next two
	TLSCertFile, TLSKeyFile     string
	TLSAllowInvalidCert         bool
	Warnings                    []string
}

const (
	// maxHTTPHeaders bounds the extra headers of the http passdb.
	maxHTTPHeaders = 32
	// defaultHTTPTimeout lets two servers be tried within the time of one lookup.
	defaultHTTPTimeout = 4 * time.Second
	// defaultHTTPMaxWait is the longest that a client is held because of Auth-Wait.
	defaultHTTPMaxWait = 15 * time.Second
)

func newHTTPFile(path string) *HTTPFile {
	return &HTTPFile{Path: path, Timeout: defaultHTTPTimeout, MaxWait: defaultHTTPMaxWait, MaxParallelConnections: 64}
}

// LoadHTTPFile reads the args of an http passdb: the path of a file of "key = value" lines, or URLs and key=value words.
func LoadHTTPFile(args string) (*HTTPFile, error) {
	f := newHTTPFile(args)
	var k httpKeys
	var err error
	switch {
	case strings.TrimSpace(args) == "":
		return nil, errors.New("http: no server is given; set args to its URL or to the path of a file")
	case strings.HasPrefix(args, "/"):
		f.Warnings, err = readExternal(args, k.keys(f))
	default:
		f.Path = "args"
		err = k.words(f, args)
	}
	if err == nil {
		err = k.finish(f)
	}
	if err != nil {
		return nil, fmt.Errorf("http %s: %w", f.Path, err)
	}
	return f, nil
}

// httpKeys are the values that need more than to be copied.
type httpKeys struct {
	url, timeout, maxWait, headers string
}

func (k *httpKeys) keys(f *HTTPFile) externalKeys {
	return externalKeys{
		"url":                      &k.url,
		"timeout":                  &k.timeout,
		"max_wait":                 &k.maxWait,
		"headers":                  &k.headers,
		"max_parallel_connections": &f.MaxParallelConnections,
		"strict_status":            &f.StrictStatus,
		"pass_client_cert":         &f.PassClientCert,
		"cache_key":                &f.CacheKey,
		"rawlog_dir":               &f.RawlogDir,
		"tls_ca_cert_file":         &f.TLSCACertFile,
		"tls_ca_cert_dir":          &f.TLSCACertDir,
		"tls_cert_file":            &f.TLSCertFile,
		"tls_key_file":             &f.TLSKeyFile,
		"tls_allow_invalid_cert":   &f.TLSAllowInvalidCert,
	}
}

// words reads the form without a file.
func (k *httpKeys) words(f *HTTPFile, args string) error {
	x := externalFile{keys: k.keys(f)}
	for word := range strings.FieldsSeq(args) {
		name, value, ok := strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(word, "http://"), strings.HasPrefix(word, "https://"), strings.HasPrefix(word, "unix:"):
			k.url += " " + word
		case !ok:
			return fmt.Errorf("%q is neither a URL nor key=value", word)
		case name == "url":
			k.url += " " + value
		default:
			if err := x.set(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *httpKeys) finish(f *HTTPFile) error {
	f.URLs = strings.Fields(k.url)
	for _, t := range []struct {
		name, text string
		to         *time.Duration
	}{{"timeout", k.timeout, &f.Timeout}, {"max_wait", k.maxWait, &f.MaxWait}} {
		if t.text == "" {
			continue
		}
		n, err := parseTime(t.text, true)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		*t.to = time.Duration(n) * time.Millisecond
	}
	if err := f.addHeaders(k.headers); err != nil {
		return err
	}
	return f.check()
}

// addHeaders takes "Name: value; Name: value" apart.
func (f *HTTPFile) addHeaders(text string) error {
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return errors.New("headers: each needs the form Name: value, several are separated by ;")
		}
		f.Headers = append(f.Headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return nil
}

func (f *HTTPFile) check() error {
	switch {
	case len(f.URLs) == 0:
		return errors.New("no url is given")
	case f.Timeout <= 0 || f.Timeout > time.Minute:
		return errors.New("timeout must be more than 0 and at most 60 secs")
	case f.MaxWait < 0 || f.MaxWait > time.Minute:
		return errors.New("max_wait must be at most 60 secs")
	case len(f.Headers) > maxHTTPHeaders:
		return fmt.Errorf("more than %d headers", maxHTTPHeaders)
	}
	for _, u := range f.URLs {
		if path, ok := strings.CutPrefix(u, "unix:"); ok {
			if !strings.HasPrefix(path, "/") {
				return errors.New("url: unix: must be followed by an absolute path")
			}
			continue
		}
		if err := checkHTTPURL(u); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	return nil
}
