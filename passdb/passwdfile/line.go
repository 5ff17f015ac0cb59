package passwdfile

import "strings"

// entry is what this driver reads of a line user:password:uid:gid:gecos:home:shell:extra fields.
type entry struct {
	password string // perhaps with a {SCHEME}
	extra    string // name=value words
}

// extraField is the index of the column that holds the extra fields and, after it, whatever else the line has:
// the fields may contain colons.
const extraField = 7

func parseLine(line string) entry {
	f := strings.SplitN(line, ":", extraField+1)
	var e entry
	if len(f) > 1 {
		e.password = typed(f[1])
	}
	if len(f) > extraField && !strings.HasPrefix(f[extraField], ":") {
		e.extra = f[extraField] // empty with more behind it: the old format's MAIL field
	}
	return e
}

// typed reads libpam-pwdfile's "password[nn]": 34 is PLAIN-MD5, 56 DIGEST-MD5, any other number CRYPT.
func typed(p string) string {
	n := len(p)
	if n <= 4 || p[0] == '{' || p[0] == '$' || p[n-1] != ']' || p[n-4] != '[' {
		return p
	}
	switch hash := p[:n-4]; p[n-3 : n-1] {
	case "34":
		return "{PLAIN-MD5}" + hash
	case "56":
		return "{DIGEST-MD5}" + hash
	default:
		return "{CRYPT}" + hash
	}
}
