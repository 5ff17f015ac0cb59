package event

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// outputs are the three destinations; equal paths share one.
type outputs struct {
	byLevel [Fatal + 1]*output
	all     []*output
	clock   clock
}

// output is one destination: a file, or syslog.
type output struct {
	w      io.Writer
	closer io.Closer
	syslog *syslogger
	buf    []byte
	torn   bool // the file ends in a part of a line
}

func openOutputs(o LogOptions) (*outputs, error) {
	out := &outputs{clock: clock{format: o.Timestamp}}
	byPath := map[string]*output{}
	open := func(path string) (*output, error) {
		if have := byPath[path]; have != nil {
			return have, nil
		}
		x, err := openOutput(path, o)
		if err != nil {
			return nil, err
		}
		byPath[path] = x
		out.all = append(out.all, x)
		return x, nil
	}
	errPath := orElse(o.Path, "syslog")
	infoPath := orElse(o.InfoPath, errPath)
	debugPath := orElse(o.DebugPath, infoPath)
	for level, path := range []string{debugPath, infoPath, errPath, errPath, errPath} {
		x, err := open(path)
		if err != nil {
			out.close()
			return nil, err
		}
		out.byLevel[level] = x
	}
	return out, nil
}

func openOutput(path string, o LogOptions) (*output, error) {
	switch path {
	case "syslog":
		s := newSyslogger(o)
		if s == nil {
			// A host without syslog still shows its lines somewhere.
			return &output{w: os.Stderr}, nil
		}
		return &output{syslog: s, closer: s}, nil
	case "/dev/stderr":
		return &output{w: os.Stderr}, nil
	case "/dev/stdout":
		return &output{w: os.Stdout}, nil
	}
	// Non-blocking, so that a named pipe without reader is an error here and not a hang.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("can't open log file %s: %s; check log_path and the directory's permissions", path, errText(err))
	}
	return &output{w: f, closer: f}, nil
}

var lineEnds = strings.NewReplacer("\n", "?", "\r", "?")

// add takes a line. It returns the number of lines that were lost.
func (o *outputs) add(e entry) int {
	x := o.byLevel[e.Level]
	level := e.Level.String() + ": "
	if x.syslog != nil && e.Level == Info {
		level = "" // as Dovecot's syslog lines have it
	}
	text := lineEnds.Replace(e.Source + ": " + level + e.Text)
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "")
	}
	if x.syslog != nil {
		if x.syslog.write(e, text) != nil {
			return 1
		}
		return 0
	}
	x.buf = append(x.buf, o.clock.stamp(e.at)...)
	x.buf = append(x.buf, text...)
	x.buf = append(x.buf, '\n')
	if len(x.buf) >= batchBytes {
		return x.flush()
	}
	return 0
}

// flush writes what has gathered. It returns the number of lines that were lost: a full disk may take a
// part of them.
func (x *output) flush() int {
	if len(x.buf) == 0 {
		return 0
	}
	if x.torn {
		x.buf = append([]byte{'\n'}, x.buf...)
	}
	n, err := x.w.Write(x.buf)
	lost := 0
	if err != nil {
		lost = bytes.Count(x.buf, []byte{'\n'}) - bytes.Count(x.buf[:n], []byte{'\n'})
		if x.torn && n == 0 {
			lost--
		}
	}
	if n > 0 {
		x.torn = x.buf[n-1] != '\n'
	}
	x.buf = x.buf[:0]
	return lost
}

func (o *outputs) flush() int {
	lost := 0
	for _, x := range o.all {
		lost += x.flush()
	}
	return lost
}

func (o *outputs) close() int {
	lost := o.flush()
	for _, x := range o.all {
		if x.closer != nil {
			_ = x.closer.Close()
		}
	}
	return lost
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func errText(err error) string {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// clock formats a timestamp once a second.
type clock struct {
	format string
	second int64
	text   string
}

func (c *clock) stamp(t time.Time) string {
	if c.format == "" {
		return ""
	}
	if s := t.Unix(); s != c.second || c.text == "" {
		c.second, c.text = s, strftime(c.format, t)
	}
	return c.text
}

// layouts are the conversions that log_timestamp is used with.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'H': "15", 'I': "03",
	'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST", 'T': "15:04:05",
	'D': "01/02/06", 'F': "2006-01-02", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'j': "002", 'r': "03:04:05 PM",
}

// strftime is strftime(3) in the C locale.
func strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch c := format[i]; c {
		case '%':
			b.WriteByte('%')
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 's':
			fmt.Fprint(&b, t.Unix())
		default:
			if layout, ok := layouts[c]; ok {
				b.WriteString(t.Format(layout))
			} else {
				b.WriteByte('%')
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}
