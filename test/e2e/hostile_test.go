package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	hostileRounds = 4
	memoryBound   = 256 << 10 // KiB that a proxy may have taken after all of this
)

// hostileInput is what nobody's mail client sends. Each is sent to each port and then the connection is dropped.
func hostileInput() map[string][]byte {
	random := make([]byte, 1<<20)
	for i, r := 0, rand.New(rand.NewPCG(7, 7)); i < len(random); i++ {
		random[i] = byte(r.Uint32())
	}
	return map[string][]byte{
		"nothing":           nil,
		"noise":             random,
		"NULs":              make([]byte, 1<<16),
		"an endless line":   bytes.Repeat([]byte("A"), 1<<20),
		"empty lines":       bytes.Repeat([]byte("\r\n"), 1<<15),
		"a huge literal":    []byte("a1 LOGIN {4294967296}\r\n"),
		"a negative length": []byte("a1 LOGIN {-1+}\r\nx\r\n"),
		"an overflow":       []byte("a1 LOGIN {99999999999999999999999}\r\n"),
		"many literals":     bytes.Repeat([]byte("a1 LOGIN {1000+}\r\n"+strings.Repeat("x", 1000)), 500),
		"deep lists":        append([]byte("a1 ID "), bytes.Repeat([]byte("("), 1<<16)...),
		"a flood":           bytes.Repeat([]byte("a1 NOOP\r\n"), 1<<15),
		"a POP3 flood":      bytes.Repeat([]byte("CAPA\r\n"), 1<<15),
		"half a handshake":  {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"a broken record":   append([]byte{0x16, 3, 1, 0xff, 0xff}, random[:1<<16]...),
		"STARTTLS and more": []byte("a1 STARTTLS\r\na2 LOGIN alice@example.org secret\r\na3 NOOP\r\n"),
		"STLS and more":     []byte("STLS\r\nUSER alice@example.org\r\nPASS secret\r\n"),
		"a PROXY header":    []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\na1 NOOP\r\n"),
		"HTTP":              []byte("GET / HTTP/1.1\r\nHost: mail\r\n\r\n"),
		"half a command":    []byte("a1 AUTHENTICATE PLAIN"),
		"SASL that is none": []byte("a1 AUTHENTICATE PLAIN\r\n" + strings.Repeat("!", 20000) + "\r\n"),
		"8-bit names":       []byte("\xff\xfe\xfd LOGIN \xff \xff\r\n"),
	}
}

// testHostile sends all of it to all ports, several at a time, while a session and new logins go on.
func testHostile(t *testing.T, h *house, _ *front) {
	f := h.start(t, sqlPassdb, h.wikiFiles(t))
	canary, err := loginIMAP(f.addr("imaps"), "", h.clientTLS(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer canary.nc.Close()
	type attack struct {
		name, port string
		input      []byte
		reset      bool
	}
	var attacks []attack
	for round := range hostileRounds {
		for name, input := range hostileInput() {
			for _, port := range []string{"imap", "imaps", "pop3", "pop3s"} {
				attacks = append(attacks, attack{name, port, input, round%2 == 1})
			}
		}
	}
	rand.Shuffle(len(attacks), func(i, j int) { attacks[i], attacks[j] = attacks[j], attacks[i] })
	done := make(chan error)
	go func() {
		done <- inParallel(20, len(attacks), func(i int) error {
			a := attacks[i]
			if err := assault(f.addr(a.port), a.input, a.reset); err != nil {
				return fmt.Errorf("%s to %s: %w", a.name, a.port, err)
			}
			return nil
		})
	}()
	for running := true; running; {
		select {
		case err := <-done:
			running = false
			if err != nil {
				t.Error(err)
			}
		default:
		}
		if _, err := canary.cmd("NOOP"); err != nil {
			t.Fatalf("the session that was there before: %v", err)
		}
		c, err := loginIMAP(f.addr("imap"), "", nil, "bob@example.org")
		if err != nil {
			t.Fatalf("a login meanwhile: %v", err)
		}
		c.nc.Close()
	}
	if !h.reference {
		checkMemory(t, f.proc.PID())
	}
}

// assault sends input and reads what comes for a moment; the proxy may end the connection at any point.
func assault(addr string, input []byte, reset bool) error {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, nc)
	}()
	_, _ = nc.Write(input)
	if t, ok := nc.(*net.TCPConn); ok && reset {
		_ = t.SetLinger(0)
		nc.Close()
	}
	<-read
	return nil
}

// checkMemory reads the resident size of a process from the kernel.
func checkMemory(t *testing.T, pid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		var kib int
		if n, _ := fmt.Sscanf(l, "VmRSS: %d kB", &kib); n == 1 {
			t.Logf("resident after hostile input: %d KiB", kib)
			if kib > memoryBound {
				t.Errorf("the proxy holds %d KiB", kib)
			}
			return
		}
	}
	t.Error("no VmRSS")
}
