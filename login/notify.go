package login

import (
	"path/filepath"
	"sync"
	"time"

	"dproxy/backend"
	"dproxy/event"
	"dproxy/wire"
)

// notifyAgain is the pause after a failure to open the FIFO (Dovecot 2.3).
const notifyAgain = 60 * time.Second

// notifier writes the names of proxied users to the FIFO of login_proxy_notify_path, a line for each. Nothing
// waits for its reader: what does not fit is left out, and the user's next turn comes.
type notifier struct {
	mu     sync.Mutex
	path   string
	pipe   pipe
	open   bool
	failed time.Time
}

// notify tells of a user, and reports what does not work, once a minute.
func (n *notifier) notify(user string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := []byte(wire.TabEscape(user) + "\n")
	for range 2 { // a reader that has gone may have a successor
		if !n.open {
			if time.Since(n.failed) < notifyAgain {
				return nil
			}
			var err error
			if n.pipe, err = openPipe(n.path); err != nil {
				n.failed = time.Now()
				return err
			}
			n.open = true
		}
		if n.pipe.write(line) {
			return nil
		}
		n.pipe.close()
		n.open = false
	}
	return nil
}

// notifier returns the one for a path; they live as long as the process.
func (s *Server) notifier(path string) *notifier {
	n, _ := s.notifiers.LoadOrStore(path, &notifier{path: path})
	return n.(*notifier)
}

// keepNotifying tells of a session's user every proxy_refresh for as long as it lasts.
func (r *relayed) keepNotifying(c *Client, up *backend.Session) {
	set, every := c.profile.Settings, up.Target.Refresh
	if every <= 0 || set.LoginProxyNotifyPath == "" {
		return
	}
	path := set.LoginProxyNotifyPath
	if !filepath.IsAbs(path) {
		path = filepath.Join(set.BaseDir, "login", path)
	}
	n, user := r.server.notifier(path), up.Target.User
	r.mu.Lock() // the timer may be faster than this
	defer r.mu.Unlock()
	r.refresh = time.AfterFunc(every, func() {
		if err := n.notify(user); err != nil {
			r.server.Events.Emit(event.Notice{Level: event.Error, Source: event.LoginSource(r.client.Service), Text: "login_proxy_notify_path: " + err.Error()})
		}
		r.mu.Lock()
		if !r.over {
			r.refresh.Reset(every)
		}
		r.mu.Unlock()
	})
}

// stopNotifying ends it with the session.
func (r *relayed) stopNotifying() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.refresh != nil {
		r.refresh.Stop()
	}
}
