//go:build !linux

package backend

import "syscall"

func bindWithoutPort(_, _ string, _ syscall.RawConn) error { return nil }
