package relay

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"dproxy/fiber"
)

// serveOn accepts on event loops and returns the address.
func serveOn(t *testing.T, serve func(*Conn)) string {
	t.Helper()
	e := NewWith(Options{QuickEnds: true})
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	held, ok := e.Accept(l, func(nc net.Conn) {
		serve(nc.(*Conn))
		_ = nc.Close()
	}, func(error) time.Duration { return time.Millisecond })
	if !ok {
		t.Fatal("no event loops")
	}
	t.Cleanup(func() {
		_ = held.Close()
		e.Close()
	})
	return held.Addr().String()
}

func callUp(t *testing.T, address string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc
}

func TestConnsShareTheirLoops(t *testing.T) {
	block := make(chan struct{})
	address := serveOn(t, func(c *Conn) {
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line == "wait\n" {
				c.Runner().Detach()
				<-block
			}
			_, _ = io.WriteString(c, line)
		}
	})
	first := callUp(t, address)
	_, _ = io.WriteString(first, "wait\n")
	for range 16 { // while the first one waits for something else
		nc := callUp(t, address)
		_, _ = io.WriteString(nc, "a\nb")
		_, _ = io.WriteString(nc, "c\n")
		got := make([]byte, 5)
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "a\nbc\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	close(block)
	if line, err := bufio.NewReader(first).ReadString('\n'); err != nil || line != "wait\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestConnDeadlineEndsReading(t *testing.T) {
	failed := make(chan error, 1)
	address := serveOn(t, func(c *Conn) {
		_ = c.SetDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		failed <- err
	})
	callUp(t, address)
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestDialOnALoop(t *testing.T) {
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().(*net.TCPAddr).AddrPort()
	_ = closed.Close()
	echo := netip.MustParseAddrPort(serveOn(t, func(c *Conn) { _, _ = io.Copy(c, c) }))
	type outcome struct {
		refused error
		said    string
	}
	done := make(chan outcome, 1)
	address := serveOn(t, func(c *Conn) {
		var o outcome
		e, until := c.loop.engine, time.Now().Add(20*time.Second)
		ctx := fiber.With(context.Background(), c.Runner(), until)
		_, _, _, o.refused = e.Dial(ctx, until, netip.Addr{}, nobody)
		if up, _, _, err := e.Dial(ctx, until, netip.MustParseAddr("127.0.0.9"), echo); err == nil {
			_, _ = io.WriteString(up, "hello")
			b := make([]byte, 5)
			_, _ = io.ReadFull(up, b)
			o.said = string(b) + " from " + up.LocalAddr().(*net.TCPAddr).IP.String()
			_ = up.Close()
		}
		done <- o
	})
	callUp(t, address)
	if o := <-done; !errors.Is(o.refused, syscall.ECONNREFUSED) || o.said != "hello from 127.0.0.9" {
		t.Errorf("%v, %q", o.refused, o.said)
	}
}
