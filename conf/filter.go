package conf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// beginFilter opens a filter block when f's keyword is one of a filter.
func (p *parser) beginFilter(f *frame, parent filter, name string) (bool, error) {
	fl := parent
	var err error
	switch f.key {
	case "protocol":
		if parent.hasService {
			err = errors.New("Nested protocol { protocol { .. } } block not allowed")
		}
		fl.service, fl.hasService = name, true
	case "local":
		fl.local, err = p.localNet(&parent, name)
	case "local_name":
		switch {
		case parent.remote.Bits() > 0:
			err = errors.New("remote { local_name { .. } } not allowed (use local_name { remote { .. } } instead)")
		case parent.hasService:
			err = errors.New("protocol { local_name { .. } } not allowed (use local_name { protocol { .. } } instead)")
		}
		fl.localName, fl.hasName = name, true
	case "remote":
		fl.remote, err = p.remoteNet(&parent, name)
	default:
		return false, nil
	}
	if err != nil {
		return true, err
	}
	f.bucket, f.filters = p.bucket(fl), true
	return true, nil
}

func (p *parser) localNet(parent *filter, name string) (netip.Prefix, error) {
	switch {
	case parent.remote.Bits() > 0:
		return netip.Prefix{}, errors.New("remote { local { .. } } not allowed (use local { remote { .. } } instead)")
	case parent.hasService:
		return netip.Prefix{}, errors.New("protocol { local { .. } } not allowed (use local { protocol { .. } } instead)")
	case parent.hasName:
		return netip.Prefix{}, errors.New("local_name { local { .. } } not allowed (use local { local_name { .. } } instead)")
	}
	n, err := p.parseNet(name)
	if err == nil && !inside(n, parent.local) {
		err = errors.New("local net1 { local net2 { .. } } requires net2 to be inside net1")
	}
	return n, err
}

func (p *parser) remoteNet(parent *filter, name string) (netip.Prefix, error) {
	if parent.hasService {
		return netip.Prefix{}, errors.New("protocol { remote { .. } } not allowed (use remote { protocol { .. } } instead)")
	}
	n, err := p.parseNet(name)
	if err == nil && !inside(n, parent.remote) {
		err = errors.New("remote net1 { remote net2 { .. } } requires net2 to be inside net1")
	}
	return n, err
}

// inside tells whether n lies in outer, which may test nothing.
func inside(n, outer netip.Prefix) bool {
	return outer.Bits() <= 0 || n.Bits() >= outer.Bits() && outer.Contains(n.Addr())
}

// parseNet reads an address, a network, or a host name, of which the first address counts.
func (p *parser) parseNet(text string) (netip.Prefix, error) {
	host, bits, masked := strings.Cut(text, "/")
	a, ok := parseAddr(host)
	if ok {
		n, rest, valid := leadingNumber(bits)
		switch {
		case !masked:
			return netip.PrefixFrom(a, a.BitLen()), nil
		case valid && rest == "" && n <= uint64(a.BitLen()):
			return netip.PrefixFrom(a, int(n)), nil
		}
		return netip.Prefix{}, fmt.Errorf("Invalid network mask: %s", bits)
	}
	ips, err := p.opt.lookup(host)
	if err != nil || len(ips) == 0 {
		return netip.Prefix{}, fmt.Errorf("gethostbyname(%s) failed: %s", host, resolveText(err))
	}
	a = ips[0].Unmap()
	if !masked {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, rest, valid := leadingNumber(bits)
	if !valid || rest != "" || n > uint64(a.BitLen()) {
		return netip.Prefix{}, fmt.Errorf("Invalid network mask: %s", bits)
	}
	return netip.PrefixFrom(a, int(n)), nil
}

func resolveText(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "Name or service not known"
	}
	return "Temporary failure in name resolution"
}

// parseAddr reads an address as Dovecot does: IPv6 may stand in brackets, IPv4 may have the short and
// the octal and hexadecimal forms of inet_aton.
func parseAddr(text string) (netip.Addr, bool) {
	if strings.Contains(text, ":") {
		if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
			text = text[1 : len(text)-1]
		}
		a, err := netip.ParseAddr(text)
		return a, err == nil && a.Zone() == ""
	}
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	base := 0
	if len(parts) == 4 && strings.Trim(text, "0123456789.") == "" {
		base = 10 // four decimal numbers, even with leading zeros
	}
	var sum uint64
	for i, part := range parts {
		if part == "" || part[0] < '0' || part[0] > '9' || strings.ContainsAny(part, "_bBoO") && !strings.HasPrefix(strings.ToLower(part), "0x") {
			return netip.Addr{}, false
		}
		n, err := strconv.ParseUint(part, base, 64)
		width := 8
		if i == len(parts)-1 {
			width = 8 * (5 - len(parts))
		}
		if err != nil || n >= 1<<width {
			return netip.Addr{}, false
		}
		sum = sum<<width | n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

// ParseFilter reads the -f arguments of doveconf: protocol=, service=, local=, remote= and lname=.
// The error has doveconf's words.
func ParseFilter(args []string) (Filter, error) {
	var f Filter
	p := &parser{}
	for _, arg := range args {
		key, text, _ := strings.Cut(arg, "=")
		switch key {
		case "protocol", "service":
			f.Protocol = text
		case "lname", "local_name": // in 2.3 and 2.4
			f.LocalName = text
		case "local", "remote":
			n, err := p.parseNet(text)
			if err != nil {
				return Filter{}, fmt.Errorf("%s filter: %w", key, err)
			}
			if n.Bits() == 0 {
				n = netip.Prefix{}
			}
			if key == "local" {
				f.Local = n.Addr()
			} else {
				f.Remote = n.Addr()
			}
		default:
			return Filter{}, fmt.Errorf("Unknown filter argument: %s", arg)
		}
	}
	return f, nil
}
