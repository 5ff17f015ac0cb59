package route

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dproxy/event"
)

// dns is a Resolver whose state the tests change.
type dns struct {
	answer []netip.Addr
	err    error
	delay  time.Duration
	asked  int
}

func (d *dns) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	d.asked++
	if d.delay > 0 {
		select {
		case <-time.After(d.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return d.answer, d.err
}

func TestLastGoodAnswer(t *testing.T) {
	broken := errors.New("lookup b.example on 192.0.2.53:53: server misbehaving")
	for _, tc := range []struct {
		name string
		err  error
	}{{"a failing server", broken}, {"a zone that lost the name", &net.DNSError{IsNotFound: true}}} {
		t.Run(tc.name+" is bridged for 5 minutes and not longer", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dns{answer: addrs("192.0.2.10", "192.0.2.11")}
				r := New(d, event.Discard{})
				ask := func() error {
					targets, err := r.Targets(t.Context(), query("proxy host=b.example"))
					if err == nil && (targets[0].Addr.Addr() != d.answer[0] || len(targets[0].Others) != 1) {
						t.Errorf("got %v", targets[0])
					}
					return err
				}
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(24 * time.Hour)
				d.err = tc.err
				for range 4 {
					if err := ask(); err != nil {
						t.Fatalf("within 5 minutes: %v", err)
					}
					time.Sleep(74 * time.Second)
				}
				time.Sleep(5 * time.Second)
				var re *Error
				if err := ask(); !errors.As(err, &re) || re.Kind != TempFail {
					t.Fatalf("after 5 minutes: %v", err)
				}
				d.err = nil
				if err := ask(); err != nil {
					t.Errorf("after recovery: %v", err)
				}
			})
		})
	}
}

func TestFailingNameIsAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dns{answer: addrs("192.0.2.10")}
		rec := &recorder{}
		r := New(d, rec)
		if _, err := r.Targets(t.Context(), query("proxy host=b.example")); err != nil {
			t.Fatal(err)
		}
		d.asked, d.err, d.answer = 0, errors.New("server misbehaving"), nil
		for range 100 {
			if _, err := r.Targets(t.Context(), query("proxy host=b.example")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if d.asked != 10 {
			t.Errorf("asked %d times in 10 seconds", d.asked)
		}
		if want := []string{"Warning: DNS lookup for b.example failed: server misbehaving; the last good answer is used"}; !slices.Equal(rec.lines, want) {
			t.Errorf("lines %q", rec.lines)
		}
	})
}

func TestSlowDNSHoldsOneLoginOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dns{answer: addrs("192.0.2.10")}
		r := New(d, event.Discard{})
		q := query("proxy host=b.example")
		if _, err := r.Targets(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		d.delay = time.Hour
		began := time.Now()
		if _, err := r.Targets(t.Context(), q); err != nil || time.Since(began) != dnsTimeout {
			t.Fatalf("first: %v after %v", err, time.Since(began))
		}
		time.Sleep(askAgain)
		go func() { _, _ = r.Targets(t.Context(), q) }()
		synctest.Wait()
		began = time.Now()
		if _, err := r.Targets(t.Context(), q); err != nil || time.Since(began) != 0 {
			t.Errorf("while another asks: %v after %v", err, time.Since(began))
		}
	})
}

func TestUnknownNameIsATemporaryFailure(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"no such name", &net.DNSError{IsNotFound: true}, "DNS lookup for b.example failed: Name or service not known"},
		{"a time-out", &net.DNSError{IsTimeout: true}, "DNS lookup for b.example failed: Lookup timed out"},
		{"control bytes of an error stay out of the log", errors.New("x\r\ny"), "DNS lookup for b.example failed: x??y"},
		{"an empty answer", nil, "DNS lookup for b.example failed: Name or service not known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := &recorder{}
			_, err := New(&dns{err: tc.err}, rec).Targets(t.Context(), query("proxy host=b.example"))
			var re *Error
			if !errors.As(err, &re) || re.Kind != TempFail || re.Text != tc.want {
				t.Errorf("got %v", err)
			}
			if want := []string{"Error: " + tc.want}; !slices.Equal(rec.lines, want) {
				t.Errorf("lines %q", rec.lines)
			}
		})
	}
}

func TestSlowLookupIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		r := New(&dns{answer: addrs("192.0.2.10"), delay: 700 * time.Millisecond}, rec)
		if _, err := r.Targets(t.Context(), query("proxy host=b.example")); err != nil {
			t.Fatal(err)
		}
		if want := []string{"Warning: auth(u1,198.51.100.7): DNS lookup for b.example took 700ms"}; !slices.Equal(rec.lines, want) {
			t.Errorf("lines %q", rec.lines)
		}
	})
}

func TestCanceledLoginIsNoDNSFailure(t *testing.T) {
	d := &dns{answer: addrs("192.0.2.10")}
	rec := &recorder{}
	r := New(d, rec)
	q := query("proxy host=b.example")
	if _, err := r.Targets(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.delay = time.Hour
	if _, err := r.Targets(ctx, q); err == nil {
		t.Error("a canceled lookup answered")
	}
	d.delay = 0
	d.answer = addrs("192.0.2.99")
	targets, err := r.Targets(t.Context(), q)
	if err != nil || targets[0].Addr.Addr() != d.answer[0] {
		t.Errorf("the next login got %v, %v", targets, err)
	}
	if len(rec.lines) != 0 {
		t.Errorf("lines %q", rec.lines)
	}
}

func TestKeptNamesAreBounded(t *testing.T) {
	n := newNames(&dns{answer: addrs("192.0.2.10")})
	for i := range 3 * maxNames {
		n.lookup(t.Context(), string(rune('a'+i%26))+"-"+time.Duration(i).String())
	}
	if len(n.good) > maxNames {
		t.Errorf("%d names kept", len(n.good))
	}
}
