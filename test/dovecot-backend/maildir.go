package dovecot

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// Deliver puts messages, with CRLF or LF as line ends, into a user's INBOX, as files, before the user is logged in.
func (s *Server) Deliver(name string, messages ...[]byte) error {
	home := filepath.Join("home", name)
	for _, sub := range []string{"", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"} {
		if err := s.owned(filepath.Join(home, sub)); err != nil {
			return err
		}
	}
	for i, m := range messages {
		file := filepath.Join(home, "Maildir", "new", fmt.Sprintf("1700000000.M%06d.test", i))
		if err := os.WriteFile(filepath.Join(s.dir, file), m, 0o644); err != nil {
			return err
		}
		if err := s.chown(file); err != nil {
			return err
		}
	}
	return nil
}

// owned makes a directory that belongs to the user of the mail processes.
func (s *Server) owned(name string) error {
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	return s.chown(name)
}

func (s *Server) chown(name string) error {
	u, err := user.Lookup("nobody")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(filepath.Join(s.dir, name), uid, gid)
}
