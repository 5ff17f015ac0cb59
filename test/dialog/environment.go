package dialog

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"dproxy/test/daemon"
)

// environment is the place a scenario runs in: its directory, its ports, and the names all of these have in texts.
type environment struct {
	base      string
	certs     *Certs
	free      *daemon.Ports
	ports     map[string]int // by placeholder: IMAP, X1, ...
	backends  map[string]*backend
	normalize *normalizer
}

func newEnvironment(certs *Certs, free *daemon.Ports) (*environment, error) {
	base, err := os.MkdirTemp("", "dp")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(base, 0o755); err != nil { // the proxy's processes are other users
		return nil, err
	}
	return &environment{
		base:      base,
		certs:     certs,
		free:      free,
		ports:     map[string]int{},
		backends:  map[string]*backend{},
		normalize: newNormalizer(base, certs.Dir),
	}, nil
}

func (e *environment) file(name string) string { return filepath.Join(e.base, name) }

func (e *environment) remove() error { return os.RemoveAll(e.base) }

// port is the number behind a placeholder such as IMAP or X1. It is chosen when it is first asked for.
func (e *environment) port(placeholder string) (int, error) {
	if p, ok := e.ports[placeholder]; ok {
		return p, nil
	}
	p, err := e.free.Free("127.0.0.1")
	if err != nil {
		return 0, err
	}
	e.ports[placeholder] = p
	e.normalize.port(p, "@"+placeholder+"@")
	return p, nil
}

var (
	placeholder     = regexp.MustCompile(`@[A-Z][A-Z0-9_]*@`)
	portPlaceholder = regexp.MustCompile(`^(IMAPS?|POP3S?|LMTP|SUBMISSIONS?|SIEVE|X[1-4])$`)
)

// expand replaces the placeholders of a text.
func (e *environment) expand(text string) (string, error) {
	var failed error
	out := placeholder.ReplaceAllStringFunc(text, func(p string) string {
		value, err := e.value(strings.Trim(p, "@"))
		if err != nil {
			failed = err
		}
		return value
	})
	return out, failed
}

func (e *environment) value(name string) (string, error) {
	switch name {
	case "BASE":
		return e.base, nil
	case "CERTS":
		return e.certs.Dir, nil
	}
	if portPlaceholder.MatchString(name) {
		p, err := e.port(name)
		return strconv.Itoa(p), err
	}
	owner, part, _ := strings.Cut(name, "_")
	ip, port, err := e.backendAddress(owner)
	if err != nil {
		return "", err
	}
	switch part {
	case "IP":
		return ip, nil
	case "PORT":
		return strconv.Itoa(port), nil
	case "":
		return fmt.Sprintf("%s:%d", ip, port), nil
	}
	return "", fmt.Errorf("@%s@ is no placeholder", name)
}

// backendAddress is where a backend listens, or would if the scenario had it. The names are B1 to B8.
func (e *environment) backendAddress(name string) (ip string, port int, err error) {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "B"))
	if err != nil || n < 1 || n > 8 {
		return "", 0, fmt.Errorf("%s is no backend: the names are B1 to B8", name)
	}
	ip = fmt.Sprintf("127.0.0.1%d", n)
	if port = e.ports[name]; port != 0 {
		return ip, port, nil
	}
	if port, err = e.free.Free(ip); err != nil {
		return "", 0, err
	}
	e.ports[name] = port
	e.normalize.port(port, "@"+name+"@")
	return ip, port, nil
}
