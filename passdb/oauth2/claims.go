package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"dproxy/passdb"
	"dproxy/passdb/httpclient"
)

// maxClaims bounds how many claims an answer or token may have.
const maxClaims = 1000

// claims are what a server or a token says, by name. Objects inside are left out; a list of simple values is its elements.
type claims map[string][]string

// get is a claim as one text: the elements of a list are joined by blanks. "" when it is not there.
func (c claims) get(name string) string { return strings.Join(c[name], " ") }

// words are a claim's elements, and the words of a simple one.
func (c claims) words(name string) []string {
	if v := c[name]; len(v) != 1 {
		return v
	}
	return strings.Fields(c[name][0])
}

func (l *lookup) parse(r *httpclient.Response) (claims, error) { return parseClaims(r.Body) }

func parseClaims(body []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, errors.New("the answer is no JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || object == nil {
		return nil, errors.New("the answer is no JSON object")
	}
	return newClaims(object)
}

func newClaims(object map[string]any) (claims, error) {
	if len(object) > maxClaims {
		return nil, fmt.Errorf("more than %d claims", maxClaims)
	}
	c := claims{}
	for name, v := range object {
		if list, ok := v.([]any); ok {
			values := []string{}
			for _, x := range list {
				if text, ok := simple(x); ok {
					values = append(values, text)
				}
			}
			c[name] = values
		} else if text, ok := simple(v); ok {
			c[name] = []string{text}
		}
	}
	return c, nil
}

// simple is the text of a JSON value that is neither null nor made of others.
func simple(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case bool:
		return strconv.FormatBool(x), true
	case json.Number:
		return x.String(), true
	}
	return "", false
}

func (l *lookup) merge(c claims) {
	for name, v := range c {
		l.claims[name] = v
	}
}

// setUntil notes when the token ends, so that no cache keeps it longer.
func (l *lookup) setUntil(c claims) error {
	if text := c.get("expires_in"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("Malformed number '%s' in expires_in", printable(text))
		}
		if n > 0 {
			l.until = l.now().Add(time.Duration(n) * time.Second)
		}
	}
	if t, ok, err := seconds(c, "exp"); err == nil && ok {
		l.until = t
	}
	return nil
}

// seconds is a claim that is a time: a number, or the text of one (RFC 7519 section 2, NumericDate).
func seconds(c claims, name string) (time.Time, bool, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, false, nil
	}
	f, err := strconv.ParseFloat(strings.Join(v, " "), 64)
	if err != nil || len(v) != 1 || math.IsNaN(f) || f < 0 || f > 1e12 {
		return time.Time{}, true, fmt.Errorf("Malformed '%s' field", name)
	}
	return time.Unix(int64(f), 0), true, nil
}

// complete tells whether nothing that is needed is missing, so that introspection can be spared.
func (l *lookup) complete() bool {
	if l.claims.get(l.file.UsernameAttribute) == "" || l.file.ActiveAttribute != "" && l.claims[l.file.ActiveAttribute] == nil {
		return false
	}
	for _, a := range l.attrs {
		for _, name := range a.value.Names() {
			claim, ok := strings.CutPrefix(name, "oauth2:")
			if ok && claim != "access_token" && l.claims[claim] == nil {
				return false
			}
		}
	}
	return true
}

// check judges the claims, in Dovecot's order.
func (l *lookup) check() error {
	if err := l.active(); err != nil {
		return err
	}
	if l.file.ActiveAttribute != "" && l.claims[l.file.ActiveAttribute] == nil {
		return mismatch("Provided token is not valid")
	}
	if err := l.checkUser(); err != nil {
		return err
	}
	return l.checkScope()
}

// active refuses a token whose claims say that it is not active. What they do not say is for a later stage to find.
func (l *lookup) active() error {
	name, want := l.file.ActiveAttribute, l.file.ActiveValue
	if name == "" {
		if v, ok := l.claims["active"]; ok && strings.Join(v, " ") != "true" {
			return mismatch("Provided token is not valid")
		}
		return nil
	}
	if v, ok := l.claims[name]; ok && strings.Join(v, " ") != want {
		return mismatch("Provided token is not valid")
	}
	return nil
}

// checkUser compares the token's user with the client's, both in username_format.
func (l *lookup) checkUser() error {
	name := l.claims[l.file.UsernameAttribute]
	if len(name) != 1 || name[0] == "" {
		return errors.New("No username returned")
	}
	said, err := l.formatted(name[0])
	if err != nil {
		return err
	}
	wanted, err := l.formatted(l.r.User)
	if err != nil {
		return err
	}
	if said != wanted {
		// For Dovecot the user is unknown then; to the client it is the same, and the log line keeps the passdb's name.
		return mismatch("Username '%s' did not match '%s'", printable(wanted), printable(said))
	}
	return nil
}

func (l *lookup) formatted(name string) (string, error) {
	r := *l.r
	r.User = name
	out, err := l.format.Expand(r.Var)
	if err != nil {
		return "", fmt.Errorf("username_format: %w", err)
	}
	return out, nil
}

func (l *lookup) checkScope() error {
	if len(l.scope) > 0 {
		has := l.claims.words("scope")
		if l.claims["scope"] == nil {
			has = l.claims.words("aud") // as in Dovecot
		}
		if !containsAll(has, l.scope) {
			return disabled("Token is not valid for scope '%s'", l.file.Scope)
		}
	}
	if len(l.audience) > 0 && !containsAll(l.claims.words("aud"), l.audience) {
		return disabled("Token audience does not include '%s'", l.file.Audience)
	}
	return nil
}

func containsAll(has, want []string) bool {
	for _, w := range want {
		if !slices.Contains(has, w) {
			return false
		}
	}
	return true
}

// export makes the fields of pass_attrs.
func (l *lookup) export() ([]passdb.Field, error) {
	var out []passdb.Field
	for _, a := range l.attrs {
		v, err := a.value.Expand(l.vars)
		if err != nil {
			return nil, fmt.Errorf("Failed to expand %s=%s: %w", a.name, a.text, err)
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("the value of %s has control characters", a.name)
		}
		out = append(out, passdb.Field{Name: a.name, Value: v})
	}
	return out, nil
}

// vars answers the variables of pass_attrs. Without a token from the server access_token is the client's.
func (l *lookup) vars(name string) (string, bool) {
	claim, ok := strings.CutPrefix(name, "oauth2:")
	switch {
	case !ok:
		return l.r.Var(name)
	case claim == "":
		return "", true
	}
	if v, ok := l.claims[claim]; ok {
		return strings.Join(v, " "), true
	}
	if claim == "access_token" {
		return l.token, true
	}
	return "", false
}

// printable is a server's or a client's text, fit for a message.
func printable(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
