package conf

import "errors"

// SQLFile is a dovecot-sql.conf.ext.
type SQLFile struct {
	Path                                 string
	Driver, Connect                      string
	DefaultPassScheme                    string
	PasswordQuery                        string
	UserQuery, UpdateQuery, IterateQuery string
}

// LoadSQLFile reads the file that a sql passdb's args name.
func LoadSQLFile(path string) (*SQLFile, error) { return nil, errors.New("not built yet") }
