package route

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var units = []struct {
	names []string
	unit  time.Duration
}{
	{[]string{"seconds", "secs"}, time.Second},
	{[]string{"minutes", "mins"}, time.Minute},
	{[]string{"hours"}, time.Hour},
	{[]string{"days"}, 24 * time.Hour},
	{[]string{"weeks"}, 7 * 24 * time.Hour},
	{[]string{"milliseconds", "millisecs", "mseconds", "msecs"}, time.Millisecond},
}

// ParseTimeout reads a proxy_timeout field: a plain number of seconds, or a number with a unit, of
// which any beginning counts ("5s", "500ms", "1 min"; a lone m is minutes). Dovecot 2.3.
func ParseTimeout(text string) (time.Duration, error) {
	digits := text
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			digits = text[:i]
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("Invalid time interval: %s", text)
	}
	unit := time.Second
	if word := strings.ToLower(strings.TrimSpace(text[len(digits):])); word != "" {
		if unit = unitOf(word); unit == 0 {
			return 0, fmt.Errorf("Invalid time interval: %s", text)
		}
	}
	// Dovecot counts in 32 bits, of seconds or of milliseconds.
	if n > math.MaxUint32 || time.Duration(n) > math.MaxUint32*time.Millisecond/unit {
		return 0, fmt.Errorf("Time interval is too large: %s", text)
	}
	return time.Duration(n) * unit, nil
}

// parseInterval reads a time in whole seconds as Dovecot's settings have it: a number with a unit, which
// only 0 can do without.
func parseInterval(text string) (time.Duration, error) {
	d, err := ParseTimeout(text)
	switch {
	case err != nil:
		return 0, err
	case d != 0 && strings.Trim(text, "0123456789 ") == "":
		return 0, fmt.Errorf("Time interval '%s' is missing units (add e.g. 's' for seconds)", text)
	case d%time.Second != 0:
		return 0, fmt.Errorf("Milliseconds not supported for this setting: %s", text)
	}
	return d, nil
}

func unitOf(word string) time.Duration {
	for _, u := range units {
		for _, name := range u.names {
			if strings.HasPrefix(name, word) && (u.unit != time.Millisecond || len(word) > 1) {
				return u.unit
			}
		}
	}
	return 0
}
