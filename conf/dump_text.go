package conf

import "strings"

// escapeQuoted makes s safe inside quotes.
func escapeQuoted(s string) string { return quoteEscaper.Replace(s) }

var quoteEscaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `'`, `\'`)

// needsQuotes tells whether a value would be read back as something else.
func needsQuotes(v string) bool {
	return v != "" && (strings.Contains(v, "#") || isBlank(v[0]) || isBlank(v[len(v)-1]))
}

func quoteValue(v string) string {
	if needsQuotes(v) {
		return `"` + escapeQuoted(v) + `"`
	}
	return v
}

const hiddenValue = "# hidden, use -P to show it"

const hiddenMark = "#hidden_use-P_to_show#"

// secretWords start what hides, at the start of a word or as a URL with a user.
var secretWords = []string{"key", "secret", "pass", "http://", "https://", "ftp://"}

// hideSecrets returns the value with its secrets replaced. It is not ok when the value is printed as
// usual; otherwise the text is printed as it is, without quotes, as doveconf 2.3 does.
func hideSecrets(key, v string) (string, bool) {
	if v != "" {
		for _, suffix := range []string{"_password", "_key", "_nonce"} {
			if len(key) > len(suffix) && strings.HasSuffix(key, suffix) {
				return hiddenValue, true
			}
		}
		if strings.HasPrefix(key, "ssl_dh") {
			return hiddenValue, true
		}
	}
	h := hider{text: v, quote: needsQuotes(v)}
	found := false
	for {
		word, at := nextSecret(v[h.at:])
		if word == "" {
			break
		}
		found = true
		h.at += at
		switch {
		case strings.Contains(word, "://"):
			h.at += len(word)
			h.url()
		case h.at == 0 || !isAlnum(v[h.at-1]):
			h.word()
		default:
			h.at++ // as in nopassword
		}
	}
	if !found {
		return "", false
	}
	h.at = len(v)
	h.flush()
	return h.out.String(), true
}

// nextSecret finds the first secret word of s.
func nextSecret(s string) (word string, at int) {
	at = len(s)
	for _, w := range secretWords {
		if i := strings.Index(s, w); i >= 0 && i < at {
			word, at = w, i
		}
	}
	return word, at
}

// hider writes text with secrets left out.
type hider struct {
	text  string
	quote bool
	at    int // being looked at
	done  int // written so far
	out   strings.Builder
}

// flush writes what was passed over.
func (h *hider) flush() {
	part := h.text[h.done:h.at]
	if h.quote {
		part = escapeQuoted(part)
	}
	h.out.WriteString(part)
	h.done = h.at
}

// url hides the user and password of a URL, whose scheme was passed.
func (h *hider) url() {
	h.flush()
	rest := h.text[h.at:]
	end := strings.IndexFunc(rest, func(r rune) bool { return r == '@' || r == '/' || r < 0x80 && isSpace(byte(r)) })
	if end < 0 {
		end = len(rest)
	}
	h.at += end
	if end > 0 && end < len(rest) && rest[end] == '@' {
		h.out.WriteString(hiddenMark)
		h.done = h.at
	}
	h.flush()
}

// word hides the value of word=value.
func (h *hider) word() {
	for h.at < len(h.text) && h.text[h.at] != '=' && !isSpace(h.text[h.at]) {
		h.at++
	}
	for h.at < len(h.text) && isSpace(h.text[h.at]) {
		h.at++
	}
	h.flush()
	if h.at == len(h.text) || h.text[h.at] != '=' {
		return
	}
	h.out.WriteString("=" + hiddenMark)
	for h.at < len(h.text) && !isSpace(h.text[h.at]) && h.text[h.at] != ';' && h.text[h.at] != ':' {
		h.at++
	}
	h.done = h.at
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
