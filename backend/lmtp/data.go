package lmtp

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"dproxy/wire"
)

// chunk is what of a message is in memory while it is sent, and the size of a BDAT.
const chunk = 32 << 10

// window is how many BDAT commands wait for their reply.
const window = 4

// Result is what became of a message for one recipient: the backend's answer, or why there is none.
type Result struct {
	Reply wire.Reply
	Err   error // an *Error; Reply is of no meaning with it
}

// Data sends a message and returns one result for each recipient that the backend accepted, in their
// order. It is sent with BDAT where the backend lists CHUNKING, byte for byte; with DATA lines end in
// CRLF and dots are stuffed. wait bounds the time from the message's end to the last answer. A message
// that cannot be read to its end is not delivered. After the first recipient without an answer the
// session is of no use; the answers before it stand.
func (s *Session) Data(message io.Reader, wait time.Duration) []Result {
	if s.accepted == 0 {
		return nil
	}
	var all *wire.Reply // one answer for everybody
	var err *Error
	if s.Offers("CHUNKING") {
		all, err = s.bdat(message, wait)
	} else {
		all, err = s.data(message, wait)
	}
	out := make([]Result, s.accepted)
	for i := range out {
		switch {
		case err != nil:
			out[i].Err = err
		case all != nil:
			out[i].Reply = *all
		case s.smtp && i > 0:
			out[i] = out[0]
		default:
			r, failed := s.reply()
			if failed != nil {
				out[i].Err = failed
			} else {
				out[i].Reply = r
			}
		}
	}
	s.accepted, s.mailed = 0, false
	return out
}

// data sends a message with DATA. The reply is set when the backend did not want it.
func (s *Session) data(message io.Reader, wait time.Duration) (*wire.Reply, *Error) {
	if err := s.limit(s.Patience); err != nil {
		return nil, err
	}
	r, err := s.command("DATA")
	if err != nil {
		return nil, err
	}
	if r.Code != 354 {
		if r.OK() {
			return nil, s.fail(BadReply, "Unexpected reply: "+r.Wire())
		}
		return &r, nil
	}
	var st stuffer
	buf := make([]byte, chunk)
	out := make([]byte, 0, chunk+chunk/8)
	for {
		n, rerr := message.Read(buf)
		if n > 0 {
			out = st.append(out[:0], buf[:n])
			if early, err := s.put(out); early != nil || err != nil {
				return early, err
			}
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return nil, s.unreadable(rerr)
		}
	}
	if early, err := s.put(st.end(out[:0])); early != nil || err != nil {
		return early, err
	}
	return nil, s.limit(wait)
}

// unreadable gives up on a message that cannot be read, without ending it at the backend.
func (s *Session) unreadable(err error) *Error {
	e := s.fail(Aborted, "Failed to read DATA stream: "+err.Error())
	_ = s.c.Close()
	return e
}

// put sends a part of a message. A backend that has had enough may have said so before it closed.
func (s *Session) put(b []byte) (*wire.Reply, *Error) {
	if err := s.limit(commandTime); err != nil {
		return nil, err
	}
	if _, err := s.c.Write(b); err != nil {
		if s.c.Limit(quitTime) == nil {
			if r, rerr := s.reply(); rerr == nil && r.Class() >= 4 {
				s.fail(Lost, "Remote closed connection unexpectedly")
				return &r, nil
			}
		}
		s.broken = nil // the reason is the write, not the read
		return nil, s.lost(err)
	}
	return nil, nil
}

// bdat sends a message with BDAT. The reply is set when the backend refused a part of it.
func (s *Session) bdat(message io.Reader, wait time.Duration) (*wire.Reply, *Error) {
	buf := make([]byte, chunk)
	pending := 0
	for {
		n, rerr := io.ReadFull(message, buf)
		last := rerr == io.EOF || rerr == io.ErrUnexpectedEOF
		if rerr != nil && !last {
			return nil, s.unreadable(rerr)
		}
		line := "BDAT " + strconv.Itoa(n)
		if last {
			line += " LAST"
		}
		if early, err := s.put(append([]byte(line+"\r\n"), buf[:n]...)); early != nil || err != nil {
			return early, err
		}
		if !last {
			pending++
		}
		for pending > 0 && (last || pending >= window) {
			r, err := s.reply()
			if err != nil {
				return nil, err
			}
			if pending--; !r.OK() {
				// What is still to be answered is of no interest, and the transaction is dead.
				s.fail(Aborted, "Aborted")
				return &r, nil
			}
		}
		if last {
			return nil, s.limit(wait)
		}
	}
}

// stuffer makes what DATA sends of a message: lines end in CRLF and one that begins with a dot gets
// another (RFC 5321 section 4.5.2), so that only the end looks like one to a strict and to a lax reader
// of bare LF. A bare CR stays, as from Dovecot.
type stuffer struct {
	within bool // the last byte was not the end of a line
	cr     bool // it was a CR
}

func (s *stuffer) append(out, b []byte) []byte {
	for len(b) > 0 {
		if !s.within && b[0] == '.' {
			out = append(out, '.')
		}
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			s.within, s.cr = true, b[len(b)-1] == '\r'
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		if i > 0 && b[i-1] != '\r' || i == 0 && !s.cr {
			out = append(out, '\r')
		}
		out = append(out, '\n')
		s.within, s.cr = false, false
		b = b[i+1:]
	}
	return out
}

// end ends the message.
func (s *stuffer) end(out []byte) []byte {
	if s.within {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...)
}
