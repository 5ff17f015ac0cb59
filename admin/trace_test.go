package admin

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/event"
)

func login(session, user, ip string) event.Event {
	return event.PassdbAsked{Session: session, Passdb: "sql", User: user, Remote: netip.MustParseAddr(ip)}
}

func TestTracesTellOfChosenLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var traces Traces
		var mu sync.Mutex
		var heard []string
		say := func(who string) func(string, string, string) {
			return func(session, stage, _ string) {
				mu.Lock()
				heard = append(heard, who+" "+session+" "+stage)
				mu.Unlock()
			}
		}
		traces.Emit(login("S0", "a@x", "192.0.2.1"))
		_ = traces.add(&listener{user: "*@x", until: time.Now().Add(time.Minute), say: say("mask")})
		_ = traces.add(&listener{net: netip.MustParsePrefix("192.0.2.0/24"), until: time.Now().Add(time.Hour), say: say("net")})
		traces.Emit(login("S1", "a@x", "192.0.2.1"))
		traces.Emit(login("S2", "a@y", "198.51.100.1"))
		traces.Emit(event.Notice{Text: "about nobody"})
		time.Sleep(2 * time.Minute)
		traces.Emit(login("S3", "a@x", "192.0.2.1"))
		if got := strings.Join(heard, ", "); got != "mask S1 passdb, net S1 passdb, net S3 passdb" {
			t.Errorf("heard %s", got)
		}
		time.Sleep(time.Hour)
		traces.Emit(login("S4", "a@x", "192.0.2.1"))
		if traces.active.Load() != 0 {
			t.Error("a trace whose time is over still costs every login")
		}
	})
}

func TestTracesAreBounded(t *testing.T) {
	r := newRig(t)
	r.server.Traces = &Traces{}
	for range maxTraces {
		if _, end := r.call(&Request{Command: "trace start", Users: []string{"u"}, Seconds: 60}); end.Status != OK {
			t.Fatal(end)
		}
	}
	for _, c := range []struct {
		q    Request
		want Status
	}{
		{Request{Command: "trace start", Users: []string{"u"}, Seconds: 60}, Temporary},
		{Request{Command: "trace start", Seconds: 60}, Usage},
		{Request{Command: "trace start", Users: []string{"u"}}, Usage},
		{Request{Command: "trace stop", Users: []string{"u"}}, OK},
	} {
		if _, end := r.call(&c.q); end.Status != c.want {
			t.Errorf("%+v: %+v, want %s", c.q, end, c.want)
		}
	}
	if rows, _ := r.call(&Request{Command: "trace list"}); len(rows) != 0 {
		t.Errorf("traces that were stopped are listed: %v", rows)
	}
}

func TestExplainTellsEventsAndSteps(t *testing.T) {
	var traces Traces
	var said []string
	run := func(_ context.Context, q *Request, session string, say func(stage, text string)) (bool, error) {
		say("settings", "x")
		traces.Emit(login(session, q.Users[0], "192.0.2.1"))
		traces.Emit(login("another", q.Users[0], "192.0.2.1"))
		return true, nil
	}
	err := Explain(t.Context(), &Request{Users: []string{"u"}}, &traces, run, func(stage, text string) { said = append(said, stage+": "+text) })
	if got := strings.Join(said, ", "); got != "settings: x, passdb: sql is asked for u" {
		t.Errorf("said %s", got)
	}
	if f, ok := err.(*fault); !ok || f.status != Denied {
		t.Errorf("error %v, want the refusal", err)
	}
	if traces.active.Load() != 0 {
		t.Error("the listener stays behind")
	}
}
