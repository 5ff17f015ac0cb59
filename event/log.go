package event

import (
	"fmt"
	"io"
	"log/syslog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLines = 10000    // beyond it lines are dropped and counted: a full disk never blocks a login
	maxLine    = 4 << 10  // a line is cut, never split
	batchBytes = 64 << 10 // whole lines are batched into one write
)

// LogOptions say where lines go, after Dovecot's settings of the same names.
type LogOptions struct {
	Path, InfoPath, DebugPath string // "" means syslog for Path, and Path for the others
	Timestamp                 string // strftime format
	Facility                  string // syslog_facility
}

// Log writes the lines of events in Dovecot's format. It is a Sink.
type Log struct {
	queue   chan Line
	dropped atomic.Uint64
	reopen  chan LogOptions
	flush   chan chan struct{}
	done    chan struct{}
	close   sync.Once
	quit    chan struct{}
}

// OpenLog opens the log files and starts the writer, which runs until Close.
func OpenLog(o LogOptions) (*Log, error) {
	out, err := openOutputs(o)
	if err != nil {
		return nil, err
	}
	l := &Log{
		queue:  make(chan Line, queueLines),
		reopen: make(chan LogOptions, 1),
		flush:  make(chan chan struct{}),
		done:   make(chan struct{}),
		quit:   make(chan struct{}),
	}
	go l.write(out)
	return l, nil
}

// Emit queues the line of an event. It never blocks.
func (l *Log) Emit(e Event) {
	line, ok := LineOf(e)
	if !ok {
		return
	}
	select {
	case l.queue <- line:
	default:
		l.dropped.Add(1)
	}
}

// Dropped counts the lines lost because writing was too slow.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen closes and opens the files again, after a rotation or with changed settings.
func (l *Log) Reopen(o LogOptions) {
	select {
	case l.reopen <- o:
	case <-l.done:
	}
}

// Flush returns once everything queued before it has been written.
func (l *Log) Flush() {
	c := make(chan struct{})
	select {
	case l.flush <- c:
		<-c
	case <-l.done:
	}
}

// Close writes what is queued and ends the writer.
func (l *Log) Close() {
	l.close.Do(func() { close(l.quit) })
	<-l.done
}

func (l *Log) write(out *outputs) {
	defer close(l.done)
	defer func() { out.close() }()
	var reported uint64
	for {
		select {
		case line := <-l.queue:
			out.add(line)
			l.drain(out)
		case o := <-l.reopen:
			fresh, err := openOutputs(o)
			if err != nil {
				out.add(Line{"master", Error, err.Error()})
				break
			}
			out.close()
			out = fresh
		case c := <-l.flush:
			l.drain(out)
			out.flush()
			close(c)
		case <-l.quit:
			l.drain(out)
			out.flush()
			return
		}
		out.flush()
		if n := l.dropped.Load(); n != reported && len(l.queue) == 0 {
			out.add(Line{"log", Warning, fmt.Sprintf("%d log lines were lost because writing was too slow", n-reported)})
			reported = n
			out.flush()
		}
	}
}

func (l *Log) drain(out *outputs) {
	for {
		select {
		case line := <-l.queue:
			out.add(line)
		default:
			return
		}
	}
}

// outputs are the three destinations; equal paths share one.
type outputs struct {
	byLevel [Fatal + 1]*output
	all     []*output
	clock   clock
}

type output struct {
	w      io.Writer
	closer io.Closer
	syslog *syslog.Writer
	buf    []byte
}

func openOutputs(o LogOptions) (*outputs, error) {
	out := &outputs{clock: clock{format: o.Timestamp}}
	byPath := map[string]*output{}
	open := func(path string) (*output, error) {
		if have := byPath[path]; have != nil {
			return have, nil
		}
		x, err := openOutput(path, o.Facility)
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

func openOutput(path, facility string) (*output, error) {
	switch path {
	case "syslog":
		w, err := syslog.New(facilityOf(facility)|syslog.LOG_INFO, "dovecot")
		if err != nil {
			// A host without syslog still shows its lines somewhere.
			return &output{w: os.Stderr}, nil
		}
		return &output{syslog: w, closer: w}, nil
	case "/dev/stderr":
		return &output{w: os.Stderr}, nil
	case "/dev/stdout":
		return &output{w: os.Stdout}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("can't open log file %s: %s; check log_path and the directory's permissions", path, errText(err))
	}
	return &output{w: f, closer: f}, nil
}

func (o *outputs) add(l Line) {
	x := o.byLevel[l.Level]
	text := l.Source + ": " + l.Level.String() + ": " + l.Text
	if len(text) > maxLine {
		text = text[:maxLine]
	}
	text = strings.NewReplacer("\n", "?", "\r", "?").Replace(text)
	if x.syslog != nil {
		x.toSyslog(l.Level, text)
		return
	}
	x.buf = append(x.buf, o.clock.stamp(time.Now())...)
	x.buf = append(x.buf, text...)
	x.buf = append(x.buf, '\n')
	if len(x.buf) >= batchBytes {
		x.flush()
	}
}

func (x *output) toSyslog(level Level, text string) {
	switch level {
	case Debug:
		_ = x.syslog.Debug(text)
	case Info:
		_ = x.syslog.Info(text)
	case Warning:
		_ = x.syslog.Warning(text)
	case Error:
		_ = x.syslog.Err(text)
	default:
		_ = x.syslog.Crit(text)
	}
}

func (x *output) flush() {
	if len(x.buf) == 0 {
		return
	}
	_, _ = x.w.Write(x.buf) // nowhere to report a failing log to
	x.buf = x.buf[:0]
}

func (o *outputs) flush() {
	for _, x := range o.all {
		x.flush()
	}
}

func (o *outputs) close() {
	o.flush()
	for _, x := range o.all {
		if x.closer != nil {
			_ = x.closer.Close()
		}
	}
}

func facilityOf(name string) syslog.Priority {
	if p, ok := map[string]syslog.Priority{
		"kern": syslog.LOG_KERN, "user": syslog.LOG_USER, "mail": syslog.LOG_MAIL, "daemon": syslog.LOG_DAEMON,
		"auth": syslog.LOG_AUTH, "syslog": syslog.LOG_SYSLOG, "lpr": syslog.LOG_LPR, "news": syslog.LOG_NEWS,
		"uucp": syslog.LOG_UUCP, "cron": syslog.LOG_CRON, "authpriv": syslog.LOG_AUTHPRIV, "ftp": syslog.LOG_FTP,
		"local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2, "local3": syslog.LOG_LOCAL3,
		"local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5, "local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
	}[name]; ok {
		return p
	}
	return syslog.LOG_MAIL
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
	if s := t.Unix(); s != c.second || strings.Contains(c.format, "%N") {
		c.second, c.text = s, strftime(c.format, t)
	}
	return c.text
}

// strftime supports the conversions that log_timestamp is used with.
func strftime(format string, t time.Time) string {
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'H': "15", 'I': "03",
		'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST", 'T': "15:04:05",
		'D': "01/02/06", 'F': "2006-01-02", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'j': "002",
	}
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
