package conf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// value is one setting as given in a file.
type value struct {
	text string // as doveconf prints it
	num  uint64 // Bool 0 or 1, Number, Octal, Port, Time in seconds, TimeMS in ms, Size in bytes
	pos  pos
	// raw tells that text is not the final value: it starts with < or holds $references, because the
	// file was read without resolving them.
	raw bool
}

// pos is a Position without its strings.
type pos struct{ file, line int32 }

// parseValue reads text as s's type. The error has Dovecot's words.
func parseValue(s *Setting, text string) (value, error) {
	v := value{text: text}
	var err error
	switch s.Type {
	case Bool:
		v.num, v.text, err = parseBool(text)
	case Number:
		v.num, err = parseNumber(text)
		v.text = strconv.FormatUint(v.num, 10)
	case Octal:
		v.num, err = parseOctal(text)
		v.text = "0" + strconv.FormatUint(v.num, 8)
	case Port:
		v.num, err = parsePort(text)
		v.text = strconv.FormatUint(v.num, 10)
	case Time:
		v.num, err = parseTime(text, false)
		v.text = formatTime(v.num)
	case TimeMS:
		v.num, err = parseTime(text, true)
		v.text = formatTimeMS(v.num)
	case Size:
		v.num, err = parseSize(text)
		v.text = formatSize(v.num)
	case Enum:
		err = fmt.Errorf("Invalid value: %s", text) //nolint:staticcheck // Dovecot's words
		for _, w := range s.choices() {
			if w == text {
				err = nil
			}
		}
	}
	return v, err
}

func parseBool(text string) (uint64, string, error) {
	switch {
	case strings.EqualFold(text, "yes"), strings.EqualFold(text, "y"), text == "1":
		return 1, "yes", nil
	case strings.EqualFold(text, "no"):
		return 0, "no", nil
	}
	return 0, "", fmt.Errorf("Invalid boolean value: %s (use yes or no)", text)
}

func parseNumber(text string) (uint64, error) {
	digits := strings.TrimPrefix(text, "-")
	n, rest, ok := leadingNumber(digits)
	switch {
	case digits == "" || rest != "":
		return 0, fmt.Errorf("Invalid number %s: Not a valid number", text)
	case digits != text:
		return 0, fmt.Errorf("Invalid number %s: Number too small", text)
	case !ok || n > math.MaxUint32:
		return 0, fmt.Errorf("Invalid number %s: Number too large", text)
	}
	return n, nil
}

func parseOctal(text string) (uint64, error) {
	if !strings.HasPrefix(text, "0") {
		return parseNumber(text)
	}
	n, err := strconv.ParseUint(text, 8, 64)
	if err != nil {
		return 0, fmt.Errorf("Invalid number: %s", text)
	}
	return n & math.MaxUint32, nil
}

func parsePort(text string) (uint64, error) {
	n, rest, ok := leadingNumber(text)
	if !ok || rest != "" || n > math.MaxUint16 {
		return 0, fmt.Errorf("Invalid port number %s", text)
	}
	return n, nil
}

// leadingNumber reads the decimal digits at the start of text. It is not ok when there are none, or
// when they do not fit: then rest is what follows them.
func leadingNumber(text string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(text[:i], 10, 64)
	return n, text[i:], err == nil
}

// isPrefixFold tells whether p is the start of one of the words, in any case.
func isPrefixFold(p string, words ...string) bool {
	for _, w := range words {
		if len(p) <= len(w) && strings.EqualFold(p, w[:len(p)]) {
			return true
		}
	}
	return false
}

// parseTime reads an interval in seconds, or in milliseconds when ms is set.
func parseTime(text string, ms bool) (uint64, error) {
	n, unit, ok := leadingNumber(text)
	if !ok {
		return 0, fmt.Errorf("Invalid time interval: %s", text)
	}
	unit = strings.TrimLeft(unit, " ")
	mul := uint64(1)
	if ms {
		mul = 1000
	}
	if unit == "" {
		if n != 0 {
			return 0, fmt.Errorf("Time interval '%s' is missing units (add e.g. 's' for seconds)", text)
		}
		return 0, nil
	}
	switch {
	case isPrefixFold(unit, "secs", "seconds"):
	case isPrefixFold(unit, "mins", "minutes"):
		mul *= 60
	case isPrefixFold(unit, "msecs", "mseconds", "millisecs", "milliseconds"):
		if !ms && n%1000 != 0 {
			return 0, fmt.Errorf("Milliseconds not supported for this setting: %s", text)
		}
		if !ms {
			n /= 1000
		}
		mul = 1
	case isPrefixFold(unit, "hours"):
		mul *= 60 * 60
	case isPrefixFold(unit, "days"):
		mul *= 60 * 60 * 24
	case isPrefixFold(unit, "weeks"):
		mul *= 60 * 60 * 24 * 7
	default:
		return 0, fmt.Errorf("Invalid time interval: %s", text)
	}
	if n > math.MaxUint32/mul {
		return 0, fmt.Errorf("Time interval is too large: %s", text)
	}
	return n * mul, nil
}

// parseSize reads a number of bytes.
func parseSize(text string) (uint64, error) {
	n, unit, ok := leadingNumber(text)
	if !ok {
		return 0, fmt.Errorf("Invalid size: %s", text)
	}
	unit = strings.ToUpper(strings.TrimLeft(unit, " "))
	shift := 0
	if unit != "" {
		shift = strings.IndexByte("BKMGT", unit[0])
		if shift < 0 || shift == 0 && unit != "B" ||
			shift > 0 && unit[1:] != "" && unit[1:] != "I" && unit[1:] != "B" && unit[1:] != "IB" {
			return 0, fmt.Errorf("Invalid size: %s", text)
		}
	}
	if n > math.MaxUint64>>(10*shift) {
		return 0, fmt.Errorf("Size is too large: %s", text)
	}
	return n << (10 * shift), nil
}

func formatTime(secs uint64) string {
	for _, u := range []struct {
		name string
		secs uint64
	}{{"weeks", 7 * 24 * 3600}, {"days", 24 * 3600}, {"hours", 3600}, {"mins", 60}} {
		if secs > 0 && secs%u.secs == 0 {
			return fmt.Sprintf("%d %s", secs/u.secs, u.name)
		}
	}
	if secs == 0 {
		return "0"
	}
	return fmt.Sprintf("%d secs", secs)
}

func formatTimeMS(ms uint64) string {
	if ms%1000 == 0 {
		return formatTime(ms / 1000)
	}
	return fmt.Sprintf("%d ms", ms)
}

func formatSize(n uint64) string {
	if n == 0 {
		return "0"
	}
	unit := 0
	for unit < 4 && n%1024 == 0 {
		n /= 1024
		unit++
	}
	return fmt.Sprintf("%d %c", n, "BkMGT"[unit])
}

// store puts the typed value of v into the field of set that s names.
func (s *Setting) store(set *Settings, v value) {
	switch p := s.field(set).(type) {
	case *string:
		*p = v.text
	case *bool:
		*p = v.num != 0
	case *uint:
		*p = uint(v.num)
	case *uint64:
		*p = v.num
	case *time.Duration:
		unit := time.Second
		if s.Type == TimeMS {
			unit = time.Millisecond
		}
		*p = time.Duration(v.num) * unit
	default:
		panic(fmt.Sprintf("conf: setting %s has a field of type %T", s.Name, p))
	}
}
