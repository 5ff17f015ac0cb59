package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Bounds of one !include.
const (
	maxMatches = 10_000 // files
	maxPattern = 16_384 // bytes
)

// include opens the files that match pattern. They are read in sorted order.
func (p *parser) include(pattern string, try bool) error {
	files, err := globBraces(p.relative(pattern))
	if err != nil {
		return err
	}
	if len(files) == 0 && !try {
		return errors.New("No matches")
	}
	depth := p.in.depth + 1
	if depth > maxDepth && len(files) > 0 {
		return fmt.Errorf("Couldn't open include file %s: more than %d files include each other", files[0], maxDepth)
	}
	from := p.in
	// The last opened is read first.
	for i := len(files) - 1; i >= 0; i-- {
		err := p.open(files[i])
		var path *os.PathError
		switch {
		case errors.As(err, &path):
			if !try {
				p.backTo(from)
				return fmt.Errorf("Couldn't open include file %s: %s", files[i], errnoText(err))
			}
		case err != nil:
			p.backTo(from)
			return err
		default:
			p.in.depth = depth
		}
	}
	return nil
}

// backTo drops the inputs that were opened after in, so that an error is told of its line.
func (p *parser) backTo(in *input) {
	for p.in != in {
		p.pop()
	}
}

// globBraces expands {a,b} and then matches as glob(3) does. The matches of each alternative are
// sorted among themselves.
func globBraces(pattern string) ([]string, error) {
	tooMany := fmt.Errorf("More than %d files match %s", maxMatches, pattern)
	if len(pattern) > maxPattern {
		return nil, errors.New("No matches")
	}
	patterns, ok := expandBraces(pattern, maxMatches)
	if !ok {
		return nil, tooMany
	}
	var files []string
	for _, pat := range patterns {
		m, err := filepath.Glob(pat)
		if err != nil {
			// A bracket that is not closed stands for itself.
			m, _ = filepath.Glob(strings.ReplaceAll(pat, "[", `\[`))
		}
		m = withoutHidden(pat, m)
		sort.Strings(m)
		if files = append(files, m...); len(files) > maxMatches {
			return nil, tooMany
		}
	}
	return files, nil
}

// withoutHidden drops matches where a wildcard stands for a leading dot, which glob(3) refuses.
func withoutHidden(pattern string, files []string) []string {
	pp := strings.Split(filepath.Clean(pattern), "/")
	keep := files[:0]
next:
	for _, f := range files {
		ff := strings.Split(filepath.Clean(f), "/")
		for i := range ff {
			if i < len(pp) && strings.HasPrefix(ff[i], ".") && !strings.HasPrefix(pp[i], ".") &&
				!strings.HasPrefix(pp[i], `\.`) {
				continue next
			}
		}
		keep = append(keep, f)
	}
	return keep
}

// expandBraces returns the alternatives of a pattern like "a{b,c{d,e}}f". It is not ok when there are
// more than limit.
func expandBraces(pattern string, limit int) ([]string, bool) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}, limit > 0
	}
	depth, start, end := 0, open+1, -1
	var parts []string
	for i := open; i < len(pattern) && end < 0; i++ {
		switch pattern[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				parts = append(parts, pattern[start:i])
				end = i
			}
		case ',':
			if depth == 1 {
				parts = append(parts, pattern[start:i])
				start = i + 1
			}
		}
	}
	if end < 0 {
		return []string{pattern}, limit > 0
	}
	var out []string
	for _, part := range parts {
		more, ok := expandBraces(pattern[:open]+part+pattern[end+1:], limit-len(out))
		if !ok {
			return nil, false
		}
		out = append(out, more...)
	}
	return out, true
}
