package conf

// FilterBlock is one filter block: protocol, local, local_name or remote, nested ones flattened.
type FilterBlock struct {
	Position
	Title   string // as in "remote 10.0.0.0/8 protocol imap"
	Example Filter // a connection that the block applies to
}

// FilterBlocks lists the filter blocks in the order of the files.
func (c *Config) FilterBlocks() []FilterBlock {
	var out []FilterBlock
	for _, b := range c.buckets[1:] {
		out = append(out, FilterBlock{Position: c.position(b.pos), Title: b.filter.String(), Example: *b.filter.example()})
	}
	return out
}
