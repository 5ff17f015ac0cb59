package pop3

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"time"

	"dproxy/event"
	"dproxy/login"
)

// mechanisms lists them.
func (f *front) mechanisms(string) (bool, error) {
	f.c.Send(f.texts().mechanisms[f.state()])
	return false, nil
}

// mechanism reads a mechanism and perhaps an initial response (RFC 5034). The response is not bound by
// the input buffer but by its own limit.
func (f *front) mechanism() (bool, error) {
	mech, blank, err := f.word(login.MaxInput)
	if err != nil {
		return false, err
	}
	f.cred.Mech = string(mech)
	line, err := f.c.ResponseLine()
	if err != nil {
		return false, err
	}
	if f.cred.Mech == "" {
		return f.mechanisms("")
	}
	switch {
	case !blank || len(line) == 0:
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

// newChallenge makes the challenge of APOP in Dovecot's form: process, connection, time and a random
// part, at the host.
func newChallenge(hostname string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return "<" + strconv.FormatInt(int64(os.Getpid()), 16) + ".1." + strconv.FormatInt(time.Now().Unix(), 16) + "." +
		base64.StdEncoding.EncodeToString(b[:]) + "@" + hostname + ">"
}

// digestSize is the length of an MD5 digest in bytes.
const digestSize = 16

// apop answers APOP (RFC 1939 section 7): a name and the digest of challenge and password. The
// mechanism takes challenge, name and digest.
func (f *front) apop(rest string) (bool, error) {
	refuse := func(text string) (bool, error) {
		if f.c.Terms().Settings.AuthVerbose {
			f.c.Log(event.Info, "APOP failed: "+text)
		}
		f.c.Send("-ERR ", text, ".\r\n")
		return false, nil
	}
	if f.challenge == "" {
		return refuse("APOP not enabled")
	}
	user, digest, ok := strings.Cut(rest, " ")
	if !ok || len(digest) != 2*digestSize {
		return refuse("Invalid parameters")
	}
	raw, err := hex.DecodeString(digest)
	if err != nil {
		return refuse("Invalid characters in MD5 response")
	}
	initial := make([]byte, 0, len(f.challenge)+len(user)+2+digestSize)
	initial = append(append(initial, f.challenge...), 0)
	initial = append(append(initial, user...), 0)
	f.cred = login.Credentials{Mech: "APOP", Initial: append(initial, raw...), HasInitial: true, Private: true, Command: true, User: user}
	return true, nil
}
