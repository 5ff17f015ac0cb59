package conf

import (
	"maps"
	"slices"
)

// bothSides are the settings of TLS that count for clients and for backends, and may stand inside ssl_server { } or
// ssl_client { } for one of them. The ones of ssl_client have rows in the table that no 2.3 file can name.
var bothSides = []string{"ssl_cipher_list", "ssl_cipher_suites", "ssl_curve_list", "ssl_min_protocol"}

const clientSide = "ssl_client "

// side converts what is set inside ssl_server { } or ssl_client { } and is not called after it.
func (cv *convert24) side(s *scope24) error {
	for _, key := range slices.Sorted(maps.Keys(s.vals)) {
		v := s.vals[key]
		if err := cv.in(v.pos, func() error { return cv.sideSetting(s, key, v) }); err != nil {
			return err
		}
	}
	return nil
}

func (cv *convert24) sideSetting(s *scope24, key string, v value24) error {
	n := names24()[key]
	switch {
	case !slices.Contains(bothSides, key):
		return cv.setting(key, n, v)
	case s.kind == "ssl_client":
		return cv.assign23(clientSide+key, v.text, v.raw)
	}
	if err := cv.setting(key, n, v); err != nil {
		return err
	}
	// Backends keep what is set outside of the block.
	if in := s.parent.below("ssl_client"); in != nil {
		if _, own := in.vals[key]; own {
			return nil
		}
	}
	text := n.row.default24()
	if outer, ok := s.parent.find(key); ok {
		text = outer.text
	} else if outer, ok := cv.root.vals[key]; ok {
		text = outer.text
	}
	return cv.assign23(clientSide+key, text, false)
}
