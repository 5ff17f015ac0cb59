package conf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// maxExternalFile bounds one external file, in bytes.
	maxExternalFile = 4 << 20
	// maxExternalFiles bounds how many files may be read at the same time.
	maxExternalFiles = 1000
)

// externalKeys are the settings of an external file: *string, *bool, *uint or func(string) error by name.
type externalKeys map[string]any

// externalSection is a section that is being read: its settings by name, or any.
type externalSection struct {
	keys externalKeys
	any  func(name, value string)
	end  func() error // may be nil
}

// externalFile reads a *.conf.ext with the files it includes. Its grammar differs from that of
// dovecot.conf: comments and blank lines do not end a continuation, the files of one !include are
// read last one first, sections are skipped (Dovecot 2.3.19, src/lib-settings).
type externalFile struct {
	keys     externalKeys
	stack    []*externalInput
	pending  string // the lines of a continuation so far
	skipping int    // how many skipped sections are open
	// sections begins a section by its kind and name; nil: sections are skipped.
	sections func(kind, name string) (*externalSection, error)
	section  *externalSection // the one that is open
	warnings []string
}

type externalInput struct {
	path string
	line int
	size int // bytes read so far
	r    *bufio.Reader
	f    *os.File
}

// readExternal reads path into keys and returns the warnings about it.
func readExternal(path string, keys externalKeys) ([]string, error) {
	return readExternalSections(path, keys, nil)
}

// readExternalSections is readExternal for a file whose sections mean something.
func readExternalSections(path string, keys externalKeys, sections func(kind, name string) (*externalSection, error)) ([]string, error) {
	x := &externalFile{keys: keys, sections: sections}
	defer func() {
		for len(x.stack) > 0 {
			x.pop()
		}
	}()
	if err := x.push(path); err != nil {
		return nil, fmt.Errorf("Can't open configuration file %s: %s", path, errnoText(err))
	}
	for len(x.stack) > 0 {
		in := x.stack[len(x.stack)-1]
		text, err := in.next()
		if err == io.EOF {
			x.pop()
			continue
		}
		if err == nil {
			err = x.physical(in, text)
		}
		if err != nil {
			return nil, &Error{Position{in.path, in.line}, err.Error()}
		}
	}
	return x.warnings, nil
}

func (x *externalFile) push(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		f.Close()
		return errors.New("Is a directory")
	}
	x.stack = append(x.stack, &externalInput{path: path, f: f, r: bufio.NewReader(io.LimitReader(f, maxExternalFile+1))})
	return nil
}

func (x *externalFile) pop() {
	last := len(x.stack) - 1
	x.stack[last].f.Close()
	x.stack = x.stack[:last]
}

// next returns a line without its end.
func (in *externalInput) next() (string, error) {
	text, err := in.r.ReadString('\n')
	if text == "" && err != nil {
		if err != io.EOF {
			err = fmt.Errorf("read(%s) failed: %s", in.path, errnoText(err))
		}
		return "", err
	}
	in.line++
	if in.size += len(text); in.size > maxExternalFile {
		return "", fmt.Errorf("the file is larger than %d MB", maxExternalFile>>20)
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), nil
}

