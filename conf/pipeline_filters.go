package conf

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFill bounds what one filter adds to a value in zeros.
const maxFill = 256

// filters24 are the filters of pipelines by name.
var filters24 map[string]func(r *run24, s *stage24) error

func init() {
	filters24 = map[string]func(r *run24, s *stage24) error{
		"lookup": (*run24).lookupFilter, "literal": (*run24).literal, calculate: (*run24).calculate, "concat": (*run24).concat,
		"lower": changes("lower", func(s string) string { return mapASCII(s, 'A', 'Z') }),
		"upper": changes("upper", func(s string) string { return mapASCII(s, 'a', 'z') }),
		"hash":  (*run24).hash, "base64": (*run24).base64, "unbase64": (*run24).unbase64,
		"hex": (*run24).hex, "unhex": (*run24).unhex, "hexlify": (*run24).hexlify, "unhexlify": (*run24).unhexlify,
		"default":  (*run24).defaultTo,
		"reverse":  changes("reverse", func(s string) string { b := []byte(s); slices.Reverse(b); return string(b) }),
		"truncate": (*run24).truncate, "substr": (*run24).substr,
		"ldap_dn": changes("convert to ldap_dn", func(s string) string { return strings.ReplaceAll(s, ".", ",dc=") }),
		"if":      (*run24).condition, "switch": (*run24).choice, "regexp": (*run24).regexp,
		"lenumber": func(r *run24, s *stage24) error { return r.integer(s, binary.LittleEndian) },
		"benumber": func(r *run24, s *stage24) error { return r.integer(s, binary.BigEndian) },
		"index":    (*run24).index, "username": (*run24).username, "domain": (*run24).domain, "list": (*run24).list,
		"lfill": func(r *run24, s *stage24) error { return r.fill(s, true) },
		"rfill": func(r *run24, s *stage24) error { return r.fill(s, false) },
		"text":  (*run24).sanitize,
		"safe":  func(r *run24, s *stage24) error { return s.only(0) }, // values are always escaped
	}
	for _, name := range []string{"md5", "sha1", "sha256", "sha384", "sha512"} {
		filters24[name] = func(r *run24, s *stage24) error { return r.digest(s, name, 0) }
	}
}

// changes makes a filter of a function.
func changes(what string, fn func(string) string) func(*run24, *stage24) error {
	return func(r *run24, s *stage24) error {
		if err := errors.Join(s.only(0), r.need(what)); err != nil {
			return err
		}
		r.value = []byte(fn(string(r.value)))
		return nil
	}
}

func (r *run24) lookupFilter(s *stage24) error {
	text, err := r.lookup(s.args[0].text)
	if err == nil {
		r.setText(text)
	}
	return err
}

func (r *run24) literal(s *stage24) error {
	if len(s.args) == 0 {
		return errors.New("Missing parameters")
	}
	text, err := r.text(s.args[0])
	if err == nil {
		r.setText(text)
	}
	return err
}

func (r *run24) defaultTo(s *stage24) error {
	if r.set && len(r.value) > 0 {
		return nil
	}
	if err := s.only(1); err != nil {
		return err
	}
	text := ""
	if len(s.args) == 1 {
		var err error
		if text, err = r.text(s.args[0]); err != nil {
			return err
		}
	}
	r.setText(text)
	return nil
}

func (r *run24) concat(s *stage24) error {
	if len(s.args) == 0 {
		return errors.New("Missing parameters")
	}
	out := slices.Clone(r.value)
	for _, a := range s.args {
		text, err := r.text(a)
		if err != nil {
			return err
		}
		out = append(out, text...)
	}
	r.value, r.set = out, true
	return s.only(len(s.args))
}

func (r *run24) calculate(s *stage24) error {
	if len(s.args) != 2 {
		return errors.New("Missing operator")
	}
	n, err := r.number(s.args[1])
	if err != nil {
		return err
	}
	if err := r.need("calculate"); err != nil {
		return err
	}
	op := s.args[0].text
	if r.binary && op == "%" {
		if n <= 0 {
			return errors.New("Binary modulo must be positive integer")
		}
		var u uint64
		for _, c := range r.value[max(0, len(r.value)-8):] {
			u = u<<8 | uint64(c)
		}
		r.setText(strconv.FormatUint(u%uint64(n), 10))
		return nil
	}
	value, err := strconv.ParseInt(string(r.value), 10, 64)
	switch {
	case err != nil:
		return errors.New("Input is not a number")
	case op == "/" && n <= 0:
		return errors.New("Division must be by positive integer")
	case op == "%" && n <= 0:
		return errors.New("Modulo must be by positive integer")
	}
	switch op {
	case "+":
		value += n
	case "-":
		value -= n
	case "*":
		value *= n
	case "/":
		value /= n
	case "%":
		value %= n
	}
	r.setText(strconv.FormatInt(value, 10))
	return nil
}

func (r *run24) hash(s *stage24) error {
	if len(s.args)+len(s.named) == 0 {
		return errors.New("Missing parameters")
	}
	if len(s.args) == 0 {
		return errors.New("No algorithm as first parameter")
	}
	name, err := r.text(s.args[0])
	if err != nil {
		return err
	}
	return r.digest(s, name, 1)
}

