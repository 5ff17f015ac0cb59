package managesieve

import (
	"encoding/base64"
	"errors"

	"dproxy/login"
)

// authenticate reads a mechanism and, on the same line, perhaps an initial response (RFC 5804 section 2.1).
func (f *front) authenticate([]arg) (bool, error) {
	mech, err := f.in.next()
	if err != nil {
		return false, err
	}
	if mech.kind != str || mech.text == "" {
		return false, errBad
	}
	response, kind, err := f.in.response()
	switch {
	case err != nil:
		return false, err
	case kind == atom:
		return false, syntaxError("Invalid AUTHENTICATE initial response.")
	}
	f.cred = login.Credentials{Mech: mech.text, HasInitial: kind == str}
	if string(response) != "=" {
		f.cred.Initial, err = login.DecodeResponse(response)
		f.cred.BadInitial = err != nil
	}
	return true, nil
}

// Continue implements login.Front: challenge and answer are strings.
func (f *front) Continue(challenge []byte) ([]byte, error) {
	f.c.Send(`"`, base64.StdEncoding.EncodeToString(challenge), "\"\r\n")
	f.in.line, f.in.ended = 0, false
	response, kind, err := f.in.response()
	var syntax syntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, login.BadResponse(syntax)
	case err != nil:
		return nil, err
	case kind == end:
		return nil, login.BadResponse("Received empty AUTHENTICATE client response line.")
	case kind == atom:
		return nil, login.BadResponse("Invalid AUTHENTICATE client response.")
	}
	return login.Answer(response)
}

// response reads a SASL response with the rest of its line. It is not bound by the input buffer but by its
// own limit.
func (in *input) response() ([]byte, kind, error) {
	b, err := in.start()
	if err != nil {
		return nil, end, err
	}
	var text []byte
	k := str
	switch b {
	case 0:
		k = end
	case '"':
		text, err = in.quotedResponse()
	case '{':
		text, err = in.literalResponse()
	default:
		k = atom
		_, err = in.atom()
	}
	if err != nil {
		return nil, end, err
	}
	return text, k, in.skipLine()
}

func (in *input) quotedResponse() (out []byte, err error) {
	in.take(1)
	for {
		b, err := in.at(0)
		if err != nil {
			return nil, err
		}
		switch b {
		case '\r', '\n':
			return nil, syntaxError("Error in AUTHENTICATE response string: Quoted string contains an invalid character")
		case '"':
			in.take(1)
			return out, nil
		case '\\':
			in.take(1)
			if b, err = in.at(0); err != nil {
				return nil, err
			}
			if b != '"' && b != '\\' {
				return nil, syntaxError("Error in AUTHENTICATE response string: Escaped quoted-string character is not a QUOTED-SPECIAL")
			}
		}
		in.take(1)
		if out = append(out, b); len(out) > maxResponse {
			return nil, login.ResponseTooLarge()
		}
	}
}

func (in *input) literalResponse() ([]byte, error) {
	n, err := in.literalSize()
	if err != nil {
		return nil, err
	}
	if n > maxResponse {
		return nil, login.ResponseTooLarge()
	}
	if err := in.literalStart(); err != nil {
		return nil, err
	}
	b, err := in.c.R.Bytes(n)
	return append([]byte(nil), b...), err
}
