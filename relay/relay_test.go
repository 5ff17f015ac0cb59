package relay

import (
	"bytes"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcpPair returns both ends of a loopback connection.
func tcpPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return s, c
}

func TestSmoke(t *testing.T) {
	e := NewWith(Options{Goroutines: true})
	defer e.Close()
	cs, c := tcpPair(t)
	bs, b := tcpPair(t)
	done := make(chan Stats, 1)
	e.Start(Pair{Client: cs, Backend: bs, ToBackend: []byte("early ")}, func(st Stats) { done <- st })
	go func() {
		c.Write([]byte("logout"))
		c.CloseWrite()
	}()
	got, _ := io.ReadAll(b)
	b.Write(bytes.Repeat([]byte("x"), 1<<20))
	b.Close()
	back, _ := io.ReadAll(c)
	c.Close()
	st := <-done
	if string(got) != "early logout" || len(back) != 1<<20 || st.Side != ByClient || st.Err != nil || st.In != 12 || st.Out != 1<<20 {
		t.Fatal(string(got), len(back), st)
	}
}
