package tlsconf

import (
	"net"
	"testing"
)

// TestSlots: a handshake that waits for its peer leaves its slot to others, one that computes does not.
func TestSlots(t *testing.T) {
	slots := NewSlots(1)
	near, far := net.Pipe()
	defer far.Close()
	waits := &Transport{Conn: near}
	ended := make(chan error)
	go func() {
		ended <- waits.Handshake(slots, func() error {
			_, err := waits.Read(make([]byte, 1))
			if len(slots) != 1 {
				t.Error("no slot is held after reading")
			}
			return err
		})
	}()
	other := &Transport{Conn: near}
	_ = other.Handshake(slots, func() error { // the first waits
		if len(slots) != 1 {
			t.Error("no slot is held while it computes")
		}
		return nil
	})
	if _, err := far.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || len(slots) != 0 {
		t.Errorf("got %v, and %d slots are held", err, len(slots))
	}
	if err := other.Handshake(nil, func() error { return nil }); err != nil {
		t.Error(err)
	}
}
