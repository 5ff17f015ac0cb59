package relay

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// layout is where a tls.Conn keeps its input: rawInput holds records that were read and not yet
// opened, input the rest of the last one opened, hand the messages that follow a handshake. A
// connection that has received bulk data keeps tens of KiB in rawInput for ever, and copies every
// record into it. Knowing the place, a loop lends its own buffer for the time of one event: records
// are opened where they were received, and an idle connection holds nothing.
//
// The fields are unexported, so their names and types are checked when an engine is made. When they
// are not as expected the loops use the exported methods only.
type layout struct {
	known            bool
	raw, input, hand uintptr
}

// findLayout checks crypto/tls as it was built into this program.
func findLayout() layout {
	var l layout
	t := reflect.TypeFor[tls.Conn]()
	for _, f := range []struct {
		name string
		typ  reflect.Type
		at   *uintptr
	}{
		{"rawInput", reflect.TypeFor[bytes.Buffer](), &l.raw},
		{"input", reflect.TypeFor[bytes.Reader](), &l.input},
		{"hand", reflect.TypeFor[bytes.Buffer](), &l.hand},
	} {
		field, ok := t.FieldByName(f.name)
		if !ok || field.Type != f.typ || len(field.Index) != 1 {
			return layout{}
		}
		*f.at = field.Offset
	}
	l.known = true
	return l
}

func (l *layout) rawOf(c *tls.Conn) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), l.raw))
}

func (l *layout) inputOf(c *tls.Conn) *bytes.Reader {
	return (*bytes.Reader)(unsafe.Add(unsafe.Pointer(c), l.input))
}

func (l *layout) handOf(c *tls.Conn) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), l.hand))
}

// release drops the buffers that the handshake or bulk data has left, when they are empty.
func (l *layout) release(c *tls.Conn) {
	for _, b := range []*bytes.Buffer{l.rawOf(c), l.handOf(c)} {
		if b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}

// buffered reports whether c holds input that no event will announce.
func (l *layout) buffered(c *tls.Conn) bool {
	return l.rawOf(c).Len() > 0 || l.inputOf(c).Len() > 0
}
