package conf

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds what a value of the form <file may hold.
const maxFile = 16 << 20

// resolve returns the text of an assignment. raw tells that a <file or a $reference is still in it.
func (p *parser) resolve(l line) (text string, raw bool, err error) {
	switch l.kind {
	case lineFile:
		if !p.opt.resolves() || !p.wantsFile(l.key) {
			return "<" + l.value, true, nil
		}
		text, err = p.readFile(p.top().path+l.key, p.relative(l.value))
		return text, false, err
	case lineReference:
		return p.expand(l.key, l.value)
	}
	return l.value, false, nil
}

// wantsFile tells whether the file of a setting is read: when serving only those that have an
// effect.
func (p *parser) wantsFile(key string) bool {
	if !p.opt.Serve {
		return true
	}
	f := p.top()
	n, last := f.bucket.root, key
	if f.path != "" {
		n = p.find(f.bucket, strings.TrimSuffix(f.path, "/"))
	}
	if n == nil || n.kind.listing == stringMap {
		return false
	}
	s := n.kind.row[last]
	return s != nil && s.Use == Used
}

// relative makes path relative to the directory of the current file.
func (p *parser) relative(path string) string {
	if strings.HasPrefix(path, "/") || p.in == nil {
		return path
	}
	if slash := strings.LastIndexByte(p.in.path, '/'); slash >= 0 {
		return p.in.path[:slash+1] + path
	}
	return path
}

func (p *parser) readFile(key, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: Can't open file %s: %s", key, path, errnoText(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: read(%s) failed: %s", key, path, errnoText(err))
	}
	if len(text) > maxFile {
		return "", fmt.Errorf("%s: %s is larger than %d bytes", key, filepath.Clean(path), maxFile)
	}
	if p.opt.Serve {
		// Dovecot keeps the newline, and so breaks the lines of the protocols.
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	return string(text), nil
}

// expand replaces the $references in text. When the file is only parsed, just the reference of a
// setting to itself is.
func (p *parser) expand(key, text string) (string, bool, error) {
	var b strings.Builder
	raw := false
	for {
		word, rest, more := strings.Cut(text, " ")
		name, isReference := strings.CutPrefix(word, "$")
		self := name == key
		switch {
		case !isReference:
			b.WriteString(word)
		case !p.opt.resolves() && !self:
			b.WriteString(word)
			raw = true
		case strings.HasPrefix(name, "ENV:"):
			b.WriteString(os.Getenv(name[len("ENV:"):]))
		default:
			v, err := p.lookup(name, self)
			if err != nil {
				return "", false, err
			}
			b.WriteString(v.text)
			raw = raw || v.raw
		}
		if !more {
			return b.String(), raw, nil
		}
		b.WriteByte(' ')
		text = trimBlanksLeft(rest)
		if b.Len() > maxLine {
			return "", false, tooLarge("Line is", maxLine)
		}
	}
}

// lookup returns the current value of a setting. A reference of a setting to itself looks at the
// enclosing blocks too; others see only the block they stand in and the defaults, as in Dovecot.
func (p *parser) lookup(name string, enclosing bool) (value, error) {
	for i := len(p.stack) - 1; i >= 0; i-- {
		b := p.stack[i].bucket
		n, key := b.root, name
		if slash := strings.LastIndexByte(name, '/'); slash >= 0 {
			n, key = p.find(b, name[:slash]), name[slash+1:]
		}
		if n == nil || n.kind.listing == stringMap {
			break
		}
		if n.kind.kind[key] != nil {
			return value{}, fmt.Errorf("Invalid variable: $%s", name)
		}
		s := n.kind.row[key]
		if s == nil {
			break
		}
		if s.Name != key {
			return value{}, fmt.Errorf("Invalid variable: $%s", name)
		}
		v, set := n.vals[key]
		if set || !enclosing || i == 0 {
			if !set {
				v.text = n.defaultText(s)
			}
			return v, nil
		}
	}
	return value{}, fmt.Errorf("Unknown variable: $%s", name)
}
