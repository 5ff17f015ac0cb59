package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/login"
	"dproxy/wire"
)

// dataLine takes a message by DATA.
func (f *front) dataLine(string) error {
	tx := f.tx
	switch {
	case tx == nil:
		return f.reply(503, "5.5.0", "MAIL needed first")
	case tx.badChunks:
		return f.reply(503, "5.5.0", "Previous data chunk failed, issue RSET first")
	case tx.chunks:
		return f.reply(503, "5.5.0", "Bad sequence of commands")
	case len(tx.accepted) == 0:
		return f.reply(503, "5.5.0", "No valid recipients")
	}
	f.bad = 0
	f.c.Send("354 OK\r\n")
	tx.begin()
	var d decoder
	buf := make([]byte, 0, 2*readSize)
	for done := false; !done; {
		in, err := f.input()
		if err != nil {
			return err
		}
		var used int
		buf, used, done = d.decode(buf[:0], in)
		f.c.R.Skip(used)
		tx.message.write(buf)
	}
	return tx.deliver()
}

// begin makes the place for a message.
func (t *transaction) begin() {
	t.data = true
	if t.message == nil {
		t.message = newSpool(t.f.spoolDir())
		t.f.c.R.Grow(readSize)
	}
}

// spoolDir is where messages go that are too big for memory: state_dir where one can write there.
func (f *front) spoolDir() string {
	dir := f.c.Settings().StateDir
	if dir == "" || !writable(dir) {
		return os.TempDir()
	}
	return dir
}

// input waits for a part of a message. The bytes are valid until the next call.
func (f *front) input() ([]byte, error) {
	for {
		if in := f.c.R.Rest(); len(in) > 0 {
			return in, nil
		}
		if err := f.c.Idle(f.idle); err != nil {
			return nil, err
		}
		if err := f.c.R.Fill(); err != nil {
			return nil, err
		}
	}
}

// bdat takes a part of a message of known length (RFC 3030). The part is read whatever is wrong with the
// command, so that it is never taken for commands.
func (f *front) bdat(args string) error {
	fields := strings.Fields(args)
	var size uint64
	err := errors.New("no size")
	if len(fields) > 0 {
		size, err = strconv.ParseUint(fields[0], 10, 62)
	}
	if err != nil {
		f.c.Send("501 5.5.4 Invalid chunk size parameter\r\n")
		return &login.End{Log: "Invalid chunk size parameter", Label: "bad_commands", Linger: true}
	}
	last := len(fields) == 2 && strings.EqualFold(fields[1], "LAST")
	tx := f.tx
	fault := ""
	switch {
	case len(fields) > 1 && !last:
		fault = "Invalid end marker parameter"
	case tx == nil:
		fault = "MAIL needed first"
	case tx.badChunks:
		fault = "Previous data chunk failed, issue RSET first"
	case len(tx.accepted) == 0:
		fault = "No valid recipients"
	default:
		tx.begin()
		tx.chunks = true
	}
	if err := f.chunk(size, fault == ""); err != nil {
		return err
	}
	switch {
	case fault == "" && last:
		return tx.deliver()
	case fault == "":
		return f.reply(250, "2.0.0", fmt.Sprintf("Added %d octets", size))
	}
	if tx != nil {
		tx.badChunks = true
	}
	if len(fields) > 1 && !last {
		return f.reply(501, "5.5.4", fault)
	}
	return f.reply(503, "5.5.0", fault)
}

// chunk reads size bytes, and keeps them.
func (f *front) chunk(size uint64, keep bool) error {
	f.c.R.Grow(readSize)
	for size > 0 {
		in, err := f.input()
		if err != nil {
			return err
		}
		in = in[:min(uint64(len(in)), size)]
		if keep {
			f.tx.message.write(in)
		}
		f.c.R.Skip(len(in))
		size -= uint64(len(in))
	}
	return nil
}

// deliverSlack is what a delivery may take beside its backends' time for the answer: sending the
// message to a backend that reads slowly has a bound of its own for each part.
const deliverSlack = time.Hour

// deliver copies the message to every backend and answers for each recipient, in their order, with what
// its own backend said. It goes on when the client leaves or the program stops: nobody could say any more
// which backends had the message already.
func (t *transaction) deliver() error {
	f := t.f
	header := t.received()
	limit := deliverSlack
	for _, r := range t.accepted {
		limit = max(limit, r.group.wait+deliverSlack)
	}
	var err error
	f.c.Finish(limit, func(ctx context.Context) {
		stop := context.AfterFunc(ctx, t.cancel)
		defer stop()
		if t.message.err == nil {
			t.send(header)
		} else {
			f.c.Report(event.Error, "Failed to keep a message of "+f.address()+" until its delivery: "+t.message.err.Error())
		}
		for i, r := range t.accepted {
			if err == nil && t.message.err == nil && !r.group.answered() {
				err = f.c.Flush() // what is known now does not wait for a slow backend
			}
			f.c.Send(t.outcome(i, r).Wire(), "\r\n")
		}
		if err == nil {
			err = f.c.Flush()
		}
	})
	t.finish()
	f.tx, f.bad = nil, 0
	return err
}

// send gives the message to every backend at once.
func (t *transaction) send(header string) {
	for _, g := range t.groups {
		if len(g.recipients) == 0 {
			continue
		}
		message := io.MultiReader(strings.NewReader(header), t.message.reader())
		t.leaving.Add(1)
		t.f.c.Go(func() {
			defer t.leaving.Done()
			func() {
				defer close(g.done)
				g.results = g.up.Data(message, g.wait)
			}()
			g.up.Quit()
		})
	}
}

// answered tells whether the backend has answered for all of its recipients.
func (g *group) answered() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// outcome is the answer for a recipient, once its backend has given one.
func (t *transaction) outcome(i int, r *recipient) wire.Reply {
	if t.message.err != nil {
		return wire.Reply{Code: 452, Lines: []string{"4.3.1 <" + r.path + "> Message could not be stored on its way"}}
	}
	<-r.group.done
	result := r.group.results[r.index]
	level, log := event.Info, ""
	var reply wire.Reply
	switch {
	case result.Err != nil:
		level, log = event.Error, "451 4.4.0 "+event.Clean(result.Err.Error(), 300)
		reply = t.lost(r.path, r.session, result.Err)
		if r.group.err == nil {
			r.group.err = result.Err
			t.failed(result.Err)
		}
	case result.Reply.OK():
		enhanced, _ := wire.Enhanced(result.Reply.Code, result.Reply.Lines[0])
		if enhanced == "" {
			enhanced = "2.0.0"
		}
		reply = wire.Reply{Code: 250, Lines: []string{enhanced + " <" + r.path + "> " + r.session + " Saved"}}
	default:
		reply = forwarded(result.Reply, r.path)
	}
	if log == "" {
		log = event.Clean(strconv.Itoa(result.Reply.Code)+" "+result.Reply.Text(), 300)
	}
	verb := "Failed to send message to"
	if reply.OK() {
		verb = "Sent message to"
	}
	t.f.c.Report(level, fmt.Sprintf("%srcpt %s: <%s>: %s <%s> at %s: %s (%d/%d at %d ms)", t.f.prefix(), r.path, r.session, verb,
		r.to, r.group.up.Address(), log, i+1, len(t.accepted), time.Since(t.began).Milliseconds()))
	return reply
}

// finish frees a transaction whose message was delivered. Its backends are being left.
func (t *transaction) finish() {
	for _, g := range t.groups {
		if g.up != nil && (len(g.recipients) == 0 || t.message.err != nil) {
			t.leave(g.up)
		}
	}
	t.end()
}
