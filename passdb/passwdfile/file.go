package passwdfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxFile bounds a file in bytes: its offsets are kept in 32 bits.
	maxFile = 1 << 30
	// timestampStep is more than the step of a file system's time stamps: a file that changed less than that
	// before it was read may change again without a new time stamp.
	timestampStep = 50 * time.Millisecond
)

// stamp tells one content of a file from another.
type stamp struct {
	modified int64 // nanoseconds
	size     int64
	inode    uint64
	device   uint64
}

// file is one passwd-file with its content in memory.
type file struct {
	path string

	mu      sync.Mutex
	stamp   stamp
	settled bool // the stamp tells every later change
	users   *users
}

// current returns the users, read again when the file has changed. Errors have Dovecot's wording and wrap
// fs.ErrNotExist when there is no file. report gets what is wrong with single lines.
func (f *file) current(report func(string)) (*users, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		f.users = nil
		return nil, errorOf("open", f.path, err)
	}
	if f.users != nil && f.settled && stampOf(info) == f.stamp {
		return f.users, nil
	}
	if !info.Mode().IsRegular() {
		f.users = nil
		return nil, fmt.Errorf("%s is not a regular file", f.path) // opening a FIFO would block
	}
	if err := f.read(report); err != nil {
		f.users = nil
		return nil, err
	}
	return f.users, nil
}

func (f *file) read(report func(string)) error {
	fd, err := os.Open(f.path)
	if err != nil {
		return errorOf("open", f.path, err)
	}
	defer fd.Close()
	info, err := fd.Stat()
	if err != nil {
		return errorOf("fstat", f.path, err)
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%s is larger than %d bytes", f.path, maxFile)
	}
	text := make([]byte, info.Size())
	began := time.Now()
	n, err := io.ReadFull(fd, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return errorOf("read", f.path, err)
	}
	again := f.users != nil && stampOf(info) == f.stamp // already reported
	f.stamp = stampOf(info)
	f.settled = began.Sub(info.ModTime()).Abs() > timestampStep
	f.users = index(string(text[:n]), func(user string) {
		if !again {
			report(fmt.Sprintf("passwd-file %s:User %s exists more than once", f.path, user))
		}
	})
	return nil
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{modified: info.ModTime().UnixNano(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.device = sys.Ino, uint64(sys.Dev)
	}
	return s
}

// errorOf writes a system call's failure as Dovecot does: open(/path) failed: No such file or directory.
func errorOf(call, path string, err error) error {
	text := err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text = errno.Error()
		if text != "" && text[0] >= 'a' && text[0] <= 'z' {
			text = string(text[0]-'a'+'A') + text[1:]
		}
	}
	return &callError{fmt.Sprintf("%s(%s) failed: %s", call, path, text), err}
}

// callError has a text of its own and still is the error it came from.
type callError struct {
	text  string
	cause error
}

func (e *callError) Error() string { return e.text }
func (e *callError) Unwrap() error { return e.cause }
