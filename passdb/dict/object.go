package dict

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// eachMember calls fn for the members of a JSON object in order; value is nil for null. Numbers and the words
// true and false are given as they are written. Errors have Dovecot's wording.
func eachMember(text string, fn func(name string, value *string)) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	first, err := d.Token()
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("Missing '}'")
	case err != nil || first != json.Delim('{'):
		return errors.New("Object doesn't begin with '{'")
	}
	for d.More() {
		name, value, err := member(d)
		if err != nil {
			return err
		}
		fn(name, value)
	}
	if _, err := d.Token(); err != nil { // the }
		return broken(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("Unexpected data at the end")
	}
	return nil
}

func member(d *json.Decoder) (name string, value *string, err error) {
	key, err := d.Token()
	if err != nil {
		return "", nil, broken(err)
	}
	if name, _ = key.(string); name == "" {
		return "", nil, errors.New("Empty object key")
	}
	token, err := d.Token()
	if err != nil {
		return "", nil, broken(err)
	}
	var text string
	switch v := token.(type) {
	case nil:
		return name, nil, nil
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = map[bool]string{true: "true", false: "false"}[v]
	case json.Delim:
		if v == '{' {
			return "", nil, errors.New("Nested objects not supported")
		}
		return "", nil, errors.New("Object expected")
	}
	if strings.IndexByte(text, 0) >= 0 || strings.IndexByte(name, 0) >= 0 {
		return "", nil, errors.New("Invalid JSON: a NUL character in " + name)
	}
	return name, &text, nil
}

// broken is an error of the decoder, without the text that it read: there may be a password in it.
func broken(err error) error {
	var syntax *json.SyntaxError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &syntax) {
		return errors.New("Missing '}'")
	}
	return errors.New("Invalid JSON: the value cannot be parsed")
}
