package relay

// lender keeps a few free buffers of a loop, for output that waits for its reader and for
// unfinished records. Sizes are few, so that a stalled session holds about what it must.
type lender struct {
	free [len(sizes)][][]byte
}

// sizes are a small answer, a TLS record and a chunk with what TLS adds to it.
var sizes = [...]int{4 << 10, recordHeader + maxCiphertext, chunk + 2*controlSlack}

// keep is how many free buffers of each size a loop keeps; more are left to the collector.
var keep = [...]int{32, 8, 4}

// borrow returns an empty buffer with room for n bytes; nil for 0.
func (l *lender) borrow(n int) []byte {
	if n == 0 {
		return nil
	}
	for i, size := range sizes {
		if n > size {
			continue
		}
		if k := len(l.free[i]); k > 0 {
			b := l.free[i][k-1]
			l.free[i] = l.free[i][:k-1]
			return b
		}
		return make([]byte, 0, size)
	}
	return make([]byte, 0, n)
}

// giveBack takes a buffer from borrow; nobody uses it any more.
func (l *lender) giveBack(b []byte) {
	for i, size := range sizes {
		if cap(b) == size && len(l.free[i]) < keep[i] {
			l.free[i] = append(l.free[i], b[:0])
		}
	}
}
