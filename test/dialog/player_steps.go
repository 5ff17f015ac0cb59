package dialog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func (p *player) expect(pattern string) error {
	re, err := regexp.Compile("^(?:" + pattern + ")")
	if err != nil {
		return err
	}
	err = p.current.readUntil(re)
	if errors.Is(err, errEnded) {
		p.view.note("%s: closed by server", p.current.name)
	}
	return err
}

func (p *player) quiet(ms string) error {
	d, err := milliseconds(ms)
	if err != nil {
		return err
	}
	return p.current.readFor(d)
}

func (p *player) sleep(ms string) error {
	d, err := milliseconds(ms)
	time.Sleep(d)
	return err
}

// elapsed notes whether the time since the last sending lies between two bounds.
func (p *player) elapsed(args string) error {
	low, high, _ := strings.Cut(args, " ")
	least, err := milliseconds(low)
	if err != nil {
		return err
	}
	most, err := milliseconds(high)
	if err != nil {
		return err
	}
	took := time.Since(p.current.sent)
	if took < least || took > most {
		p.view.note("elapsed: %d, not within %s to %s ms", took.Milliseconds(), low, high)
		return nil
	}
	p.view.note("elapsed: within %s to %s ms", low, high)
	return nil
}

func (p *player) sql(args string) error {
	db, statement, _ := strings.Cut(args, " ")
	return runSQL(p.env.file(db), statement)
}

func (p *player) backend(args string) error {
	name, action, _ := strings.Cut(args, " ")
	b := p.env.backends[name]
	if b == nil {
		return fmt.Errorf("no backend %q", name)
	}
	switch action {
	case "down":
		b.down()
		return nil
	case "up":
		return b.up()
	case "kill":
		b.kill()
		return nil
	}
	return fmt.Errorf("backend %s: unknown action %q", name, action)
}

func milliseconds(s string) (time.Duration, error) {
	n, err := strconv.Atoi(s)
	return time.Duration(n) * time.Millisecond, err
}

// cutQuoted splits a text that starts with a Go string literal into its value and the rest.
func cutQuoted(text string) (value, rest string, err error) {
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", text, err)
	}
	value, err = strconv.Unquote(quoted)
	return value, text[len(quoted):], err
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// dialFailure names why a connection was not made, in words that do not depend on the system.
func dialFailure(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "connection timed out"
	}
	return "no connection: " + err.Error()
}
