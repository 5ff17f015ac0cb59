package submission

import (
	"encoding/base64"
	"strings"

	"dproxy/login"
	"dproxy/wire"
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

// Continue implements login.Front. A line that cannot be read has a reply of its own.
func (f *front) Continue(challenge []byte) ([]byte, error) {
	f.c.Send("334 ", base64.StdEncoding.EncodeToString(challenge), "\r\n")
	line, long, err := f.line(maxResponse)
	switch {
	case err != nil:
		return nil, err
	case long:
		f.fault = "500 5.5.2 Line too long"
	case wire.HasControl(strings.ReplaceAll(line, "\t", " ")), !isASCII(line):
		f.fault = "500 5.5.2 Invalid AUTH response syntax"
	}
	if f.fault != "" {
		return nil, login.BadResponse(f.fault)
	}
	return login.Answer([]byte(strings.TrimRight(line, " \t")))
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
