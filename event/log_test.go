package event

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o LogOptions) *Log {
	t.Helper()
	l, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogFiles(t *testing.T) {
	dir := t.TempDir()
	all, info, debug := filepath.Join(dir, "all"), filepath.Join(dir, "info"), filepath.Join(dir, "debug")
	l := open(t, LogOptions{Path: all, InfoPath: info, DebugPath: debug, Timestamp: "T "})
	for level := Debug; level <= Fatal; level++ {
		l.Emit(Notice{level, "master", "x\ny"})
	}
	l.Emit(RouteChosen{}) // makes no line
	l.Flush()
	for path, want := range map[string]string{
		all:   "T master: Warning: x?y\nT master: Error: x?y\nT master: Fatal: x?y\n",
		info:  "T master: Info: x?y\n",
		debug: "T master: Debug: x?y\n",
	} {
		if got := read(t, path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	st, err := os.Stat(all)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestEqualPathsShareAFileInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, LogOptions{Path: path})
	for i := range 500 {
		l.Emit(Notice{Level(i % 4), "master", fmt.Sprint(i)})
	}
	l.Flush()
	lines := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	for i, line := range lines {
		if want := fmt.Sprintf("master: %s: %d", Level(i%4), i); line != want {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(lines) != 500 || l.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", len(lines), l.Dropped())
	}
}

func TestLongLineIsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, LogOptions{Path: path})
	l.Emit(Notice{Info, "master", strings.Repeat("ü", 3000)})
	l.Emit(Notice{Info, "master", "next"})
	l.Flush()
	lines := strings.SplitAfter(read(t, path), "\n")
	if len(lines[0]) > maxLine+1 || !strings.HasSuffix(lines[0], "ü\n") || lines[1] != "master: Info: next\n" {
		t.Errorf("%d bytes, then %q", len(lines[0]), lines[1])
	}
}

func TestReopenAfterRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	o := LogOptions{Path: path}
	l := open(t, o)
	l.Emit(Notice{Info, "master", "one"})
	l.Flush()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Emit(Notice{Info, "master", "two"})
	l.Flush()
	l.Reopen(o)
	waitFor(t, func() bool { _, err := os.Stat(path); return err == nil })
	l.Emit(Notice{Info, "master", "three"})
	l.Flush()
	if got, want := read(t, path+".1")+"|"+read(t, path), "master: Info: one\nmaster: Info: two\n|master: Info: three\n"; got != want {
		t.Errorf("got %q", got)
	}
	// A path that cannot be opened keeps the old file and says so.
	l.Reopen(LogOptions{Path: filepath.Join(dir, "none", "log")})
	waitFor(t, func() bool { return strings.Contains(read(t, path), "can't open log file") })
	l.Emit(Notice{Info, "master", "four"})
	l.Flush()
	if got := read(t, path); !strings.HasSuffix(got, "master: Info: four\n") {
		t.Errorf("got %q", got)
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a directory that is missing": filepath.Join(dir, "x", "log"), "a pipe that nobody reads": fifo} {
		t.Run(name, func(t *testing.T) {
			if l, err := OpenLog(LogOptions{Path: path}); err == nil {
				l.Close()
				t.Error("opened")
			} else if !strings.HasPrefix(err.Error(), "can't open log file "+path+": ") {
				t.Error(err)
			}
		})
	}
}

func TestCloseTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, LogOptions{Path: path})
	l.Emit(Notice{Info, "master", "last words"})
	l.Close()
	l.Close()
	l.Flush()
	l.Reopen(LogOptions{})
	l.Emit(Notice{Info, "master", "too late"})
	if got := read(t, path); got != "master: Info: last words\n" {
		t.Errorf("got %q", got)
	}
}

// TestStuckPipe: a log pipe that is not read blocks no login, no reload and no exit, and the lost lines
// are told of once it is read again.
func TestStuckPipe(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l := open(t, LogOptions{Path: fifo})
	l.patience = 10 * time.Millisecond
	text := strings.Repeat("x", 1000)
	const emitted = queueLines + 2000
	for range emitted {
		l.Emit(Notice{Info, "master", text})
	}
	waitFor(t, func() bool { l.Emit(Notice{Info, "master", text}); return l.Dropped() > 100 })
	l.Flush()
	for range 3 {
		l.Reopen(LogOptions{Path: fifo})
	}
	s := bufio.NewScanner(reader)
	s.Buffer(nil, 1<<20)
	told := ""
	for told == "" && s.Scan() {
		if !strings.HasPrefix(s.Text(), "master: Info: x") {
			told = s.Text()
		}
	}
	if !strings.HasPrefix(told, "log: Warning: ") || !strings.HasSuffix(told, " log lines were lost because they could not be written") {
		t.Errorf("got %q", told)
	}
}

