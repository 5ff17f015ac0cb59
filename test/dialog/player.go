package dialog

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/pires/go-proxyproto"
)

// player runs the clients' script.
type player struct {
	env     *environment
	view    *clientView
	clients map[string]*client
	current *client
}

func newPlayer(env *environment) *player {
	return &player{env: env, view: &clientView{normalize: env.normalize}, clients: map[string]*client{}}
}

// play runs a script and gives the view of the clients. A step that cannot be done ends the script, which is noted.
func (p *player) play(script string) string {
	defer func() {
		for _, c := range p.clients {
			_ = c.nc.Close()
		}
	}()
	n := 0
	for text := range strings.Lines(script) {
		n++
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		text, err := p.env.expand(text)
		if err == nil {
			err = p.step(text)
		}
		if err != nil {
			p.view.note("<script stopped at line %d: %v>", n, err)
			break
		}
	}
	return p.view.text.String()
}

// steps without a client's connection, and steps of the client in use. Both get the rest of the line.
var (
	freeSteps = map[string]func(*player, string) error{
		"connect": (*player).connect,
		"use":     (*player).use,
		"sleep":   (*player).sleep,
		"sql":     (*player).sql,
		"backend": (*player).backend,
	}
	clientSteps = map[string]func(*player, string) error{
		"C:":       (*player).sendLine,
		"Q:":       (*player).sendQuoted,
		"B64:":     (*player).sendBase64,
		"S:":       (*player).expect,
		"eof":      func(p *player, _ string) error { return p.current.readToEnd() },
		"quiet":    (*player).quiet,
		"starttls": func(p *player, _ string) error { return p.current.startTLS() },
		"close":    func(p *player, _ string) error { return p.close() },
		"elapsed":  (*player).elapsed,
		"cram":     func(p *player, args string) error { return p.pair(args, p.current.cram) },
		"apop":     func(p *player, args string) error { return p.pair(args, p.current.apop) },
		"scram":    func(p *player, args string) error { return p.current.scram(strings.Fields(args)) },
		"proxyv2":  (*player).proxyV2,
	}
)

func (p *player) step(text string) error {
	word, rest, _ := strings.Cut(text, " ")
	if f := freeSteps[word]; f != nil {
		return f(p, rest)
	}
	f := clientSteps[word]
	if f == nil {
		return fmt.Errorf("unknown step %q", word)
	}
	if p.current == nil {
		return fmt.Errorf("%s without a client", word)
	}
	return f(p, rest)
}

// connect reads PORT [as=NAME] [from=IP] [to=IP] [tls] [pp="TEXT"].
func (p *player) connect(args string) error {
	p.view.note("connect %s", args)
	listener, rest, _ := strings.Cut(args, " ")
	name, from, to, header := "c", "", "127.0.0.1", ""
	secure := isTLS(listener)
	if before, quoted, ok := strings.Cut(rest, "pp="); ok {
		text, err := strconv.Unquote(quoted)
		if err != nil {
			return fmt.Errorf("pp=%s: %w", quoted, err)
		}
		header, rest = text, before
	}
	for _, f := range strings.Fields(rest) {
		switch key, value, _ := strings.Cut(f, "="); key {
		case "as":
			name = value
		case "from":
			from = value
		case "to":
			to = value
		case "tls":
			secure = true
		default:
			return fmt.Errorf("unknown option %q", f)
		}
	}
	port, err := p.env.port(strings.ToUpper(listener))
	if err != nil {
		return err
	}
	c, err := dialClient(name, from, net.JoinHostPort(to, strconv.Itoa(port)))
	if err != nil {
		p.view.note("%s: %s", name, dialFailure(err))
		return errors.New("connect failed")
	}
	p.enter(c)
	if header != "" {
		c.write(header)
	}
	if secure {
		return c.startTLS()
	}
	return nil
}

// enter makes a client the one in use, in the place of an earlier one of its name.
func (p *player) enter(c *client) {
	if old := p.clients[c.name]; old != nil {
		_ = old.nc.Close()
	}
	c.view = p.view
	p.clients[c.name], p.current = c, c
	if a, ok := c.nc.LocalAddr().(*net.TCPAddr); ok {
		p.env.normalize.port(a.Port, "@CLIENTPORT@")
	}
}

func (p *player) use(name string) error {
	c := p.clients[name]
	if c == nil {
		return fmt.Errorf("no client %q", name)
	}
	p.current = c
	return nil
}

func (p *player) sendLine(text string) error {
	p.view.note("%s> %s", p.current.name, text)
	p.current.write(text + "\r\n")
	return nil
}

// sendQuoted reads "TEXT" or "TEXT"*N.
func (p *player) sendQuoted(text string) error {
	quoted, rest, err := cutQuoted(text)
	if err != nil {
		return err
	}
	times := 1
	if rest != "" {
		if times, err = strconv.Atoi(strings.TrimPrefix(rest, "*")); err != nil {
			return err
		}
	}
	p.view.note("%s> %s", p.current.name, text)
	p.current.write(strings.Repeat(quoted, times))
	return nil
}

// sendBase64 reads PREFIX "TEXT".
func (p *player) sendBase64(text string) error {
	start := strings.IndexByte(text, '"')
	if start < 0 {
		return errors.New("B64 without a quoted text")
	}
	data, _, err := cutQuoted(text[start:])
	if err != nil {
		return err
	}
	p.view.note("%s> %s", p.current.name, text)
	p.current.write(text[:start] + encode64(data) + "\r\n")
	return nil
}

func (p *player) close() error {
	p.view.note("%s: client closes", p.current.name)
	delete(p.clients, p.current.name)
	_ = p.current.nc.Close() // the server may have been faster
	p.current = nil
	return nil
}

func (p *player) pair(args string, f func(user, password string) error) error {
	user, password, _ := strings.Cut(args, " ")
	return f(user, password)
}

// proxyV2 reads SRC SPORT DST DPORT.
func (p *player) proxyV2(args string) error {
	f := strings.Fields(args)
	if len(f) != 4 {
		return errors.New("SRC SPORT DST DPORT are needed")
	}
	var ends [2]net.Addr
	for i := range ends {
		a, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(f[2*i], f[2*i+1]))
		if err != nil {
			return err
		}
		ends[i] = a
	}
	p.view.note("%s> (PROXY v2 %s)", p.current.name, args)
	_, err := proxyproto.HeaderProxyFromAddrs(2, ends[0], ends[1]).WriteTo(p.current.nc)
	return err
}
