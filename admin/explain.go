package admin

import (
	"context"
	"fmt"
	"time"

	"dproxy/event"
	"dproxy/session"
)

// explain takes one login through the real code. Its rows are stage and text.
func (s *Server) explain(ctx context.Context, q *Request, a *answer) error {
	return Explain(ctx, q, s.Traces, s.Options.Explain, func(stage, text string) {
		a.row(stage, text)
		a.flush()
	})
}

// Explainer runs a login; say is told of steps that make no event.
type Explainer func(ctx context.Context, q *Request, session string, say func(stage, text string)) (refused bool, err error)

// Explain runs a login and has say told of its events and steps, in order.
func Explain(ctx context.Context, q *Request, t *Traces, run Explainer, say func(stage, text string)) error {
	if len(q.Users) != 1 {
		return &fault{Usage, "one user must be given"}
	}
	p, err := ParsePeer(q.Info)
	if err != nil {
		return err
	}
	if p.Session == "" {
		p.Session = "explain-" + session.ID(time.Now(), p.Remote)
	}
	// Steps and events come from one goroutine, but for those of a driver's own: lines stay whole.
	steps, over, told := make(chan [2]string), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		for {
			select {
			case x := <-steps:
				say(x[0], x[1])
			case <-over:
				return
			}
		}
	}()
	put := func(stage, text string) {
		select {
		case steps <- [2]string{stage, text}:
		case <-over:
		}
	}
	stop := t.Follow(p.Session, put)
	refused, err := run(ctx, q, p.Session, put)
	stop()
	close(over)
	<-told
	switch {
	case err != nil:
		return err
	case refused:
		return &fault{Denied, "the login would be refused"}
	}
	return nil
}

// traceStart writes what happens in the logins of a user or an address into the log, for some time.
func (s *Server) traceStart(_ context.Context, q *Request, a *answer) error {
	f, err := newFilter(q)
	if err != nil {
		return err
	}
	if (f.mask == "") == !f.net.IsValid() {
		return &fault{Usage, "either a user or a network must be given"}
	}
	const most = 24 * 60 * 60
	if q.Seconds <= 0 || q.Seconds > most {
		return &fault{Usage, fmt.Sprintf("the time must be between 1 and %d seconds", most)}
	}
	until := time.Now().Add(time.Duration(q.Seconds) * time.Second)
	err = s.Traces.add(&listener{user: f.mask, net: f.net, until: until, say: func(session, stage, text string) {
		s.Events.Emit(event.Notice{Level: event.Info, Source: "trace", Text: "<" + event.Clean(session, 64) + "> " + stage + ": " + text})
	}})
	if err == nil {
		a.row(until.Format("2006-01-02 15:04:05"))
	}
	return err
}

// traceStop ends the traces of a user or network, or all.
func (s *Server) traceStop(_ context.Context, q *Request, a *answer) error {
	f, err := newFilter(q)
	if err != nil {
		return err
	}
	n := s.Traces.remove(func(l *listener) bool {
		return l.session == "" && (f.mask == "" || l.user == f.mask) && (!f.net.IsValid() || l.net == f.net)
	})
	a.row(fmt.Sprint(n))
	return nil
}

// traceList lists the traces: what for, and until when.
func (s *Server) traceList(_ context.Context, _ *Request, a *answer) error {
	s.Traces.mu.Lock()
	defer s.Traces.mu.Unlock()
	s.Traces.expire()
	for _, l := range s.Traces.listeners {
		if l.session == "" {
			what := l.user
			if l.net.IsValid() {
				what = l.net.String()
			}
			a.row(what, l.until.Format("2006-01-02 15:04:05"))
		}
	}
	return nil
}
