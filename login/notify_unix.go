//go:build unix

package login

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// pipe is a FIFO that is written to without waiting.
type pipe int

// openPipe opens a FIFO that somebody reads.
func openPipe(path string) (pipe, error) {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		text := err.Error()
		return 0, fmt.Errorf("open(%s) failed: %s", path, strings.ToUpper(text[:1])+text[1:])
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFIFO {
		return pipe(fd), nil
	}
	_ = syscall.Close(fd)
	return 0, fmt.Errorf("%s is not a FIFO; make one with mkfifo", path)
}

// write reports false when nobody reads any more.
func (p pipe) write(line []byte) bool {
	_, err := syscall.Write(int(p), line) // at most PIPE_BUF bytes: all of it or nothing
	return err == nil || errors.Is(err, syscall.EAGAIN)
}

func (p pipe) close() { _ = syscall.Close(int(p)) }
