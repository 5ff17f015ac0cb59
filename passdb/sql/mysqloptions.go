package sql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// optionNames are the settings of an option file that a connection needs, with our names.
var optionNames = map[string]string{
	"host": "host", "user": "user", "password": "password", "database": "dbname", "port": "port", "socket": "socket",
	"ssl-ca": "ssl_ca", "ssl-capath": "ssl_ca_path", "ssl-cert": "ssl_cert", "ssl-key": "ssl_key",
	"ssl-verify-server-cert": "ssl_verify_server_cert",
}

// maxOptionFile bounds an option file, in bytes.
const maxOptionFile = 1 << 20

// readOptionFile reads one group of a MySQL option file such as .my.cnf (MySQL 8.0 manual, 4.2.2.2).
func readOptionFile(path, group string) (map[string]string, error) {
	st, err := os.Stat(path)
	if err == nil && st.Size() > maxOptionFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxOptionFile)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("option_file: %w", err)
	}
	set := map[string]string{}
	here := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' || line[0] == '!' {
			continue
		}
		if line[0] == '[' {
			here = strings.TrimSpace(strings.Trim(line, "[]")) == group
			continue
		}
		name, value, hasValue := strings.Cut(line, "=")
		ours, known := optionNames[strings.ReplaceAll(strings.TrimSpace(name), "_", "-")]
		if !here || !known {
			continue
		}
		value = optionValue(strings.TrimSpace(value))
		if ours == "ssl_verify_server_cert" {
			value = yesNo(value, hasValue)
		}
		set[ours] = value
	}
	return set, nil
}

func yesNo(value string, hasValue bool) string {
	switch strings.ToLower(value) {
	case "0", "off", "false", "no":
		return "no"
	case "":
		if hasValue {
			return "no"
		}
	}
	return "yes"
}

// optionValue removes quotes, a comment behind the value, and the escapes of option files.
func optionValue(v string) string {
	if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		v = v[1 : n-1]
	} else if i := strings.Index(v, " #"); i >= 0 {
		v = strings.TrimSpace(v[:i])
	}
	return strings.NewReplacer(`\b`, "\b", `\t`, "\t", `\n`, "\n", `\r`, "\r", `\s`, " ", `\\`, `\`).Replace(v)
}

// mysqlTLS makes the TLS settings of a connect string. As in Dovecot there is TLS when there are
// authorities to check the server with, or when ssl says so as 2.4 does. ssl_verify_server_cert=no leaves out the server's name only.
func mysqlTLS(set map[string]string) (*tls.Config, error) {
	switch {
	case set["ssl"] == "any-cert":
		return withClientCert(set, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	case set["ssl_ca"] != "" || set["ssl_ca_path"] != "":
	case set["ssl"] == "yes": // the system's authorities
		return withClientCert(set, &tls.Config{ServerName: serverName(set), MinVersion: tls.VersionTLS12})
	default:
		return nil, nil
	}
	roots := x509.NewCertPool()
	files := []string{}
	if f := set["ssl_ca"]; f != "" {
		files = append(files, f)
	}
	if dir := set["ssl_ca_path"]; dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(more) == 0 {
			return nil, fmt.Errorf("ssl_ca_path: no files in %s", dir)
		}
		files = append(files, more...)
	}
	found := false
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.IsDir() {
			continue
		}
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("ssl_ca: %w", err)
		}
		found = roots.AppendCertsFromPEM(pem) || found
	}
	if !found {
		return nil, fmt.Errorf("ssl_ca: no certificate in %s", strings.Join(files, ", "))
	}
	c := &tls.Config{RootCAs: roots, ServerName: serverName(set), MinVersion: tls.VersionTLS12}
	if set["ssl_verify_server_cert"] == "no" {
		c.InsecureSkipVerify = true // the chain is verified below
		c.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
	return withClientCert(set, c)
}

// withClientCert adds what shows the server who asks.
func withClientCert(set map[string]string, c *tls.Config) (*tls.Config, error) {
	if cert, key := set["ssl_cert"], set["ssl_key"]; cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("ssl_cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func serverName(set map[string]string) string {
	if h := set["host"]; h != "" && h[0] != '/' {
		return h
	}
	return "localhost"
}

func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}
