package conf

import "errors"

// Options are how a file is read.
type Options struct {
	// Serve reads as a real service would: $references and <files are resolved, and unknown ones
	// are errors. Without it the file is only parsed and checked, as by doveconf -n.
	Serve bool
}

// Config is one parsed configuration. It never changes after Load.
type Config struct{}

// Load reads the file at path and everything it includes.
func Load(path string, o Options) (*Config, error) { return nil, errors.New("not built yet") }

// Warnings lists what Dovecot would warn about, in its words.
func (c *Config) Warnings() []string { return nil }

// Settings merges the blocks that match f. Equal sets of blocks give the same pointer; a call
// that has seen its set of blocks before does not allocate.
func (c *Config) Settings(f Filter) *Settings { return nil }

// Blocks names the filter blocks that match f, most specific first ("local_name mail.example.org").
func (c *Config) Blocks(f Filter) []string { return nil }

// Services lists the services whose protocol is enabled, including those built in.
func (c *Config) Services() []Service { return nil }

// Passdbs lists the passdb blocks for a protocol, those of its own protocol block first.
func (c *Config) Passdbs(protocol string) []Passdb { return nil }
