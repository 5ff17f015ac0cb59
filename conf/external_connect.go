package conf

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// defaultMaxConns is how many connections Dovecot opens to each SQL host.
const defaultMaxConns = 5

// SQLConnect is the connect setting of a dovecot-sql.conf.ext, taken apart.
type SQLConnect struct {
	// Driver is mysql, pgsql or sqlite.
	Driver string
	// File is the database file of sqlite.
	File string
	// MaxConns is the number of connections to each host.
	MaxConns int
	// Hosts has one entry for each host=; one with an empty Name when there is none.
	Hosts []SQLHost
}

// SQLHost is one database server.
type SQLHost struct {
	// Name is the value of host=: a name, an address or the path of a socket. May be empty.
	Name string
	// Params are the other parameters. The last of several with the same name counts. From the 2.4 dialect MySQL
	// has ssl = yes, or any-cert where no certificate is verified.
	Params map[string]string
	// URI is set instead of the rest when the connect string of pgsql is a postgresql:// URI.
	URI string
	// MaxConns is the number of connections to this host when it has a bound of its own, else 0.
	MaxConns int
}

// ConnectTo parses the file's connect setting. Errors have Dovecot's wording.
func (f *SQLFile) ConnectTo() (*SQLConnect, error) {
	if f.Servers != nil {
		return f.Servers, nil
	}
	c := &SQLConnect{Driver: f.Driver, MaxConns: defaultMaxConns}
	switch f.Driver {
	case "sqlite":
		c.File = f.Connect
		return c, nil
	case "mysql", "pgsql":
	case "cassandra":
		return nil, fmt.Errorf("sql: Database driver 'cassandra' is not supported; use mysql, pgsql or sqlite in %s", f.Path)
	default:
		return nil, fmt.Errorf("sql: Unknown database driver '%s'", f.Driver)
	}
	var err error
	if f.Driver == "mysql" {
		err = c.mysql(f.Connect)
	} else {
		err = c.pgsql(f.Connect)
	}
	if err != nil {
		return nil, fmt.Errorf("sql: %w (connect in %s)", err, f.Path)
	}
	return c, nil
}

// poolWords takes the words that Dovecot's connection pool acts on out of a connect string.
func (c *SQLConnect) poolWords(text string) (hosts, rest []string, err error) {
	for word := range strings.SplitSeq(text, " ") {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "":
			if word == "" {
				continue
			}
			rest = append(rest, word)
		case "maxconns":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return nil, nil, fmt.Errorf("Invalid value for maxconns: %s", value)
			}
			if c.MaxConns = int(n); n == 0 {
				c.MaxConns = defaultMaxConns
			}
		case "host":
			hosts = append(hosts, value)
		default:
			rest = append(rest, word)
		}
	}
	return hosts, rest, nil
}

// mysqlParams are the parameters of mysql connect strings with the error of a bad number, if any.
var mysqlParams = map[string]string{
	"host": "", "hostaddr": "", "user": "", "password": "", "dbname": "",
	"port": "Invalid port number: ", "client_flags": "Invalid client flags: ",
	"connect_timeout": "Invalid connect_timeout: ", "read_timeout": "Invalid read_timeout: ", "write_timeout": "Invalid write_timeout: ",
	"ssl_cert": "", "ssl_key": "", "ssl_ca": "", "ssl_ca_path": "", "ssl_cipher": "", "ssl_verify_server_cert": "",
	"option_file": "", "option_group": "",
}

func (c *SQLConnect) mysql(text string) error {
	hosts, words, err := c.poolWords(text)
	if err != nil {
		return err
	}
	params := make(map[string]string, len(words))
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return fmt.Errorf("Missing value in connect string: %s", secretWord(w))
		}
		bad, known := mysqlParams[name]
		if !known {
			return fmt.Errorf("Unknown connect string: %s", name)
		}
		if bad != "" {
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil || name == "port" && (n == 0 || n > math.MaxUint16) {
				return errors.New(bad + value)
			}
		}
		if name == "ssl_verify_server_cert" && value != "yes" && value != "no" {
			return fmt.Errorf("Invalid boolean: %s", value)
		}
		params[name] = value
	}
	if addr := params["hostaddr"]; addr != "" {
		// Dovecot keeps one name for both, and the last one written wins.
		if len(hosts) == 0 {
			hosts = []string{addr}
		}
		for i := range hosts {
			hosts[i] = addr
		}
	}
	delete(params, "hostaddr")
	if len(hosts) == 0 {
		if params["option_file"] == "" {
			return errors.New("No hosts given in connect string")
		}
		hosts = []string{""}
	}
	for _, h := range hosts {
		c.Hosts = append(c.Hosts, SQLHost{Name: h, Params: params})
	}
	return nil
}

// secretWord names a word that was not understood. It may be a part of a password with a blank.
func secretWord(w string) string {
	if len(w) <= 2 {
		return w
	}
	return w[:2] + "..."
}

// pgsql takes a connect string apart as libpq does: name = value with quotes and backslashes, or a URI.
func (c *SQLConnect) pgsql(text string) error {
	hosts, words, err := c.poolWords(text)
	if err != nil {
		return err
	}
	rest := strings.Join(words, " ")
	if len(hosts) == 0 && (strings.HasPrefix(rest, "postgresql://") || strings.HasPrefix(rest, "postgres://")) {
		c.Hosts = []SQLHost{{URI: rest}}
		return nil
	}
	params, err := conninfo(rest)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		hosts = []string{params["host"]}
		delete(params, "host")
	}
	for _, h := range hosts {
		// A quoted host has stayed in one piece: it cannot hold a blank.
		if one, err := conninfo("host=" + h); err == nil {
			h = one["host"]
		}
		c.Hosts = append(c.Hosts, SQLHost{Name: h, Params: params})
	}
	return nil
}

// conninfo parses libpq's keyword/value strings (PostgreSQL 15 manual, 34.1.1.1).
func conninfo(s string) (map[string]string, error) {
	params := map[string]string{}
	const blank = " \t\n\v\f\r"
	for {
		s = strings.TrimLeft(s, blank)
		if s == "" {
			return params, nil
		}
		end := strings.IndexAny(s, "="+blank)
		if end < 0 {
			end = len(s)
		}
		name := s[:end]
		s = strings.TrimLeft(s[end:], blank)
		if !strings.HasPrefix(s, "=") {
			return nil, fmt.Errorf("Missing \"=\" after \"%s\" in connect string", secretWord(name))
		}
		value, rest, err := conninfoValue(strings.TrimLeft(s[1:], blank))
		if err != nil {
			return nil, err
		}
		params[name], s = value, rest
	}
}

func conninfoValue(s string) (value, rest string, err error) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, "'")
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '\\':
			if i+1 < len(s) {
				i++
				b.WriteByte(s[i])
			}
		case quoted && ch == '\'':
			return b.String(), s[i+1:], nil
		case !quoted && strings.IndexByte(" \t\n\v\f\r", ch) >= 0:
			return b.String(), s[i:], nil
		default:
			b.WriteByte(ch)
		}
	}
	if quoted {
		return "", "", errors.New("Unterminated quoted string in connect string")
	}
	return b.String(), "", nil
}
