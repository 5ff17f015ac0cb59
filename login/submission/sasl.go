package submission

import (
	"encoding/base64"
	"strings"

	"dproxy/login"
)

// auth reads a mechanism and perhaps an initial response.
func (f *front) auth(args string) (bool, error) {
	if args == "" {
		return false, f.reply("501 5.5.4 Missing SASL mechanism parameter")
	}
	mech, initial, has := strings.Cut(args, " ")
	if strings.Contains(initial, " ") {
		return false, f.reply("501 5.5.4 Invalid parameters")
	}
	f.cred = login.Credentials{Mech: mech, HasInitial: has}
	if has && initial != "=" {
		var err error
		f.cred.Initial, err = login.DecodeResponse([]byte(initial))
		f.cred.BadInitial = err != nil
	}
	return true, nil
}

// Continue implements login.Front.
func (f *front) Continue(challenge []byte) ([]byte, error) {
	f.c.Send("334 ", base64.StdEncoding.EncodeToString(challenge), "\r\n")
	return f.c.Response()
}
