package conf

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

const (
	// modifierLetters are the value modifiers of Dovecot 2.3, at most maxModifiers of them a variable.
	modifierLetters = "LUEXRHNMDT"
	maxModifiers    = 10
	maxNumber       = 1<<31 - 1
	// maxPadding bounds what zeros one variable may add.
	maxPadding = 1 << 16
)

// modifiers change the value of a variable: letters from left to right, then offset and width.
type modifiers struct {
	letters string
	// offset is how many bytes to skip; negative: how many to keep at the end.
	offset int
	// width is how many bytes to keep; negative: how many to drop at the end; 0: all.
	width int
	zero  bool // pad with zeros to width instead of cutting
}

func (m *modifiers) none() bool { return m.letters == "" && m.offset == 0 && m.width == 0 }

func (m modifiers) apply(s string) string {
	for i := range len(m.letters) {
		s = m.change(m.letters[i], s)
	}
	return m.cut(s)
}

// change applies one letter. H and N use up offset and width.
func (m *modifiers) change(letter byte, s string) string {
	switch letter {
	case 'L':
		return mapASCII(s, 'A', 'Z')
	case 'U':
		return mapASCII(s, 'a', 'z')
	case 'E':
		return escapeQuotes.Replace(s)
	case 'X':
		return hexOf(s)
	case 'R':
		b := []byte(s)
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return string(b)
	case 'H':
		h := stringHash(s)
		if m.width != 0 {
			h %= uint32(m.width)
		}
		return m.hashed(h)
	case 'N':
		sum := md5.Sum([]byte(s))
		h := binary.BigEndian.Uint64(sum[:8])
		if m.width != 0 {
			h %= uint64(m.width)
		}
		return m.hashed(uint32(h))
	case 'M':
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	case 'D':
		return strings.ReplaceAll(s, ".", ",dc=")
	case 'T':
		return strings.TrimRight(s, " \t\n\v\f\r")
	}
	return s
}

var escapeQuotes = strings.NewReplacer(`'`, `\'`, `"`, `\"`, `\`, `\\`)

func (m *modifiers) hashed(h uint32) string {
	s := strconv.FormatUint(uint64(h), 16)
	if n := min(m.offset, maxPadding) - len(s); n > 0 {
		s = strings.Repeat("0", n) + s
	}
	m.offset, m.width = 0, 0
	return s
}

func (m *modifiers) cut(s string) string {
	switch {
	case m.offset < 0:
		if n := -m.offset; len(s) > n {
			s = s[len(s)-n:]
		}
	default:
		s = s[min(m.offset, len(s)):]
	}
	switch {
	case m.width == 0:
	case m.zero:
		if n := min(m.width, maxPadding) - len(s); n > 0 {
			s = strings.Repeat("0", n) + s
		}
	case m.width < 0:
		// Dropping more than there is keeps everything, as seen with Dovecot 2.3.19.
		if n := len(s) + m.width; n >= 0 {
			s = s[:n]
		}
	default:
		s = s[:min(m.width, len(s))]
	}
	return s
}

// mapASCII flips the case of the letters between from and to.
func mapASCII(s string, from, to byte) string {
	for i := range len(s) {
		if s[i] < from || s[i] > to {
			continue
		}
		b := []byte(s)
		for ; i < len(b); i++ {
			if b[i] >= from && b[i] <= to {
				b[i] ^= 0x20
			}
		}
		return string(b)
	}
	return s
}

// hexOf prints a decimal number in hex; anything else counts as 0.
func hexOf(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return "0"
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return "0"
	}
	return strconv.FormatUint(n, 16)
}

// stringHash is the PJW hash, which Dovecot's %H is.
func stringHash(s string) uint32 {
	var h uint32
	for i := range len(s) {
		h = h<<4 + uint32(s[i])
		if g := h & 0xf0000000; g != 0 {
			h ^= g >> 24
			h ^= g
		}
	}
	return h
}
