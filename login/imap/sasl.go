package imap

import (
	"encoding/base64"

	"dproxy/login"
)

// authenticate reads a mechanism and, on the same line, perhaps an initial response (RFC 4959). The
// response is not bound by the input buffer but by its own limit.
func (f *front) authenticate(args) (bool, error) {
	mech, _, err := f.in.word(anyByte)
	if err != nil {
		return false, err
	}
	f.cred.Mech = string(mech)
	if len(mech) == 0 {
		return false, errBad
	}
	line, err := f.c.ResponseLine()
	if err != nil {
		return false, err
	}
	f.in.ended = true
	switch {
	case len(line) == 0:
	case len(line) == 1 && line[0] == '=':
		f.cred.HasInitial = true
	default:
		f.cred.HasInitial = true
		f.cred.Initial, err = login.DecodeResponse(line)
		f.cred.BadInitial = err != nil
	}
	return true, nil
}

// Continue implements login.Front.
func (f *front) Continue(challenge []byte) ([]byte, error) {
	f.c.Send("+ ", base64.StdEncoding.EncodeToString(challenge), "\r\n")
	return f.c.Response()
}
