package conf

import (
	_ "embed"
	"strings"
	"sync"
)

// kind24 is what a name of the 2.4 dialect stands for.
type kind24 uint8

const (
	scalar24   kind24 = iota // name = value
	file24                   // name = path of a file
	flags24                  // a boolean list: name = a b, or name { a = yes }
	strings24                // a string list: name { key = value }
	filter24                 // name { }: the settings inside have the name as their prefix
	sections24               // name NAME { }
	free24                   // of a plugin: anything is allowed
)

// name24 is a setting or section of the 2.4 dialect.
type name24 struct {
	kind kind24
	typ  Type     // of a scalar
	row  *Setting // the row of the table, nil for what only 2.4 has and a proxy does not need
}

//go:embed names24.txt
var names24Text string

// names24 are all names that Dovecot 2.4.4 knows.
var names24 = sync.OnceValue(func() map[string]name24 {
	types := map[string]name24{
		"text": {}, "bool": {typ: Bool}, "number": {typ: Number}, "octal": {typ: Octal}, "port": {typ: Port},
		"time": {typ: Time}, "timems": {typ: TimeMS}, "size": {typ: Size}, "enum": {}, "file": {kind: file24},
		"boollist": {kind: flags24}, "strlist": {kind: strings24}, "filter": {kind: filter24}, "list": {kind: sections24},
	}
	names := map[string]name24{}
	for l := range strings.Lines(names24Text) {
		words := strings.Fields(l)
		if words[0] == "#" {
			continue
		}
		for _, n := range words[1:] {
			names[n] = types[words[0]]
		}
	}
	rows := schema().rows
	for i := range rows {
		s := &rows[i]
		key := s.Name
		if s.Name24 != "" {
			key = s.Name24
		}
		if s.Own {
			names[key] = name24{typ: s.Type}
		}
		if n, ok := names[key]; ok {
			n.row = s
			if s.Type == Enum {
				n.typ = Enum
			}
			names[key] = n
		}
	}
	return names
})

// pluginPrefixes start the names of settings that plugins outside of Dovecot's own tree add, or that
// come in several sections of one.
var pluginPrefixes = []string{
	"sieve", "managesieve_", "imapsieve_", "fts_", "language_", "obox_", "tokenizer", "textcat_", "metacache_", "dict_redis_",
}

// lookup24 finds a name.
func lookup24(name string) (name24, bool) {
	if n, ok := names24()[name]; ok {
		return n, true
	}
	for _, p := range pluginPrefixes {
		if strings.HasPrefix(name, p) {
			return name24{kind: free24}, true
		}
	}
	return name24{}, false
}