// TestFullDisk: what a full disk swallows is counted, and a torn line never swallows the next one.
func TestFullDisk(t *testing.T) {
	w := &disk{room: 40}
	x := &output{w: w}
	out := &outputs{all: []*output{x}}
	for level := range out.byLevel {
		out.byLevel[level] = x
	}
	line := func(text string) int {
		return out.add(entry{Line{"m", Info, text}, time.Now()}) + out.flush()
	}
	lost := 0
	for range 5 {
		lost += line("12345678") // 18 bytes
	}
	if lost != 3 {
		t.Errorf("%d lost", lost)
	}
	w.room = 1000
	if line("again") != 0 {
		t.Error("lost after recovery")
	}
	if got, want := w.got, "m: Info: 12345678\nm: Info: 12345678\nm: I\nm: Info: again\n"; got != want {
		t.Errorf("got %q", got)
	}
}

// disk takes a number of bytes.
type disk struct {
	room int
	got  string
}

func (d *disk) Write(b []byte) (int, error) {
	n := min(d.room, len(b))
	d.got += string(b[:n])
	d.room -= n
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestSyslog(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		t.Run(network, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			d := listenSyslog(t, network, path)
			l := open(t, LogOptions{Facility: "local3", Instance: "mx", socket: path})
			emit := func(level Level, text string) { l.Emit(Notice{level, "imap-login", text}); l.Flush() }
			emit(Info, "Login: a")
			emit(Error, "b")
			emit(Warning, "c\nd")
			now := time.Now().Format("Jan _2")
			for _, want := range []string{"<158>" + now, "<155>" + now, "<156>" + now} {
				got := d.line()
				if !strings.HasPrefix(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			// The daemon is restarted: the next line finds it again.
			d.close()
			d = listenSyslog(t, network, path)
			emit(Info, "back")
			if got := d.line(); !strings.HasSuffix(got, " mx: imap-login: back") || l.Dropped() != 0 {
				t.Errorf("after the restart: %q, %d dropped", got, l.Dropped())
			}
		})
	}
}

func TestSyslogLineShapes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := listenSyslog(t, "unixgram", path)
	l := open(t, LogOptions{socket: path})
	for _, tc := range []struct {
		level Level
		want  string
	}{{Info, "dovecot: auth: x"}, {Error, "dovecot: auth: Error: x"}, {Warning, "dovecot: auth: Warning: x"}, {Debug, "dovecot: auth: Debug: x"}, {Fatal, "dovecot: auth: Fatal: x"}} {
		l.Emit(Notice{tc.level, "auth", "x"})
		if got := d.line(); !strings.HasSuffix(got, " "+tc.want) {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestSyslogThatStopsReadingCostsLinesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := listenSyslog(t, "unixgram", path)
	l := open(t, LogOptions{socket: path})
	l.patience = 10 * time.Millisecond
	waitFor(t, func() bool { l.Emit(Notice{Info, "auth", strings.Repeat("x", 3000)}); return l.Dropped() > 0 })
	l.Flush()
	d.close()
}

func TestNoSyslogGoesToStderr(t *testing.T) {
	x, err := openOutput("syslog", LogOptions{socket: filepath.Join(t.TempDir(), "none")})
	if err != nil || x.w != os.Stderr {
		t.Errorf("got %+v, %v", x, err)
	}
}

func TestFacility(t *testing.T) {
	for name, want := range map[string]int{"mail": 16, "": 16, "nonsense": 16, "daemon": 24, "local7": 184} {
		if got := facilityOf(name); got != want {
			t.Errorf("%q: %d", name, got)
		}
	}
}

// daemon is a syslog daemon.
type daemon struct {
	t       *testing.T
	packets net.PacketConn
	stream  net.Listener
	conn    net.Conn
	r       *bufio.Reader
}

func listenSyslog(t *testing.T, network, path string) *daemon {
	t.Helper()
	d := &daemon{t: t}
	var err error
	if network == "unixgram" {
		d.packets, err = net.ListenPacket(network, path)
	} else {
		d.stream, err = net.Listen(network, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func (d *daemon) accept() {
	if d.conn == nil {
		var err error
		if d.conn, err = d.stream.Accept(); err != nil {
			d.t.Fatal(err)
		}
		d.r = bufio.NewReader(d.conn)
	}
}

func (d *daemon) line() string {
	d.t.Helper()
	if d.packets != nil {
		b := make([]byte, 8192)
		n, _, err := d.packets.ReadFrom(b)
		if err != nil {
			d.t.Fatal(err)
		}
		return string(b[:n])
	}
	d.accept()
	line, err := d.r.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (d *daemon) close() {
	if d.packets != nil {
		_ = d.packets.Close()
		_ = os.Remove(d.packets.LocalAddr().String())
	}
	if d.stream != nil {
		_ = d.stream.Close()
	}
	if d.conn != nil {
		_ = d.conn.Close()
	}
}
