package main

import (
	"strings"
	"time"

	"dproxy/conf"
	"dproxy/event"
	"dproxy/tlsconf"
)

// warn logs what the TLS settings ask for that is unsafe or that dproxy cannot do, and certificates that end or have
// ended: at start and after a reload, each once. `dproxy check` says it too, with the place.
func (a *app) warn(c *conf.Config) {
	filters := []conf.Filter{{}}
	for _, p := range a.served() {
		filters = append(filters, conf.Filter{Protocol: p})
	}
	for _, b := range c.FilterBlocks() {
		if !strings.HasPrefix(b.Example.Protocol, "!") {
			filters = append(filters, b.Example)
		}
	}
	said, seen := map[string]bool{}, map[*conf.Settings]bool{}
	for _, f := range filters {
		s := c.Settings(f)
		if s.SSL == "no" || seen[s] {
			continue
		}
		seen[s] = true
		for _, text := range append(tlsconf.Warnings(s), ending(s, time.Now())...) {
			if !said[text] {
				said[text] = true
				a.events.Emit(event.Notice{Level: event.Warning, Source: "config", Text: text})
			}
		}
	}
}

// ending tells of a certificate that has expired, which is served all the same, or that is about to.
func ending(s *conf.Settings, now time.Time) []string {
	if s.SSLCert == "" {
		return nil
	}
	c, err := tlsconf.Server(s, nil)
	if err != nil {
		return nil // has been reported, or ended the start
	}
	end := tlsconf.NotAfter(c)
	date := end.UTC().Format(time.DateOnly)
	switch left := end.Sub(now); {
	case end.IsZero():
	case left <= 0:
		return []string{"ssl_cert: a certificate has expired on " + date}
	case left < expirySoon:
		return []string{"ssl_cert: a certificate expires on " + date}
	}
	return nil
}
