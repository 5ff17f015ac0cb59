package socket

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"dproxy/auth"
	"dproxy/event"
	"dproxy/wire"
)

const (
	maxClientLine = 16384
	// maxPending bounds the requests of one connection that have no answer yet.
	maxPending = 1000
)

// client is a connection of a mail server that asks about logins. Requests are answered in any order.
type client struct {
	*conn
	r     *wire.Reader
	minor int // the client's version

	pending map[uint32]*request // guarded by conn.mu
	work    sync.WaitGroup
}

// request is a login under way.
type request struct {
	question
	ctx    context.Context
	cancel context.CancelFunc
	x      *auth.Exchange
	// waiting: the client has to answer a challenge.
	waiting bool
	// verdict is known and goes out once the client has acknowledged the data that came with it.
	verdict *auth.Reply
	timer   *time.Timer
}

func (c *client) run() {
	defer c.work.Wait()
	defer c.cancel()
	c.r, c.pending = wire.NewReader(c.nc), map[uint32]*request{}
	var cookie [16]byte
	_, _ = rand.Read(cookie[:]) // it cannot fail
	c.send(hello(c.auth.Mechanisms(), c.id, hex.EncodeToString(cookie[:])))
	err := c.greet()
	for err == nil {
		err = c.next()
	}
	c.end(err)
}

// protocolError is a fault of the client that ends the connection, in Dovecot's words.
type protocolError string

// Error implements error.
func (e protocolError) Error() string { return string(e) }

func (c *client) line() (string, error) {
	b, err := c.r.Line(maxClientLine + 1)
	if errors.Is(err, wire.ErrTooLong) {
		return "", protocolError(fmt.Sprintf("BUG: Auth client %d sent us more than %d bytes", c.id, maxClientLine))
	}
	return string(b), err
}

// greet reads the client's VERSION and CPID.
func (c *client) greet() error {
	_ = c.nc.SetReadDeadline(time.Now().Add(answerLimit))
	line, err := c.line()
	if err != nil {
		return err
	}
	f := strings.Split(line, "\t")
	if len(f) < 3 || f[0] != "VERSION" {
		return protocolError("Authentication client sent invalid VERSION line: " + event.Clean(line, 80))
	}
	major, err := strconv.ParseUint(f[1], 10, 16)
	minor, err2 := strconv.ParseUint(f[2], 10, 16)
	if err != nil || err2 != nil || major != 1 {
		return protocolError("Authentication client not compatible with this server (mixed old and new binaries?)")
	}
	c.minor = int(minor)
	if line, err = c.line(); err != nil {
		return err
	}
	command, pid, _ := strings.Cut(line, "\t")
	if command != "CPID" {
		return protocolError("BUG: Authentication client sent unknown handshake command: " + event.Clean(masked(line), 80))
	}
	if n, err := strconv.ParseUint(pid, 10, 32); err != nil || n == 0 {
		return protocolError("BUG: Authentication client said it's PID 0")
	}
	return c.nc.SetReadDeadline(time.Time{})
}

var clientCommands = map[string]func(c *client, fields []string) error{
	"AUTH":   (*client).begins,
	"CONT":   (*client).continues,
	"CANCEL": (*client).cancels,
}

// next serves one line.
func (c *client) next() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	c.debug("client in: " + masked(line))
	command, rest, _ := strings.Cut(line, "\t")
	run := clientCommands[command]
	if run == nil {
		return protocolError("BUG: Authentication client sent unknown command: " + event.Clean(line, 80))
	}
	return run(c, strings.Split(rest, "\t"))
}

// begins is AUTH.
func (c *client) begins(fields []string) error {
	q, text := readAuth(fields)
	if text != "" {
		return protocolError(fmt.Sprintf("BUG: Authentication client %d %s", c.id, text))
	}
	if !c.offers(q.Mech) {
		return protocolError(fmt.Sprintf("BUG: Authentication client %d requested unsupported authentication mechanism %s", c.id, event.Clean(q.Mech, 32)))
	}
	// Clients before version 1.2 send an empty one when they have none.
	if q.hasResp && (q.resp != "" || c.minor >= 2) {
		q.HasInitial = true
		if q.resp != "=" {
			var err error
			if q.Initial, err = base64.StdEncoding.DecodeString(q.resp); err != nil {
				c.send(refusal(q.id, auth.CodeInvalidBase64.String(), "Invalid base64 data in initial response"))
				return nil
			}
		}
	}
	r := &request{question: q}
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	r.resp = ""
	switch known, full := c.add(r); {
	case known:
		r.cancel()
		return protocolError(fmt.Sprintf("BUG: Authentication client %d sent a duplicate ID %d", c.id, q.id))
	case full:
		r.cancel()
		c.send(refusal(q.id, auth.CodeTempFail.String(), "Too many requests at the same time"))
		return nil
	}
	c.step(r, func() ([]byte, *auth.Reply) {
		x, challenge, reply := c.auth.Start(r.ctx, r.Request)
		r.x = x
		return challenge, reply
	})
	return nil
}

