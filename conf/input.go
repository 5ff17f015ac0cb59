package conf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Bounds against files that are no configuration. Dovecot has none.
const (
	maxLine    = 1 << 20  // bytes of one logical line
	maxBytes   = 64 << 20 // bytes of the file and all that it includes
	maxDepth   = 100      // files that include each other
	maxNesting = 1000     // sections in each other
)

// input is one file, opened when its turn comes.
type input struct {
	path  string
	file  int32 // its number in Config.files
	line  int32
	depth int // files that include it
	f     io.ReadCloser
	r     *bufio.Reader
	prev  *input
}

// tooLarge is the error of a bound.
func tooLarge(what string, n int) error {
	return fmt.Errorf("%s larger than %d bytes; is it a configuration file?", what, n)
}

// open makes path the current input. It must be readable now; it is kept open only once its turn
// comes, since one !include may match more files than a process may open.
func (p *parser) open(path string) error {
	for in := p.in; in != nil; in = in.prev {
		if in.path == path {
			return fmt.Errorf("Recursive include file: %s", path)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	f.Close()
	p.push(path, nil)
	return nil
}

func (p *parser) push(path string, f io.ReadCloser) {
	id, known := p.fileID[path]
	if !known {
		id = int32(len(p.conf.files))
		p.fileID[path] = id
		p.conf.files = append(p.conf.files, path)
	}
	p.in = &input{path: path, file: id, f: f, prev: p.in}
}

// start opens the current input when its turn has come.
func (in *input) start() error {
	if in.r != nil {
		return nil
	}
	if in.f == nil {
		f, err := os.Open(in.path)
		if err != nil {
			return fmt.Errorf("Couldn't open include file %s: %s", in.path, errnoText(err))
		}
		in.f = f
	}
	in.r = bufio.NewReaderSize(in.f, 64<<10)
	return nil
}

// pop closes the current input and returns to the one that included it.
func (p *parser) pop() {
	if p.in.f != nil {
		p.in.f.Close()
	}
	p.in = p.in.prev
}

// closeAll closes what an error left open.
func (p *parser) closeAll() {
	for p.in != nil {
		p.pop()
	}
}

// readLine reads one physical line without its end. It returns io.EOF after the last one.
func (p *parser) readLine() (string, error) {
	if err := p.in.start(); err != nil {
		return "", err
	}
	var long []byte
	for {
		part, err := p.in.r.ReadSlice('\n')
		if p.read += len(part); p.read > maxBytes {
			p.in.line++
			return "", tooLarge("All configuration files together are", maxBytes)
		}
		if len(long)+len(part) > maxLine {
			p.in.line++
			return "", tooLarge("Line is", maxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		if long != nil {
			part = append(long, part...)
		}
		if len(part) == 0 {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EISDIR) {
				return "", fmt.Errorf("read(%s) failed: %s", p.in.path, errnoText(err))
			}
			return "", io.EOF
		}
		p.in.line++
		part = bytes.TrimSuffix(part, []byte("\n"))
		part = bytes.TrimSuffix(part, []byte("\r"))
		if nul := bytes.IndexByte(part, 0); nul >= 0 {
			part = part[:nul]
		}
		return string(part), nil
	}
}

// errnoText is the text of an operating system error without path and operation, as C's strerror
// has it.
func errnoText(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return strerror(errno)
	}
	return err.Error()
}
