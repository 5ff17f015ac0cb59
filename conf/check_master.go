package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const masterKeys = "listen base_dir first_valid_uid last_valid_uid first_valid_gid last_valid_gid " +
	"default_login_user default_internal_user service protocols default_process_limit default_client_limit"

// checkMaster checks what Dovecot's master process acts on: services and listeners.
func checkMaster(k *checker) error {
	if k.text("listen") == "" {
		return errors.New("listen can't be set empty")
	}
	for _, id := range []string{"uid", "gid"} {
		if last := k.num("last_valid_" + id); last != 0 && k.num("first_valid_"+id) > last {
			return fmt.Errorf("first_valid_%[1]s can't be larger than last_valid_%[1]s", id)
		}
	}
	for _, key := range []string{"default_login_user", "default_internal_user"} {
		if userExists(k.text(key)) {
			continue
		}
		if !k.serve {
			return fmt.Errorf("%s doesn't exist: %s", key, k.text(key))
		}
		k.warn("%s doesn't exist: %s", key, k.text(key))
	}
	services := k.root.sections("service")
	for i, n := range services {
		if n.title() == "" {
			return fmt.Errorf("Service #%d is missing name", i)
		}
		if t := n.get("type").text; !slices.Contains([]string{"", "log", "config", "anvil", "login", "startup", "worker"}, t) {
			return fmt.Errorf("Unknown service type: %s", t)
		}
	}
	protocols := k.protocols()
	for _, p := range protocols {
		if !slices.ContainsFunc(services, func(n *node) bool { return n.get("protocol").text == p }) {
			return fmt.Errorf("protocols: Unknown protocol: %s", p)
		}
	}
	m := &masterCheck{checker: k}
	for _, n := range services {
		if p := n.get("protocol").text; p != "" && !slices.Contains(protocols, p) {
			continue
		}
		if err := m.service(n); err != nil {
			return fmt.Errorf("service(%s): %w", n.title(), err)
		}
	}
	if !k.serve {
		m.warnLimits(services)
	}
	slices.Sort(m.listeners)
	for i := 1; i < len(m.listeners); i++ {
		if m.listeners[i] == m.listeners[i-1] {
			return fmt.Errorf("duplicate listener: %s", m.listeners[i])
		}
	}
	return nil
}

// protocols lists the enabled protocols.
func (k *checker) protocols() []string { return splitProtocols(k.text("protocols")) }

// masterCheck collects what concerns several services.
type masterCheck struct {
	*checker
	listeners       []string // "PORT:ADDRESS" and paths
	auth, anvil     uint64   // processes that connect to these services
	authBy, anvilBy []string
}

// processLimit is the limit that holds for a service.
func (m *masterCheck) processLimit(n *node) uint64 {
	if limit := n.get("process_limit").num; limit != 0 {
		return limit
	}
	return m.num("default_process_limit")
}

// singleProcess are the services that cannot have several processes.
var singleProcess = []string{"anvil", "auth", "director", "indexer", "ipc", "log", "old-stats", "replicator"}

func (m *masterCheck) service(n *node) error {
	limit, vsz := m.processLimit(n), n.get("vsz_limit").num
	switch {
	case n.get("drop_priv_before_exec").num != 0 && n.get("chroot").text != "":
		return errors.New("drop_priv_before_exec=yes can't be used with chroot")
	case n.get("process_min_avail").num > limit:
		return errors.New("process_min_avail is higher than process_limit")
	case vsz < 1<<20 && vsz != 0:
		return errors.New("vsz_limit is too low")
	case slices.Contains(singleProcess, n.title()) && limit > 1:
		return errors.New("process_limit must be 1")
	}
	login := n.get("type").text == "login"
	reason := fmt.Sprintf("service %s { process_limit=%d }", n.title(), limit)
	if n.get("protocol").text != "" && n.title() != "imap-hibernate" && (n.get("service_count").num != 1 || login) {
		m.auth += limit
		m.authBy = append(m.authBy, reason)
	}
	if login || n.title() == "auth" {
		m.anvil += limit
		m.anvilBy = append(m.anvilBy, reason)
	}
	return m.serviceListeners(n)
}

func (m *masterCheck) serviceListeners(n *node) error {
	base := strings.TrimSuffix(m.text("base_dir"), "/")
	for _, kind := range []string{"unix_listener", "fifo_listener"} {
		for _, l := range n.sections(kind) {
			path := l.title()
			switch {
			case path == "":
				return fmt.Errorf("%s: path must not be empty", kind)
			case !strings.HasPrefix(path, "/"):
				path = base + "/" + path
			case strings.HasPrefix(path, base+"/"):
				m.warn("You should remove base_dir prefix from unix_listener: %s", path)
			}
			if l.get("mode").num != 0 {
				m.listeners = append(m.listeners, path)
			}
		}
	}
	for _, l := range n.sections("inet_listener") {
		if port := l.get("port").num; port != 0 {
			m.listeners = append(m.listeners, fmt.Sprintf("%d:%s", port, l.get("address").text))
		}
	}
	return nil
}

// warnLimits warns about services that may get more connections than they take.
func (m *masterCheck) warnLimits(services []*node) {
	limit := func(name string) uint64 {
		for _, n := range services {
			if n.title() == name && n.get("client_limit").num != 0 {
				return n.get("client_limit").num
			}
		}
		return m.num("default_client_limit")
	}
	if l := limit("auth"); l < m.auth {
		m.warn("service auth { client_limit=%d } is lower than required under max. load (%d). "+
			"Counted for protocol services with service_count != 1: %s", l, m.auth, strings.Join(m.authBy, " + "))
	}
	const pipes = 2
	if l := limit("anvil"); l < m.anvil+pipes {
		m.warn("service anvil { client_limit=%d } is lower than required under max. load (%d). Counted with: %s",
			l, m.anvil+pipes, strings.Join(m.anvilBy, " + "))
	}
}
