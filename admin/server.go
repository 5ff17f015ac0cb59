package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"dproxy/auth"
	"dproxy/conf"
	"dproxy/event"
	"dproxy/session"
)

const (
	// maxCommands bounds the commands that run at a time.
	maxCommands = 32
	// requestTime is what a client has to send its request.
	requestTime = 5 * time.Second
	// commandTime bounds a command that waits for something, such as a passdb.
	commandTime = 2 * time.Minute
	// writeTime is what a client has to read a part of an answer.
	writeTime = 10 * time.Second
)

// Options are what the administration looks at and acts on. All functions may be called from any goroutine.
type Options struct {
	Registry *session.Registry
	Events   event.Sink
	Errors   *Errors
	// Auth lends the authenticator in use; nil when authentication is broken. release gives it back.
	Auth func() (a *auth.Authenticator, release func())
	// Config is the configuration in use.
	Config func() *conf.Config
	// Serves tells whether a service of the configuration is served here.
	Serves func(service string) bool
	// Reload and ReopenLog do what the signals do, and return when it is done.
	Reload    func() error
	Upgrade   func() error // hands over to the program file as it is now
	ReopenLog func()
	// Explain takes a login through the real code; Traces tells of its events, and of those of logins that are traced.
	Explain Explainer
	Traces  *Traces
}

// Server answers on the control socket.
type Server struct {
	Options
	path     string
	socket   os.FileInfo // what Listen has put at path
	began    time.Time
	listener *net.UnixListener
	commands sync.WaitGroup
	slots    chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc
}

// Listen opens the control socket at path, for this process's user and root only, and serves it until Close. A socket
// that is left from another process is replaced: who runs in a base_dir is settled by its pid file.
func Listen(path string, o Options) (*Server, error) {
	fresh := path + ".tmp"
	_ = os.Remove(fresh)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w; check base_dir", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(fresh, 0o600); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("control socket %s: %w; check base_dir", path, err)
	}
	s := &Server{Options: o, path: path, began: time.Now(), listener: l, slots: make(chan struct{}, maxCommands)}
	s.socket, _ = os.Stat(path) // without it the name stays behind at the end, nothing worse
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.commands.Go(s.accept)
	return s, nil
}

// Path is where the socket is.
func (s *Server) Path() string { return s.path }

// Close ends listening and the commands that run. The socket's name is removed, unless a successor has taken it.
func (s *Server) Close() {
	if now, err := os.Stat(s.path); err == nil && s.socket != nil && os.SameFile(now, s.socket) {
		_ = os.Remove(s.path)
	}
	s.cancel()
	_ = s.listener.Close()
	s.commands.Wait()
}

// acceptPause is the pause after a failed accept: descriptors may have run out.
const acceptPause = 100 * time.Millisecond

func (s *Server) accept() {
	for {
		nc, err := s.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			select {
			case <-time.After(acceptPause):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.commands.Go(func() {
				defer func() { <-s.slots }()
				s.serve(nc)
			})
		default:
			_ = nc.Close()
		}
	}
}

// serve answers one request.
func (s *Server) serve(nc *net.UnixConn) {
	defer nc.Close()
	if err := authorized(nc); err != nil {
		s.Events.Emit(event.Notice{Level: event.Warning, Source: "doveadm", Text: err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, commandTime)
	defer cancel()
	stop := context.AfterFunc(s.ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = nc.SetReadDeadline(time.Now().Add(requestTime))
	a := &answer{nc: nc, w: bufio.NewWriterSize(nc, 32<<10)}
	q, err := readRequest(nc)
	if err == nil {
		// A client that goes away ends its command.
		_ = nc.SetReadDeadline(time.Time{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			_, _ = nc.Read(make([]byte, 1))
			cancel()
		}()
		defer func() {
			_ = nc.SetReadDeadline(time.Unix(1, 0))
			<-watched
		}()
		err = s.run(ctx, q, a)
	}
	a.end(err)
}

// run executes a request. A fault in the program ends this one only.
func (s *Server) run(ctx context.Context, q *Request, a *answer) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s.Events.Emit(event.Notice{Level: event.Error, Source: "doveadm", Text: "Panic: the command was ended: " + event.Clean(string(debug.Stack()), 2048)})
			err = errors.New("the command failed; the log says why")
		}
	}()
	run, ok := commands[q.Command]
	if !ok {
		return &fault{Unknown, fmt.Sprintf("this server has no command %q; is it of another version?", event.Clean(q.Command, 64))}
	}
	return run(s, ctx, q, a)
}

// commands are what can be asked for.
var commands = map[string]func(*Server, context.Context, *Request, *answer) error{
	"proxy list":       (*Server).proxyList,
	"proxy kick":       (*Server).proxyKick,
	"who":              (*Server).who,
	"kick":             (*Server).kick,
	"penalty":          (*Server).penalty,
	"auth test":        (*Server).authTest,
	"auth login":       (*Server).authTest,
	"auth lookup":      (*Server).authLookup,
	"auth cache flush": (*Server).authCacheFlush,
	"log errors":       (*Server).logErrors,
	"log reopen":       (*Server).logReopen,
	"log test":         (*Server).logTest,
	"reload":           (*Server).reload,
	"explain":          (*Server).explain,
	"trace start":      (*Server).traceStart,
	"trace stop":       (*Server).traceStop,
	"trace list":       (*Server).traceList,
	"upgrade":          (*Server).upgrade,
}

// answer is written in parts; an error of one is that of all that follow.
type answer struct {
	nc  *net.UnixConn
	w   *bufio.Writer
	err error
}

// row writes one row.
func (a *answer) row(cells ...string) { a.line(cells) }

func (a *answer) line(v any) {
	if a.err != nil {
		return
	}
	text, err := json.Marshal(v)
	if err == nil {
		_ = a.nc.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err = a.w.Write(text); err == nil {
			err = a.w.WriteByte('\n')
		}
	}
	a.err = err
}

// flush sends what has gathered.
func (a *answer) flush() {
	if a.err == nil {
		a.err = a.w.Flush()
	}
}

func (a *answer) end(err error) {
	e := End{Status: OK}
	var f *fault
	switch {
	case errors.As(err, &f):
		e = End{f.status, f.text}
	case err != nil:
		e = End{Temporary, err.Error()}
	}
	a.line(e)
	a.flush()
}

func (s *Server) logErrors(_ context.Context, q *Request, a *answer) error {
	for _, e := range s.Errors.List() {
		if e.At.Unix() >= q.Since {
			a.row(e.At.Format("Jan 02 15:04:05"), e.Source, e.Level.String(), e.Text)
		}
	}
	return nil
}

func (s *Server) logReopen(context.Context, *Request, *answer) error {
	s.ReopenLog()
	return nil
}

// logTest writes a line of each level to the log, in Dovecot's words.
func (s *Server) logTest(context.Context, *Request, *answer) error {
	for level := event.Debug; level <= event.Fatal; level++ {
		name := map[event.Level]string{event.Debug: "debug", event.Info: "info", event.Warning: "warning", event.Error: "error", event.Fatal: "fatal"}[level]
		s.Events.Emit(event.Notice{Level: level, Source: "doveadm", Text: fmt.Sprintf("This is Dovecot's %s log (%d)", name, time.Now().Unix())})
	}
	return nil
}

func (s *Server) reload(context.Context, *Request, *answer) error { return s.Reload() }

func (s *Server) upgrade(context.Context, *Request, *answer) error { return s.Upgrade() }