// digest replaces the value by a hash of it. args is how many arguments belong to the filter itself.
func (r *run24) digest(s *stage24, name string, args int) error {
	if err := s.only(args, "rounds", "salt"); err != nil {
		return err
	}
	d := digests[name]
	if d.new == nil {
		return fmt.Errorf("Unsupported algorithm '%s'", name)
	}
	rounds, salt := int64(1), ""
	var err error
	if a, ok := s.named["rounds"]; ok {
		if rounds, err = r.number(a); err == nil && rounds > maxRounds {
			err = fmt.Errorf("rounds must be at most %d", maxRounds)
		}
	}
	if a, ok := s.named["salt"]; ok && err == nil {
		salt, err = r.text(a)
	}
	if err == nil {
		err = r.need("hash")
	}
	if err != nil {
		return err
	}
	sum, h := slices.Clone(r.value), d.new()
	for range rounds {
		h.Reset()
		h.Write([]byte(salt))
		h.Write(sum)
		sum = h.Sum(sum[:0])
	}
	r.setBinary(sum)
	return nil
}

// coding is the base64 that a filter's arguments ask for.
func (r *run24) coding(s *stage24) (*base64.Encoding, error) {
	enc, pad := base64.StdEncoding, true
	err := s.only(0, "pad", "url")
	if a, ok := s.named["pad"]; ok && err == nil {
		pad, err = r.flag(a)
	}
	if a, ok := s.named["url"]; ok && err == nil {
		var url bool
		if url, err = r.flag(a); url {
			enc = base64.URLEncoding
		}
	}
	if !pad {
		enc = enc.WithPadding(base64.NoPadding)
	}
	return enc, err
}

func (r *run24) base64(s *stage24) error {
	enc, err := r.coding(s)
	if err == nil {
		err = r.need("base64")
	}
	if err != nil {
		return err
	}
	r.setText(enc.EncodeToString(r.value))
	return nil
}

func (r *run24) unbase64(s *stage24) error {
	enc, err := r.coding(s)
	if err == nil {
		err = r.need("unbase64")
	}
	if err != nil {
		return err
	}
	b, err := enc.DecodeString(string(r.value))
	if err != nil {
		return errors.New("Invalid base64")
	}
	r.setBinary(b)
	return nil
}

// width is the optional number of digits.
func (r *run24) width(s *stage24) (n int, err error) {
	if err = s.only(1); err != nil || len(s.args) == 0 {
		return 0, err
	}
	w, err := r.number(s.args[0])
	if err == nil && (w < -1<<20 || w > 1<<20) {
		err = errors.New("Excessive padding")
	}
	return int(w), err
}

func (r *run24) hex(s *stage24) error {
	width, err := r.width(s)
	if err == nil {
		err = r.need("hex")
	}
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(r.value), 10, 64)
	switch {
	case err != nil:
		return errors.New("Input is not a number")
	case width < -maxFill || width > maxFill:
		return errors.New("Excessive padding")
	}
	text := strconv.FormatUint(n, 16)
	switch {
	case width < 0:
		text = (text + strings.Repeat("0", max(0, -width-len(text))))[:-width]
	case width > 0:
		text = strings.Repeat("0", max(0, width-len(text))) + text
		text = text[len(text)-width:]
	}
	r.setText(text)
	return nil
}

func (r *run24) unhex(s *stage24) error {
	if err := errors.Join(s.only(0), r.need("unhex")); err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(r.value), 16, 64)
	if err != nil {
		return errors.New("Input is not a hex number")
	}
	r.setText(strconv.FormatUint(n, 10))
	return nil
}

func (r *run24) hexlify(s *stage24) error {
	width, err := r.width(s)
	if err == nil {
		err = r.need("hexlify")
	}
	if err != nil {
		return err
	}
	text := hex.EncodeToString(r.value)
	switch {
	case width < 0:
		return errors.New("Width must be positive")
	case width > len(text)+maxFill:
		return errors.New("Excessive padding")
	case width > len(text):
		text = strings.Repeat("0", width-len(text)) + text
	case width > 0:
		text = text[:width]
	}
	r.setText(text)
	return nil
}

func (r *run24) unhexlify(s *stage24) error {
	if err := errors.Join(s.only(0), r.need("unhexlify")); err != nil {
		return err
	}
	b, err := hex.DecodeString(string(r.value))
	if err != nil {
		return errors.New("Not a hex value")
	}
	r.setBinary(b)
	return nil
}

func (r *run24) integer(s *stage24, order binary.ByteOrder) error {
	if err := errors.Join(s.only(0), r.need("convert to number")); err != nil {
		return err
	}
	var n uint64
	switch len(r.value) {
	case 1:
		n = uint64(r.value[0])
	case 2:
		n = uint64(order.Uint16(r.value))
	case 4:
		n = uint64(order.Uint32(r.value))
	case 8:
		n = order.Uint64(r.value)
	default:
		return fmt.Errorf("Cannot convert '%d' bytes to number", len(r.value))
	}
	r.setText(strconv.FormatUint(n, 10))
	return nil
}

// list joins the values of a field that has several.
func (r *run24) list(s *stage24) error {
	sep := ","
	err := s.only(1)
	if len(s.args) > 0 && err == nil {
		sep, err = r.text(s.args[0])
	}
	if err == nil {
		err = r.need("generate list from")
	}
	if err != nil {
		return err
	}
	r.setText(unescapeTabs.Replace(strings.ReplaceAll(string(r.value), "\t", sep)))
	return nil
}

var unescapeTabs = strings.NewReplacer("\x011", "\x01", "\x01t", "\t", "\x01n", "\n", "\x01r", "\r", "\x010", "\x00")

// sanitize makes a text of a value of any bytes.
func (r *run24) sanitize(s *stage24) error {
	if err := errors.Join(s.only(0), r.need("text")); err != nil {
		return err
	}
	r.setText(strings.Map(func(c rune) rune {
		if c == utf8.RuneError || unicode.IsControl(c) {
			return unicode.ReplacementChar
		}
		return c
	}, string(r.value)))
	return nil
}