func (c *client) offers(mech string) bool {
	for _, m := range c.auth.Mechanisms() {
		if m.Name == strings.ToUpper(mech) {
			return !m.Binding
		}
	}
	return false
}

func (c *client) add(r *request) (known, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending[r.id] != nil {
		return true, false
	}
	if len(c.pending) >= maxPending {
		return false, true
	}
	c.pending[r.id] = r
	c.busy++
	return false, false
}

// step runs a part of a login beside the reading of further lines.
func (c *client) step(r *request, run func() ([]byte, *auth.Reply)) {
	c.work.Add(1)
	go func() {
		defer c.work.Done()
		defer c.recovered()
		challenge, reply := run()
		c.answer(r, challenge, reply)
	}()
}

// answer sends what a step came to, unless nobody waits for it any more.
func (c *client) answer(r *request, challenge []byte, v *auth.Reply) {
	if v != nil && v.OK && v.Final != nil && !r.finalOK {
		// This client takes such data as one more challenge only, and acknowledges it.
		challenge, r.verdict = v.Final, v
		v = nil
		r.verdict.Final = nil
	}
	if v != nil {
		if c.take(r.id, r) != nil {
			line := verdict(r.id, v)
			c.debug("client passdb out: " + strings.TrimSuffix(line, "\n"))
			c.send(line)
			c.done()
		}
		return
	}
	c.mu.Lock()
	wanted := c.pending[r.id] == r
	if wanted {
		r.waiting = true
		r.timer = time.AfterFunc(answerLimit, func() { c.forget(r) })
	}
	c.mu.Unlock()
	if wanted {
		c.send(newReply("CONT", r.id).String() + "\t" + base64.StdEncoding.EncodeToString(challenge) + "\n")
	}
}

// take removes a request; nil when it is not pending. Only r is removed when r is given.
func (c *client) take(id uint32, r *request) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := c.pending[id]
	if have == nil || r != nil && have != r {
		return nil
	}
	delete(c.pending, id)
	if have.timer != nil {
		have.timer.Stop()
	}
	have.cancel()
	return have
}

// forget ends a request that the client has left alone, without an answer.
func (c *client) forget(r *request) {
	if c.take(r.id, r) != nil {
		c.s.report(event.Info, "Request timed out waiting for client to continue authentication")
		c.done()
	}
}

// continues is CONT.
func (c *client) continues(fields []string) error {
	if len(fields) != 2 {
		return protocolError("BUG: Authentication client sent broken CONT request")
	}
	id, ok := readID(fields[0])
	if !ok {
		return protocolError("BUG: Authentication client sent broken CONT request")
	}
	c.mu.Lock()
	r := c.pending[id]
	waiting := r != nil && r.waiting
	if waiting {
		r.waiting = false
		r.timer.Stop()
	}
	c.mu.Unlock()
	switch {
	case r == nil:
		c.send(refusal(id, "", "Authentication request timed out"))
	case !waiting:
		c.refuse(r, "", "Unexpected continuation")
	case r.verdict != nil:
		c.answer(r, nil, r.verdict)
	default:
		response, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil {
			c.refuse(r, auth.CodeInvalidBase64.String(), "Invalid base64 data in continued response")
			return nil
		}
		c.step(r, func() ([]byte, *auth.Reply) { return r.x.Step(r.ctx, response) })
	}
	return nil
}

func (c *client) refuse(r *request, code, reason string) {
	if c.take(r.id, r) != nil {
		c.send(refusal(r.id, code, reason))
		c.done()
	}
}

// cancels is CANCEL; it has no answer.
func (c *client) cancels(fields []string) error {
	id, ok := readID(fields[0])
	if !ok {
		return protocolError("BUG: Authentication client sent broken CANCEL request")
	}
	if c.take(id, nil) != nil {
		c.done()
	}
	return nil
}

// end says why the connection is over, when there is something to say.
func (c *client) end(err error) {
	c.mu.Lock()
	n, retired := len(c.pending), c.retired
	ids := make([]uint32, 0, n)
	for id := range c.pending {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	for _, id := range ids {
		c.take(id, nil)
	}
	var fault protocolError
	switch {
	case errors.As(err, &fault):
		c.s.report(event.Error, string(fault))
	case n > 0 && !retired && c.ctx.Err() == nil:
		why := "EOF"
		if !errors.Is(err, io.EOF) {
			why = event.Clean(err.Error(), 128)
		}
		c.s.report(event.Error, fmt.Sprintf("auth client %d disconnected with %d pending requests: %s", c.id, n, why))
	}
}
