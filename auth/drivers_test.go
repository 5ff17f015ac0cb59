package auth_test

import (
	"dproxy/passdb"
	"dproxy/passdb/ldap"
	"dproxy/passdb/passwdfile"
	"dproxy/passdb/sql"
	"dproxy/passdb/static"
)

// testDrivers are the real drivers that the recorded cases use.
func testDrivers() map[string]passdb.Factory {
	return map[string]passdb.Factory{"static": static.New, "passwd-file": passwdfile.New, "sql": sql.New, "ldap": ldap.New}
}
