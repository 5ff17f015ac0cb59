package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// hosts finds the database servers of a driver: those of the section, or those of the top level.
func (d *passdb24) hosts(kind string) []*scope24 {
	for _, s := range []*scope24{d.s, d.convert24.s, d.root} {
		var out []*scope24
		for _, sub := range s.subs {
			if sub.kind == kind {
				out = append(out, sub)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func (d *passdb24) sql() error {
	f := &SQLFile{DefaultPassScheme: d.scheme()}
	f.Path = d.conf.position(d.s.pos).File
	f.Driver, _ = d.get("sql_driver", "")
	var err error
	if f.PasswordQuery, err = d.escaped("passdb_sql_query", ""); err != nil {
		return err
	}
	if f.UpdateQuery, err = d.escaped("passdb_sql_update_query", ""); err != nil {
		return err
	}
	switch {
	case f.Driver == "":
		return errors.New("sql_driver is not set")
	case f.PasswordQuery == "":
		return errors.New("query is not set")
	}
	switch f.Driver {
	case "sqlite":
		f.Connect, _ = d.get("sqlite_path", "")
	case "mysql", "pgsql":
		f.Servers, err = d.servers(f.Driver)
	default:
		return fmt.Errorf("sql_driver = %s is not supported; use mysql, pgsql or sqlite", f.Driver)
	}
	if err == nil && f.Connect == "" && f.Servers == nil {
		err = errors.New("no database is given: sqlite_path, mysql HOST { } or pgsql HOST { }")
	}
	if err != nil {
		return err
	}
	d.inline.SQL = f
	return d.setFields()
}

// servers reads the mysql HOST { } or pgsql HOST { } sections; nil when there is none.
func (d *passdb24) servers(driver string) (*SQLConnect, error) {
	c := &SQLConnect{Driver: driver, MaxConns: defaultMaxConns}
	for _, s := range d.hosts(driver) {
		h, err := d.server(driver, s)
		if err != nil {
			return nil, fmt.Errorf("%s %s { }: %w", driver, s.name, err)
		}
		c.Hosts = append(c.Hosts, h)
	}
	if c.Hosts == nil {
		return nil, nil
	}
	c.MaxConns = c.Hosts[0].MaxConns
	for i := range c.Hosts {
		if c.Hosts[i].MaxConns == c.MaxConns {
			c.Hosts[i].MaxConns = 0
		}
	}
	return c, nil
}

// server reads one database server.
func (d *passdb24) server(driver string, s *scope24) (SQLHost, error) {
	h := SQLHost{Name: s.name, Params: map[string]string{}, MaxConns: defaultMaxConns}
	encrypted := false
	for key, v := range s.vals {
		name, own := strings.CutPrefix(key, driver+"_")
		if !own {
			continue
		}
		n := names24()[key]
		switch {
		case name == "host":
			h.Name = v.text
		case name == "connection_limit":
			limit, err := strconv.ParseUint(v.text, 10, 31)
			if err != nil || limit == 0 {
				return h, fmt.Errorf("connection_limit = %s: it has to be a number above 0", v.text)
			}
			h.MaxConns = int(limit)
		case name == "ssl":
			on, _, _ := parseBool(v.text)
			encrypted = on != 0
		case n.typ == Time:
			ms, err := parseTime(v.text, true)
			if err != nil {
				return h, fmt.Errorf("%s: %w", name, err)
			}
			h.Params[name] = strconv.FormatUint(max(ms/1000, 1), 10)
		case v.text != "":
			h.Params[name] = v.text
		}
	}
	if l := s.strs[driver+"_parameters"]; l != nil {
		for _, k := range l.keys {
			h.Params[k] = l.vals[k].text
		}
	}
	if encrypted {
		d.serverTLS(s, h.Params)
	}
	return h, nil
}

// serverTLS adds what ssl_client_* say about the connection to a MySQL server.
func (d *passdb24) serverTLS(s *scope24, params map[string]string) {
	get := func(key string) string {
		if v, ok := s.find(key); ok {
			return v.text
		}
		text, _ := d.get(key, "")
		return text
	}
	params["ssl"] = "yes"
	for key, to := range map[string]string{
		"ssl_client_ca_file": "ssl_ca", "ssl_client_ca_dir": "ssl_ca_path", "ssl_client_cert_file": "ssl_cert", "ssl_client_key_file": "ssl_key",
	} {
		if text := get(key); text != "" {
			params[to] = text
		}
	}
	if strings.EqualFold(get("ssl_client_require_valid_cert"), "no") {
		params["ssl"] = "any-cert"
	}
}