// physical takes one line of a file: a comment, a part of a continuation or the end of one.
func (x *externalFile) physical(in *externalInput, text string) error {
	text = trimBlanksLeft(text)
	if text == "" || text[0] == '#' {
		return nil
	}
	text, ambiguous := stripComment(text)
	if ambiguous {
		x.warnings = append(x.warnings, fmt.Sprintf("Configuration file %s line %d: Ambiguous '#' character in line, treating it as comment. Add a space before it to remove this warning.", in.path, in.line))
	}
	text = strings.TrimRight(text, " \t")
	if before, more := strings.CutSuffix(text, `\`); more {
		x.pending += strings.TrimRight(before, " \t") + " "
		if len(x.pending) > maxExternalFile {
			return fmt.Errorf("the setting is longer than %d MB", maxExternalFile>>20)
		}
		return nil
	}
	text = x.pending + text
	x.pending = ""
	return x.logical(in, text)
}

// logical takes one complete line.
func (x *externalFile) logical(in *externalInput, text string) error {
	end := strings.IndexAny(text, " \t=")
	if end < 0 {
		end = len(text)
	}
	key, rest := text[:end], trimBlanksLeft(text[end:])
	switch {
	case key == "!include" || key == "!include_try":
		return x.include(in, rest, key == "!include_try")
	case strings.HasPrefix(rest, "="):
		if x.skipping > 0 {
			return nil
		}
		return x.set(key, externalValue(trimBlanksLeft(rest[1:])))
	case key == "}" && rest == "":
		return x.leave()
	}
	name := ""
	if !strings.HasPrefix(rest, "{") {
		if end := strings.IndexAny(rest, " \t"); end >= 0 {
			name, rest = rest[:end], trimBlanksLeft(rest[end:])
		}
	}
	if !strings.HasPrefix(rest, "{") {
		return errors.New("Expecting '='")
	}
	return x.enter(key, name)
}

// enter begins a section.
func (x *externalFile) enter(kind, name string) (err error) {
	switch {
	case x.sections == nil:
		x.skipping++
	case x.section != nil:
		return errors.New("Nested sections not supported")
	default:
		x.section, err = x.sections(kind, name)
	}
	return err
}

// leave ends a section.
func (x *externalFile) leave() error {
	s := x.section
	switch {
	case s == nil && x.skipping == 0:
		return errors.New("Unexpected '}'")
	case s == nil:
		x.skipping--
		return nil
	}
	x.section = nil
	if s.end == nil {
		return nil
	}
	return s.end()
}

// externalValue removes the quotes around a value, or replaces $ENV:NAME in one without quotes.
func externalValue(v string) string {
	if v == "" {
		return v
	}
	if q := v[0]; (q == '"' || q == '\'') && v[len(v)-1] == q {
		if len(v) == 1 {
			return ""
		}
		return unescape(v[1 : len(v)-1])
	}
	return expandEnvironment(v)
}

// expandEnvironment replaces $ENV:NAME at the start of v and after blanks. The name ends at a space.
func expandEnvironment(v string) string {
	const mark = "$ENV:"
	if !strings.Contains(v, mark) {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(v); {
		if (i > 0 && !isBlank(v[i-1])) || !strings.HasPrefix(v[i:], mark) {
			b.WriteByte(v[i])
			i++
			continue
		}
		name, _, _ := strings.Cut(v[i+len(mark):], " ")
		b.WriteString(os.Getenv(name))
		i += len(mark) + len(name)
	}
	return b.String()
}

func (x *externalFile) set(key, value string) error {
	keys := x.keys
	if x.section != nil {
		if x.section.any != nil {
			x.section.any(key, value)
			return nil
		}
		keys = x.section.keys
	}
	switch p := keys[key].(type) {
	case func(string) error:
		return p(value)
	case *string:
		*p = value
	case *bool:
		switch {
		case strings.EqualFold(value, "yes"):
			*p = true
		case strings.EqualFold(value, "no"):
			*p = false
		default:
			return errors.New("Invalid boolean: " + value)
		}
	case *uint:
		n, ok := leadingInteger(value)
		if !ok {
			return errors.New("Invalid number: " + value)
		}
		*p = n
	default:
		return errors.New("Unknown setting: " + key)
	}
	return nil
}

// leadingInteger reads a number as C's %i does: 0x and 0 prefixes count, what follows does not.
func leadingInteger(s string) (uint, bool) {
	s = strings.TrimLeft(s, " \t")
	s = strings.TrimPrefix(s, "+")
	base, digits := 10, "0123456789"
	switch {
	case len(s) > 2 && (strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")):
		base, digits, s = 16, "0123456789abcdefABCDEF", s[2:]
	case strings.HasPrefix(s, "0"):
		base, digits = 8, "01234567"
	}
	end := 0
	for end < len(s) && strings.IndexByte(digits, s[end]) >= 0 {
		end++
	}
	n, err := strconv.ParseUint(s[:end], base, 31)
	return uint(n), err == nil
}

// include opens the files that match pattern so that the last one is read first.
func (x *externalFile) include(in *externalInput, pattern string, try bool) error {
	if !strings.HasPrefix(pattern, "/") {
		if dir, _ := filepath.Split(in.path); dir != "" {
			pattern = dir + pattern
		}
	}
	files, err := globBraces(pattern)
	if err != nil {
		return err
	}
	if len(files) == 0 && !try {
		return errors.New("No matches")
	}
	for _, file := range files {
		for _, open := range x.stack {
			if open.path == file {
				return fmt.Errorf("Recursive include file: %s", file)
			}
		}
		if len(x.stack) >= maxExternalFiles {
			return fmt.Errorf("Couldn't open include file %s: more than %d files are open", file, maxExternalFiles)
		}
		if err := x.push(file); err != nil && !try {
			return fmt.Errorf("Couldn't open include file %s: %s", file, errnoText(err))
		}
	}
	return nil
}
