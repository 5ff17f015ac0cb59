package auth_test

import (
	"dproxy/passdb"
	"dproxy/passdb/passwdfile"
	"dproxy/passdb/sql"
	"dproxy/passdb/static"
)

// testDrivers are the real drivers that need no server.
func testDrivers() map[string]passdb.Factory {
	return map[string]passdb.Factory{"static": static.New, "passwd-file": passwdfile.New, "sql": sql.New}
}
