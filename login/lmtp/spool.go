package lmtp

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// memoryLimit is how much of a message is kept in memory.
const memoryLimit = 128 << 10

// spool holds a message: in memory, or past memoryLimit in a file that has no name any more, so that it is
// gone with the process. After a failed write it takes and has nothing.
type spool struct {
	dir  string
	mem  []byte
	file *os.File
	size int64
	err  error
}

// newSpool returns an empty spool with its file, if it comes to that, in dir.
func newSpool(dir string) *spool { return &spool{dir: dir} }

// write appends to the message.
func (s *spool) write(b []byte) {
	if s.err != nil {
		return
	}
	s.size += int64(len(b))
	if s.file == nil {
		if len(s.mem)+len(b) <= memoryLimit {
			s.mem = append(s.mem, b...)
			return
		}
		if s.err = s.open(); s.err != nil {
			return
		}
	}
	if _, err := s.file.Write(b); err != nil {
		s.err = err
		s.close()
	}
}

// open moves what is in memory to a file.
func (s *spool) open() error {
	f, err := os.CreateTemp(s.dir, "dproxy-lmtp-*") // mode 0600
	if err != nil {
		return err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.Write(s.mem)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	s.file, s.mem = f, nil
	return nil
}

// reader reads the message from its start. Several may read at once.
func (s *spool) reader() io.Reader {
	if s.file != nil {
		return io.NewSectionReader(s.file, 0, s.size)
	}
	return bytes.NewReader(s.mem)
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	s.mem = nil
}

// writable tells whether files can be made in a directory.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }
