//go:build !linux

package backend

import "syscall"

// socket follows the socket of one connect.
type socket struct{ bind bool }

func (s *socket) control(_, _ string, _ syscall.RawConn) error { return nil }

func (s *socket) local() string { return "" }

func (s *socket) release() {}
