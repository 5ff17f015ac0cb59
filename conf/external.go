package conf

import (
	"errors"
	"fmt"
)

// SQLFile is a dovecot-sql.conf.ext.
type SQLFile struct {
	Path            string
	Driver, Connect string
	// Servers are the database servers when the configuration has them inline. Then Connect is empty.
	Servers                              *SQLConnect
	DefaultPassScheme                    string
	PasswordQuery                        string
	UserQuery, UpdateQuery, IterateQuery string
	UserdbWarningDisable                 bool
	// DefaultPasswordQuery tells that the file has no password_query and PasswordQuery is the one
	// Dovecot has built in.
	DefaultPasswordQuery bool
	// Warnings are what Dovecot would warn about while it reads the file.
	Warnings []string
}

// LoadSQLFile reads the file that a sql passdb's args name. Errors have Dovecot's wording.
func LoadSQLFile(path string) (*SQLFile, error) {
	if path == "" {
		return nil, errors.New("sql: Configuration file path not given")
	}
	f := &SQLFile{
		Path:              path,
		DefaultPassScheme: "MD5",
		UserQuery:         "SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'",
		UpdateQuery:       "UPDATE users SET password = '%w' WHERE username = '%n' AND domain = '%d'",
		IterateQuery:      "SELECT username, domain FROM users",
	}
	const query = "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'"
	f.PasswordQuery = query
	warnings, err := readExternal(path, externalKeys{
		"driver":                 &f.Driver,
		"connect":                &f.Connect,
		"default_pass_scheme":    &f.DefaultPassScheme,
		"password_query":         &f.PasswordQuery,
		"user_query":             &f.UserQuery,
		"update_query":           &f.UpdateQuery,
		"iterate_query":          &f.IterateQuery,
		"userdb_warning_disable": &f.UserdbWarningDisable,
	})
	f.Warnings = warnings
	f.DefaultPasswordQuery = f.PasswordQuery == query
	switch {
	case err != nil:
		return nil, fmt.Errorf("sql %s: %w", path, err)
	case f.Driver == "":
		return nil, fmt.Errorf("sql: driver not set in configuration file %s", path)
	case f.Connect == "":
		return nil, fmt.Errorf("sql: connect string not set in configuration file %s", path)
	}
	return f, nil
}
