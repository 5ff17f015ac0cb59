package dialog

import (
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
)

// options are the indented lines below a backend. Empty fields mean the protocol's usual behaviour.
type options struct {
	greeting  string
	caps      string
	moreCaps  string
	tlsCaps   string
	postCaps  string // "-" for none
	tls       string // "starttls" or "implicit"
	cert      string // name of the certificate; "backend" when empty
	listen    string
	connect   string // "refuse", "reset", "close", "silent" or "slow"
	sortPeers bool
	rules     []*rule
}

// rule replaces the usual answer to a command.
type rule struct {
	command *regexp.Regexp // in the notation of the views, from its start
	once    bool
	used    atomic.Bool
	actions []string
}

func (o *options) set(text string) error {
	key, value, _ := strings.Cut(text, " ")
	fields := map[string]*string{
		"greeting": &o.greeting, "caps": &o.caps, "caps+": &o.moreCaps, "tlscaps": &o.tlsCaps, "postcaps": &o.postCaps,
		"tls": &o.tls, "cert": &o.cert, "listen": &o.listen, "connect": &o.connect,
	}
	if field := fields[key]; field != nil {
		*field = value
		return nil
	}
	switch {
	case key == "on" || key == "once":
		return o.addRule(value, key == "once")
	case text == "peers sorted":
		o.sortPeers = true
		return nil
	}
	return fmt.Errorf("unknown option %q", text)
}

func (o *options) addRule(text string, once bool) error {
	pattern, actions, ok := strings.Cut(text, " => ")
	if !ok {
		return fmt.Errorf("rule %q has no =>", text)
	}
	re, err := regexp.Compile("^(?:" + pattern + ")")
	if err != nil {
		return err
	}
	o.rules = append(o.rules, &rule{command: re, once: once, actions: strings.Split(actions, " ;; ")})
	return nil
}

// ruleFor is the first rule that fits a command and is not used up. Nil: there is none.
func (o *options) ruleFor(command string) *rule {
	for _, r := range o.rules {
		if r.command.MatchString(command) && !(r.used.Swap(true) && r.once) {
			return r
		}
	}
	return nil
}

// capabilities is the list to show, separated as the protocol separates.
func (o *options) capabilities(usual, separator string, secured bool) string {
	list := usual
	if o.caps != "" {
		list = o.caps
	}
	if secured && o.tlsCaps != "" {
		list = o.tlsCaps
	}
	if o.moreCaps != "" {
		list += separator + o.moreCaps
	}
	return list
}
