package httpclient

import (
	"bytes"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// rawlog writes each exchange to a file of its own in a directory, while the directory exists. A nil rawlog writes nothing.
type rawlog struct {
	dir string
	n   atomic.Uint64
}

// tokens are the values of an answer's JSON that are as good as a password.
var tokens = regexp.MustCompile(`("(?:access_token|refresh_token|id_token)"\s*:\s*")(?:[^"\\]|\\.)*`)

// write notes a request with its answer or error. Secrets are replaced.
func (l *rawlog) write(s *Server, q Request, r *Response, err error) {
	if l == nil {
		return
	}
	if _, err := os.Stat(l.dir); err != nil {
		return
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", q.Method, orElse(q.URL, s.url))
	for _, name := range slices.Sorted(maps.Keys(q.Header)) {
		for _, v := range q.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&b, "\n%s\n\n", q.Form)
	if err != nil {
		fmt.Fprintf(&b, "Error: %v\n", err)
	} else {
		fmt.Fprintf(&b, "%s\n", r.Status)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			for _, v := range r.Header[name] {
				fmt.Fprintf(&b, "%s: %s\n", name, v)
			}
		}
		fmt.Fprintf(&b, "\n%s\n", r.Body)
	}
	name := fmt.Sprintf("%s.%d.%d.http", time.Now().Format("20060102-150405"), os.Getpid(), l.n.Add(1))
	// A log that cannot be written is no reason to refuse a login.
	_ = os.WriteFile(filepath.Join(l.dir, name), []byte(mask(b.String(), q.Secrets)), 0o600)
}

// mask replaces secrets in each form in which they travel.
func mask(text string, secrets []string) string {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, "<hidden>")
		}
	}
	return tokens.ReplaceAllString(text, "${1}<hidden>")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
