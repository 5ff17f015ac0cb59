package conf

import "net/netip"

// zeroNet is a network that is not tested.
var zeroNet netip.Prefix

// mergedTree is the top level as a connection sees it: all matching blocks in one.
func (c *Config) mergedTree(f *Filter) *node {
	blocks := c.merged.match(f, nil)
	if len(blocks) == 1 {
		return blocks[0].root
	}
	root := newNode(schema(), "", "")
	for _, b := range blocks {
		root.take(b.root)
	}
	return root
}

// take adds what n does not have yet from a less specific section.
func (n *node) take(from *node) {
	if n.kind.listing == stringMap {
		for _, k := range from.keys {
			if _, have := n.strs[k]; !have {
				n.setString(k, from.strs[k])
			}
		}
		return
	}
	for k, v := range from.vals {
		if _, have := n.vals[k]; !have {
			n.vals[k] = v
		}
	}
	for _, k := range n.kind.kinds {
		for _, sub := range from.lists[k.name] {
			if k.listing == ordered {
				n.add(sub)
				continue
			}
			own := n.child(k.name, sub.id)
			if own == nil {
				own = newNode(k, sub.name, sub.id)
				own.builtin = sub.builtin
				n.add(own)
			}
			own.take(sub)
		}
	}
}
