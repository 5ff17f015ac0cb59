package e2e

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

const (
	bigAppend = 25 << 20 // bytes, about
	bigFetch  = 100 << 20
)

// bigMessage makes a message of lines that do not repeat.
func bigMessage(size int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
	random := rand.New(rand.NewPCG(1, uint64(size)))
	b := bytes.NewBuffer(make([]byte, 0, size+100))
	b.WriteString("From: a@example.org\r\nSubject: big\r\n\r\n")
	line := make([]byte, 76)
	for b.Len() < size {
		for i := 0; i < len(line); i += 4 {
			n := random.Uint32()
			for j := range 4 {
				line[i+j] = letters[n>>(6*j)&63]
			}
		}
		b.Write(line)
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func testBigMessages(t *testing.T, h *house, f *front) {
	const user = "big@example.org"
	message := bigMessage(bigFetch)
	if err := h.one.Deliver(user, message); err != nil {
		t.Fatal(err)
	}
	sum, size := hexSum(message), int64(len(message))
	check := func(t *testing.T, addr string, conf *tls.Config, number int, size int64, sum string) {
		t.Helper()
		c, err := loginIMAP(addr, "", conf, user)
		if err != nil {
			t.Fatal(err)
		}
		defer c.nc.Close()
		if _, err := c.cmd("SELECT INBOX"); err != nil {
			t.Fatal(err)
		}
		gotSize, gotSum, err := c.fetch(number)
		if err != nil || gotSize != size || gotSum != sum {
			t.Errorf("message of %d bytes came as %d, the same: %v, %v", size, gotSize, gotSum == sum, err)
		}
	}
	t.Run("FETCH of 100 MB", func(t *testing.T) { check(t, f.addr("imap"), nil, 1, size, sum) })
	t.Run("FETCH of 100 MB with TLS", func(t *testing.T) { check(t, f.addr("imaps"), h.clientTLS(), 1, size, sum) })
	message = bigMessage(bigAppend)
	sum, size = hexSum(message), int64(len(message))
	for i, conf := range []*tls.Config{nil, h.clientTLS()} {
		name, addr := "APPEND of 25 MB", f.addr("imap")
		if conf != nil {
			name, addr = name+" with TLS", f.addr("imaps")
		}
		t.Run(name, func(t *testing.T) {
			c, err := loginIMAP(addr, "", conf, user)
			if err != nil {
				t.Fatal(err)
			}
			defer c.nc.Close()
			if err := c.append("INBOX", size, bytes.NewReader(message)); err != nil {
				t.Fatal(err)
			}
			check(t, h.one.Addr("imap"), nil, 2+i, size, sum)
		})
	}
}
