package conf

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
)

// Options are how a file is read.
type Options struct {
	// Serve reads as a real service would: $references and <files are resolved, unknown ones, failed
	// checks and settings that cannot be honoured are errors. Without it the file is only parsed, as
	// by doveconf -n; Config.Check tells what a check found.
	Serve bool
	// Expand resolves $references and <files without the rest of Serve, as by doveconf -x.
	Expand bool
	// Lenient makes warnings of unknown settings and sections and passes over them.
	Lenient bool
	// Warn is called with each warning as it comes, so that those before an error are known too. It
	// may be nil.
	Warn func(text string)
	// Lookup finds the addresses of a host name in a local or remote block. Nil asks the system.
	Lookup func(host string) ([]netip.Addr, error)
}

func (o *Options) resolves() bool { return o.Serve || o.Expand }

func (o *Options) lookup(host string) ([]netip.Addr, error) {
	if o.Lookup != nil {
		return o.Lookup(host)
	}
	ips, err := net.LookupIP(host)
	var out []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	return out, err
}

// Config is one parsed configuration. It never changes after Load.
type Config struct {
	path     string
	files    []string
	buckets  []*bucket // in the order of the file, the global one first
	order    []*bucket // the most specific first
	warnings []string
	open     *frame // the innermost section that is not closed
	checked  *Error

	version24 string               // of the 2.4 dialect; empty for 2.3
	scopes    map[*bucket]*scope24 // what a 2.4 file says, for printing

	merged merged
}

// Load reads the file at path and everything it includes. The error is an *Error, or when the file
// itself cannot be opened "open(PATH) failed: ...".
func Load(path string, o Options) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open(%s) failed: %s", path, errnoText(err))
	}
	c := &Config{path: path}
	p := newParser(c, o)
	p.builtin = builtins()
	p.push(path, f)
	defer p.closeAll()
	if err := p.run(); err != nil {
		return nil, &Error{Position: c.position(p.pos()), Text: err.Error()}
	}
	if p.v24 != nil {
		if err := p.v24.finish(); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	return c, nil
}

// Defaults is the configuration of an empty file.
func Defaults() *Config {
	c := &Config{path: "<defaults>"}
	// Nothing is read, so nothing can fail.
	_ = newParser(c, Options{}).finish()
	return c
}

// finish makes the configuration ready to be asked.
func (p *parser) finish() error {
	c := p.conf
	if len(p.stack) > 1 {
		c.open = p.top()
	}
	c.order = slices.Clone(c.buckets)
	slices.SortStableFunc(c.order, func(a, b *bucket) int { return a.filter.compare(&b.filter) })
	for i, b := range c.order {
		b.rank = i
		b.links = nil
	}
	c.merged.build(c)
	if err := p.check(); err != nil {
		c.checked = &Error{Position: Position{File: c.path}, Text: err.Error()}
	}
	p.warnConflicts()
	if !p.opt.Serve {
		return nil
	}
	if err := c.Check(); err != nil {
		return err
	}
	return p.checkServe()
}

// position makes a Position of a pos.
func (c *Config) position(at pos) Position {
	if at.file < 0 || int(at.file) >= len(c.files) {
		return Position{File: c.path}
	}
	return Position{File: c.files[at.file], Line: int(at.line)}
}

// Warnings lists what Dovecot would warn about, in its words.
func (c *Config) Warnings() []string { return slices.Clone(c.warnings) }

// Path is the file that the configuration was loaded from.
func (c *Config) Path() string { return c.path }

// Check tells what the checks found that Dovecot runs after parsing: nil or an *Error. doveconf prints
// the configuration before it reports them.
func (c *Config) Check() error {
	if c.checked == nil {
		return nil
	}
	return c.checked
}
