package event

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	queueLines = 10000    // beyond it lines are dropped and counted: a full disk never blocks a login
	maxLine    = 4 << 10  // a line is cut, never split
	batchBytes = 64 << 10 // whole lines are batched into one write
	// patience is how long Flush and Close wait for a log that cannot be written, such as a pipe that
	// nobody reads.
	patience = 3 * time.Second
	// collectFor is how long the first line of a batch may wait for others.
	collectFor = 5 * time.Millisecond
	// sayAgain is the pause between two attempts to tell how many lines were lost.
	sayAgain = time.Second
)

// LogOptions say where lines go, after Dovecot's settings of the same names.
type LogOptions struct {
	Path, InfoPath, DebugPath string // "" means syslog for Path, and Path for the others
	Timestamp                 string // strftime format
	Facility                  string // syslog_facility
	Instance                  string // instance_name, the name in syslog lines; "" means dovecot
	socket                    string // the syslog socket, for tests
}

// Log writes the lines of events in Dovecot's format. It is a Sink.
type Log struct {
	queue    chan entry
	dropped  atomic.Uint64
	reopen   chan LogOptions
	flush    chan chan struct{}
	done     chan struct{}
	close    sync.Once
	quit     chan struct{}
	patience time.Duration
}

// entry is a line with the time of its event, which may be long before it is written.
type entry struct {
	Line
	at time.Time
}

// OpenLog opens the log files and starts the writer, which runs until Close.
func OpenLog(o LogOptions) (*Log, error) {
	out, err := openOutputs(o)
	if err != nil {
		return nil, err
	}
	l := &Log{
		queue:    make(chan entry, queueLines),
		reopen:   make(chan LogOptions, 1),
		flush:    make(chan chan struct{}),
		done:     make(chan struct{}),
		quit:     make(chan struct{}),
		patience: patience,
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
	case l.queue <- entry{line, time.Now()}:
	default:
		l.dropped.Add(1)
	}
}

// Dropped counts the lines lost because they could not be written, or not fast enough.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen closes and opens the files again, after a rotation or with changed settings. It does not wait
// for that; when the files cannot be opened the old ones stay and a line says why.
func (l *Log) Reopen(o LogOptions) {
	for {
		select {
		case l.reopen <- o:
			return
		case <-l.done:
			return
		default:
		}
		select {
		case <-l.reopen: // an older wish that has not been served
		default:
		}
	}
}

// Flush returns once everything queued before it has been written, or could not be for some seconds.
func (l *Log) Flush() {
	c := make(chan struct{})
	t := time.NewTimer(l.patience)
	defer t.Stop()
	select {
	case l.flush <- c:
	case <-l.done:
		return
	case <-t.C:
		return
	}
	select {
	case <-c:
	case <-l.done:
	case <-t.C:
	}
}

// Close writes what is queued and ends the writer. A log that cannot be written holds it for some seconds
// only; the writer then ends when its last write does.
func (l *Log) Close() {
	l.close.Do(func() { close(l.quit) })
	t := time.NewTimer(l.patience)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}

// write is the writer.
func (l *Log) write(out *outputs) {
	defer close(l.done)
	defer func() { out.close() }()
	var told uint64 // lost lines that a line has told of
	var retry <-chan time.Time
	// Lines are collected for a moment: a busy server writes a few times a hundredth of a second, not
	// for every line, and those who report do not wake this goroutine each time.
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	for {
		select {
		case e := <-l.queue:
			l.lost(out.add(e))
			asked := l.collect(pause)
			l.drain(out)
			if asked != nil {
				l.lost(out.flush())
				close(asked)
			}
		case o := <-l.reopen:
			if fresh, err := openOutputs(o); err != nil {
				l.lost(out.add(entry{Line{"master", Error, err.Error()}, time.Now()}))
			} else {
				l.lost(out.close())
				out = fresh
			}
		case c := <-l.flush:
			l.drain(out)
			l.lost(out.flush())
			close(c)
		case <-retry:
			retry = nil
		case <-l.quit:
			l.drain(out)
			l.lost(out.flush())
			l.tell(out, &told)
			return
		}
		l.lost(out.flush())
		if len(l.queue) == 0 && retry == nil && !l.tell(out, &told) {
			retry = time.After(sayAgain)
		}
	}
}

func (l *Log) lost(lines int) { l.dropped.Add(uint64(lines)) }

// collect waits until the lines of a moment are queued. It returns at once at the end, and with the channel of a Flush
// that came meanwhile.
func (l *Log) collect(pause *time.Timer) chan struct{} {
	pause.Reset(collectFor)
	select {
	case <-pause.C:
	case c := <-l.flush:
		return c
	case <-l.quit:
	}
	return nil
}

// tell says how many lines were lost, as soon as writing works again. It reports false when the line could
// not be written either.
func (l *Log) tell(out *outputs, told *uint64) bool {
	n := l.dropped.Load()
	if n == *told {
		return true
	}
	text := fmt.Sprintf("%d log lines were lost because they could not be written", n-*told)
	if out.add(entry{Line{"log", Warning, text}, time.Now()})+out.flush() > 0 {
		return false
	}
	*told = n
	return true
}

func (l *Log) drain(out *outputs) {
	for range queueLines { // new lines may come as fast as they are written
		select {
		case e := <-l.queue:
			l.lost(out.add(e))
		default:
			return
		}
	}
}
